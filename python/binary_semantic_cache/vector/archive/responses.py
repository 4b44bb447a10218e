"""Responses as bytes: which Python objects an archive carries, and how they are packed and read back.

Plain data is `None`, `bool`, `int`, `float`, `str`, `bytes`, and `list` and `dict` of these: exactly these
types, no subclasses. A tuple, a bytearray or a NumPy scalar would come back as something else, so it is
refused, not converted.
"""

from collections.abc import Sequence
from typing import Final, overload

import msgpack
import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import CorruptFileError

__all__ = ["NotPlainError", "Responses", "measure", "pack"]

MAX_DEPTH: Final = 256
"""Deepest nesting; msgpack itself packs 511 levels and Python's pickler, which Phase 1 needs, about 300."""

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_BIG_INT: Final = 1
"""msgpack extension type of an integer beyond 64 bits: two's complement, little-endian."""


class NotPlainError(ValueError):
    """What was found that is no plain data; callers turn it into a public error that names the place."""


def measure(value: object, limit: float = float("inf")) -> int:
    """The size of plain data: one for each element, plus the bytes or characters of strings and numbers.

    A list that is referred to twice counts twice, as it does once packed: so `limit` stops small inputs that
    unfold to huge ones.

    Raises:
        NotPlainError: something inside is no plain data, is nested too deeply (a cycle is), or exceeds
        `limit`.
    """
    size = 0
    pending: list[tuple[object, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        kind = type(item)
        size += 1
        if isinstance(item, str | bytes):
            size += len(item)
        elif kind is int:
            size += item.bit_length() >> 3  # type: ignore[attr-defined]
        if size > limit:
            raise NotPlainError(f"more than {limit} bytes once unfolded")
        if kind in _SCALARS:
            continue
        if depth > MAX_DEPTH:
            raise NotPlainError(f"data nested more than {MAX_DEPTH} levels deep, or in itself")
        if kind is list:
            pending.extend((inner, depth + 1) for inner in item)  # type: ignore[attr-defined]
        elif kind is dict:
            for key, inner in item.items():  # type: ignore[attr-defined]
                if type(key) not in _SCALARS:
                    raise NotPlainError(f"a dict key of type {type(key).__name__}")
                pending.append((key, depth + 1))
                pending.append((inner, depth + 1))
        else:
            raise NotPlainError(f"a value of type {kind.__module__}.{kind.__qualname__}")
    return size


def pack(value: object) -> bytes:
    """`value` as msgpack.

    Lone surrogates, which JSON can bring into a `str`, and integers of any size survive.

    Raises:
        NotPlainError: `value` is no plain data.
    """
    if type(value) not in _SCALARS:
        measure(value)
    packed: bytes = msgpack.packb(value, default=_pack_big, strict_types=True, unicode_errors="surrogatepass")
    return packed


def _pack_big(value: object) -> msgpack.ExtType:
    # After `measure`, the one thing that msgpack cannot pack by itself is an integer beyond 64 bits.
    if type(value) is not int:
        raise NotPlainError(f"a value of type {type(value).__name__}")
    return msgpack.ExtType(_BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def _unpack_big(code: int, data: bytes) -> int:
    if code != _BIG_INT:
        raise ValueError(f"unknown extension type {code}")
    return int.from_bytes(data, "little", signed=True)


class Responses(Sequence[object]):
    """Packed responses, decoded when asked for; each access gives a new object.

    Args:
        path: the file they came from, for error messages.
        offsets: int64, `(n + 1,)`; response i is `blob[offsets[i]:offsets[i + 1]]`. Borrowed, and not
            trusted: each access checks its own two.
        blob: uint8, one-dimensional. Borrowed.
        rows: int32; which response stands at which index, when that is not 0, 1, 2 ...
    """

    __slots__ = ("_blob", "_offsets", "_path", "_rows")

    def __init__(
        self,
        path: str,
        offsets: NDArray[np.int64],
        blob: NDArray[np.uint8],
        rows: NDArray[np.int32] | None = None,
    ) -> None:
        self._path = path
        self._offsets = offsets
        self._blob = memoryview(blob)  # type: ignore[arg-type]
        self._rows = rows

    def __len__(self) -> int:
        return len(self._offsets) - 1 if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> object: ...
    @overload
    def __getitem__(self, index: slice) -> list[object]: ...
    def __getitem__(self, index: int | slice) -> object:
        """The response at `index`, or a list of them for a slice.

        Raises:
            IndexError: `index` is out of range.
            CorruptFileError: the bytes there are no packed plain data (an archive loaded without verifying).
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"response {index} of {len(self)}")
        row = index % len(self)
        if self._rows is not None:
            row = int(self._rows[row])
        start, stop = int(self._offsets[row]), int(self._offsets[row + 1])
        if not 0 <= start <= stop <= len(self._blob):
            raise CorruptFileError(
                f"{self._path}: response_offsets.npy: row {row}: bytes {start} to {stop} of {len(self._blob)}"
            )
        try:
            return msgpack.unpackb(
                self._blob[start:stop],
                strict_map_key=False,
                unicode_errors="surrogatepass",
                ext_hook=_unpack_big,
                timestamp=1,
            )
        # MemoryError: a length that lies makes msgpack ask for a list that this small slice cannot fill.
        except (ValueError, TypeError, OverflowError, MemoryError, msgpack.UnpackException) as exc:
            raise CorruptFileError(
                f"{self._path}: responses.npy: row {row} cannot be decoded: {exc}"
            ) from exc

    def __repr__(self) -> str:
        return f"<{len(self)} responses of {self._path}>"
