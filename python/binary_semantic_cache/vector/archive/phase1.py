"""Files of Phase 1: a plain `.npz` of codes, created_at, access_count and responses, a pickled object array.

They name no dimension and no seed, so of the encoder's fingerprint only the number of words can be checked:
the caller answers for the rest.

A pickle is a program. This reader admits the few instructions that NumPy's object arrays of plain data need,
and bounds what they may ask for, before the unpickler sees them; the three NumPy names they refer to are
answered by inert objects, so not even NumPy's code runs; and what comes out must be plain data.

Source: PEP 3154 and CPython's `pickletools.py` (the instructions), `Modules/_pickle.c` (what they allocate).
"""

import io
import os
import pickle
import pickletools
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from binary_semantic_cache.vector.archive.atomic import replacing
from binary_semantic_cache.vector.archive.contents import (
    Contents,
    check_values,
    count_rows,
    unsavable,
)
from binary_semantic_cache.vector.archive.header import mismatch
from binary_semantic_cache.vector.archive.npz import NpzReader
from binary_semantic_cache.vector.archive.responses import NotPlainError, Responses, measure, pack
from binary_semantic_cache.vector.encoder import EncoderIdentity

__all__ = ["load_phase1", "read_list", "read_object_array", "save_phase1"]

# What the pickler emits for plain data and one object array, protocols 3 to 5. Not here: INST, OBJ, NEWOBJ,
# EXT1 (make objects), PERSID (calls a hook), BYTEARRAY8 (allocates on its word), POP, DUP (of no use to plain
# data).
_ADMITTED: Final = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    )
)

