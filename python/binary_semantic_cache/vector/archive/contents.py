"""What an archive holds, in memory: the columns and responses of all entries, and checks of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import DimensionError, InvalidTypeError, UnsavableResponseError
from binary_semantic_cache.vector.archive.npz import NpzReader
from binary_semantic_cache.vector.encoder import EncoderIdentity

__all__ = ["Contents", "check_values", "count_rows", "unsavable"]


_DTYPES = ["uint64", "float64", "float64", "int32"]


@dataclass(frozen=True, slots=True)
class Contents:
    """All entries of a cache, rows from least to most recently used.

    After `load`, the arrays are writable and owned by the caller; writing to mapped ones never reaches the
    file.

    Attributes:
        codes: uint64, `(n, n_words)`.
        created_at: float64, `(n,)`, seconds since 1970.
        last_accessed: float64, `(n,)`, seconds since 1970.
        access_count: int32, `(n,)`.
        responses: n responses; after `load` decoded at each access, a new object every time.
    """

    codes: NDArray[np.uint64]
    created_at: NDArray[np.float64]
    last_accessed: NDArray[np.float64]
    access_count: NDArray[np.int32]
    responses: Sequence[object]


def count_rows(contents: Contents, encoder: EncoderIdentity) -> int:
    """The number of rows.

    Raises:
        DimensionError: the columns disagree about it, or with the encoder about the words of a code.
        InvalidTypeError: a column has another dtype than `Contents` names.
    """
    n = len(contents.responses)
    columns = (contents.created_at, contents.last_accessed, contents.access_count)
    if contents.codes.shape != (n, encoder.n_words) or any(column.shape != (n,) for column in columns):
        shapes = [contents.codes.shape, *(column.shape for column in columns)]
        raise DimensionError(f"expected {n} rows of {encoder.n_words} words, got columns of shape {shapes}")
    got = [column.dtype.name for column in (contents.codes, *columns)]
    if got != _DTYPES:
        raise InvalidTypeError(f"expected columns of dtype {_DTYPES}, got {got}")
    return n


def check_values(
    npz: NpzReader,
    encoder: EncoderIdentity,
    codes: NDArray[np.uint64],
    times: tuple[NDArray[np.float64], ...],
    access_count: NDArray[np.int32],
) -> None:
    """Raises CorruptFileError when a loaded column holds what no cache writes. Reads all of them."""
    if not len(codes):
        return
    unused = encoder.n_words * 64 - encoder.code_bits
    if unused and (codes[:, -1] >> np.uint64(64 - unused)).any():
        raise npz.corrupt(f"codes.npy: bits beyond the {encoder.code_bits} of a code are set")
    for column in times:
        if not (column.min() >= 0 and column.max() < np.inf):  # nan compares false
            raise npz.corrupt(
                "created_at.npy or last_accessed.npy: expected times that are finite and not negative"
            )
    if access_count.min() < 0:
        raise npz.corrupt("access_count.npy: expected counts of 0 or more")


def unsavable(row: int, names: Sequence[int] | None, exc: ValueError) -> UnsavableResponseError:
    """The error that names the entry whose response cannot be saved."""
    place = f"row {row}" if names is None else f"entry {names[row]}"
    return UnsavableResponseError(f"the response of {place} holds {exc}; only plain data can be saved")
