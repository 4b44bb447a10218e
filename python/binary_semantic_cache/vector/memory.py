"""Arrays that take memory only where they have been written."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["room"]

_MAPPED_BYTES = 1 << 20
_HUGE_BYTES = 1 << 24


def room(shape: int | tuple[int, int], dtype: type[np.generic]) -> NDArray[Any]:
    """An array of zeros; the pages of a large one are resident once written, and go when it does.

    `np.empty` was rejected for large arrays: after some growth the C library serves them from its heap,
    whose holes stay resident (20 bytes an entry at a million). Pages are private, so a forked child has its
    own copy. Only where a scan gains and the loss at the end is small are huge pages asked for.
    """
    length = np.prod(shape, dtype=int) * np.dtype(dtype).itemsize
    if length < _MAPPED_BYTES or not hasattr(mmap, "MAP_PRIVATE"):
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, int(length), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if length >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.ndarray(shape, dtype, buffer=pages)