# One array and its dtype need no more. Tuples: hashing a deeply nested one overflows the C stack.
_AT_MOST: Final = {
    **dict.fromkeys(("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), 6),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), 3),
    **dict.fromkeys(("REDUCE", "BUILD"), 2),
}

_UNFOLDED_AT_LEAST: Final = 1 << 28
_UNFOLDED_RATIO: Final = 16
"""References let a pickle unfold: it may do so to 256 MiB or 16 times its size, whichever is more."""


def save_phase1(
    path: str | os.PathLike[str],
    contents: Contents,
    encoder: EncoderIdentity,
    *,
    names: Sequence[int] | None = None,
) -> None:
    """As `save`, in the form that Phase 1 reads: rows by time of creation, responses pickled.

    Times of last access, the order of use, and the encoder's fingerprint have no place in it and are left
    out. All responses are in memory at once.

    Raises:
        UnsavableResponseError: a response is no plain data. The file is as before.
        DimensionError: the columns disagree about the number of rows, or with the encoder.
        StoreError: the file could not be written; `errno` says why. The file is as before.
    """
    n = count_rows(contents, encoder)
    order = np.argsort(contents.created_at, kind="stable")
    responses = np.empty(n, object)
    for place, row in enumerate(order.tolist()):
        response = contents.responses[row]
        try:
            measure(response)
        except NotPlainError as exc:
            raise unsavable(row, names, exc) from exc
        responses[place] = response
    with replacing(path) as file:
        np.savez(
            file,
            codes=contents.codes[order],
            created_at=contents.created_at[order],
            access_count=contents.access_count[order],
            responses=responses,
        )


def load_phase1(
    npz: NpzReader, encoder: EncoderIdentity, *, verify: bool, max_entries: int | None
) -> Contents:
    """As `archive.load`, for an open file without a header.

    Of equal codes the newest stays. Time of last access is time of creation, and so is the order of use.
    """
    members = (
        npz.find("codes.npy", "<u8", (None, None)),
        npz.find("created_at.npy", "<f8", (None,)),
        npz.find("access_count.npy", "<i4", (None,)),
        npz.find("responses.npy", "|O", (None,)),
    )
    n, n_words = members[0].shape
    if n_words != encoder.n_words:
        raise mismatch(npz, "words in a code", encoder.n_words, n_words)
    for member in members[1:]:
        if member.shape != (n,):
            raise npz.corrupt(f"{member.name}: expected shape {(n,)}, got {member.shape}")
    codes, created_at, access_count = (npz.read(member, verify=verify) for member in members[:3])
    check_values(npz, encoder, codes, (created_at,), access_count)
    try:
        responses = read_object_array(npz.read_pickle(members[3], verify=verify).tobytes(), n)
    except NotPlainError as exc:
        raise npz.corrupt(f"responses.npy: expected plain data, got {exc}") from exc
    order = np.argsort(created_at, kind="stable")
    # unique gives the first of equals, so it looks at the rows backwards.
    _, newest = np.unique(codes[order[::-1]], axis=0, return_index=True)
    order = order[np.sort(n - 1 - newest)]
    order = order[0 if max_entries is None else max(0, len(order) - max_entries) :]
    # Packed like our own, so that entries that share a list in the pickle do not share it in the cache.
    packed = [pack(responses[row]) for row in order.tolist()]
    offsets = np.cumsum([0, *map(len, packed)], dtype=np.int64)
    return Contents(
        codes=codes[order],
        created_at=created_at[order],
        last_accessed=created_at[order],
        access_count=access_count[order],
        responses=Responses(npz.path, offsets, np.frombuffer(b"".join(packed), np.uint8)),
    )


def read_object_array(data: bytes, length: int) -> list[object]:
    """The elements of a pickled one-dimensional object array of `length` elements of plain data.

    Elements may share lists and dicts with each other, as they did when they were written.

    Raises:
        NotPlainError: the pickle names anything but an object array, holds anything but plain data, is
            damaged, or has another length.
    """
    array = _unpickled(data)
    if not isinstance(array, _Array) or not isinstance(array.state, tuple) or len(array.state) != 5:
        raise NotPlainError("a pickle of something else than an array")
    _, shape, _, _, elements = array.state
    if type(elements) is not list or shape != (length,) or len(elements) != length:
        raise NotPlainError(f"an array of another shape than ({length},)")
    return _measured(elements, data)


def read_list(data: bytes, length: int) -> list[object]:
    """The elements of a pickled list of plain data; raises as `read_object_array`."""
    elements = _unpickled(data)
    if type(elements) is not list or len(elements) != length:
        raise NotPlainError(f"a pickle of something else than a list of {length}")
    return _measured(elements, data)


def _unpickled(data: bytes) -> object:
    _check_instructions(data)
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except NotPlainError:
        raise
    except Exception as exc:  # a damaged stream makes the unpickler raise nearly any type
        raise NotPlainError(f"a damaged pickle: {type(exc).__name__}: {exc}") from exc


def _measured(elements: list[object], data: bytes) -> list[object]:
    left = max(_UNFOLDED_AT_LEAST, _UNFOLDED_RATIO * len(data))
    for element in elements:
        left -= measure(element, left)
    return elements


def _check_instructions(data: bytes) -> None:
    """Admits `data` if each instruction is known, rare enough, and asks for no more memory than it brings."""
    seen: Counter[str] = Counter()
    memo_size = 0
    try:
        for opcode, argument, position in pickletools.genops(data):
            name = opcode.name
            if name not in _ADMITTED:
                raise NotPlainError(f"pickle instruction {name} at byte {position}")
            if name in _AT_MOST:
                seen[name] += 1
                if seen[name] > _AT_MOST[name]:
                    raise NotPlainError(f"more than {_AT_MOST[name]} pickle instructions {name}")
            elif name in ("BINPUT", "LONG_BINPUT"):
                # The unpickler allocates room for every index below; picklers count up.
                if argument is None or argument > memo_size:
                    raise NotPlainError(f"pickle memo index {argument} after {memo_size} entries")
                memo_size += 1
            elif name == "MEMOIZE":
                memo_size += 1
            elif name == "FRAME" and (argument is None or argument > len(data)):
                raise NotPlainError(f"a pickle frame of {argument} bytes in a pickle of {len(data)}")
    # genops itself compares the length of every string with what is left of the data.
    except (ValueError, OverflowError) as exc:
        if isinstance(exc, NotPlainError):
            raise
        raise NotPlainError(f"a damaged pickle: {exc}") from exc


class _Inert:
    """Stands for a NumPy object; has no attributes, and refuses the state, that a pickle could set."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise NotPlainError("a pickle that changes what it refers to")


class _Array(_Inert):
    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Dtype(_Inert):
    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Byte order and field names mean nothing for an object array."""


class _Reconstruct(_Inert):
    __slots__ = ()

    def __call__(self, *_: object) -> _Array:
        return _Array()


class _DtypeClass(_Inert):
    __slots__ = ()

    def __call__(self, *_: object) -> _Dtype:
        return _Dtype()


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        """An inert stand-in for the three NumPy names of an object array; nothing is ever imported."""
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return _Reconstruct()
            case "numpy", "ndarray":
                return _Inert()
            case "numpy", "dtype":
                return _DtypeClass()
        raise NotPlainError(f"a reference to {module}.{name}")
