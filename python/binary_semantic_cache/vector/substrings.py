"""The multi-index over the rows of an index: built in small steps by those who use it."""

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import MultiIndex
from binary_semantic_cache.vector.rows import RowSpace

__all__ = ["AUTO_ROWS", "AUTO_THRESHOLD", "LEAST_BITS", "MOST_BITS", "SubstringIndex"]

LEAST_BITS, MOST_BITS = 64, 1024
"""Widths of codes that are indexed."""

AUTO_ROWS = 2**20
"""From here on a miss at 0.85 takes a third of a scan of sliced codes, an eighth of one row after row, and a
near code some fiftieth, for 100 bytes a row (`python -m benches --only search multi_index`)."""
AUTO_THRESHOLD = 0.85
"""Below it, misses among a million codes go to the scan, and near codes alone would gain."""

_STEP_SECONDS = 0.001
_ROWS_AT_ONCE, _SLOW_ROWS = 256, 64
_TOO_MANY = 4

_Found = tuple[int, float] | None


class SubstringIndex:
    """Finds near rows without a scan once all rows have been entered.

    A million rows take most of a second to enter, and nobody is made to wait for that: each search enters
    more for a millisecond and then scans, until none is left. So the first thousand gets of a large cache
    take that much longer, and a cache that is loaded to be saved again pays nothing. A thread that builds
    was rejected: it would have to be stopped, forked and mended.

    Rows below `_until` are entered and kept up by `add` and `remove`; a step comes to the others. Called with
    the index's lock held.

    Args:
        code_bits: 64 to 1024.
        least_rows: build from so many rows on.
    """

    __slots__ = (
        "_changing",
        "_code_bits",
        "_expected",
        "_index",
        "_least_rows",
        "_until",
    )

    def __init__(self, code_bits: int, *, least_rows: int = 1) -> None:
        self._code_bits = code_bits
        self._least_rows = least_rows
        self.clear()

    def clear(self) -> None:
        """Forgets everything; running searches keep what they have."""
        self._index: MultiIndex | None = None
        self._until = self._expected = 0
        self._changing = False

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return 0 if self._index is None else self._index.nbytes

    def prepare(self, codes: NDArray[np.uint64], space: RowSpace) -> None:
        """Enters some more rows, if there are enough for it to pay; comes before `kernel`."""
        if self._changing or self._expected * _TOO_MANY < self._until:
            # Broken off in the middle, or so large that other substrings would be quicker.
            self.clear()
        if space.n < self._least_rows:
            return
        if self._index is None:
            self._expected = max(space.n, 1024)
            self._index = MultiIndex(self._code_bits, self._expected)
        began = perf_counter()
        while self._until < space.n and perf_counter() - began < _STEP_SECONDS:
            # The very first rows touch all over the tables, and the system clears huge pages for each.
            some = 1 if self._until < _SLOW_ROWS else _ROWS_AT_ONCE
            end = min(space.n, self._until + some)
            self._enter(space.live_between(self._until, end), codes, end)

    def kernel(self, space: RowSpace) -> Callable[..., _Found] | None:
        """What searches like `HammingSimilarity.find_nearest`; `None` until all rows are entered."""
        index = self._index
        if index is None or self._changing or self._until < space.n:
            return None

        def find_nearest(
            query: NDArray[np.uint64],
            codes: NDArray[np.uint64],
            threshold: float,
            *,
            live: NDArray[np.uint8] | None = None,
        ) -> _Found:
            return index.find_nearest(query, codes, threshold, live=live)

        return find_nearest

    def add(self, codes: NDArray[np.uint64], row: int) -> None:
        """Enters `row`, whose code is written, unless a step will come to it."""
        if self._index is not None and not self._changing and row <= self._until:
            self._enter(np.array([row], np.int32), codes, max(self._until, row + 1))

    def remove(self, codes: NDArray[np.uint64], row: int) -> None:
        """Takes `row` out; its code must still be written."""
        if self._index is not None and not self._changing and row < self._until:
            self._changing = True
            self._index.remove(row, codes)
            self._changing = False

    def _enter(self, rows: NDArray[np.int32], codes: NDArray[np.uint64], until: int) -> None:
        assert self._index is not None
        self._changing = True
        self._index.insert(rows, codes)
        self._until = until
        self._changing = False
