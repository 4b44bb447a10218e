"""What is kept of each row, one array a property, grown together."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.vector.codes import CodeRows
from binary_semantic_cache.vector.memory import room

__all__ = ["Columns"]


class Columns:
    """The columns of an index: codes, times, counts, generations; 56 bytes a row at 256 bits.

    Rows that were never written are not resident: new room comes from `np.empty` and `np.zeros`, whose pages
    the system hands out at the first write. Single items are read and written through the memoryviews;
    `np.asarray` of one gives its array again, without a copy.
    """

    __slots__ = ("access_count", "codes", "created_at", "generation", "last_accessed")

    codes: CodeRows
    created_at: "memoryview[float]"
    last_accessed: "memoryview[float]"
    access_count: "memoryview[int]"
    generation: "memoryview[int]"

    def __init__(
        self,
        codes: NDArray[np.uint64],
        created_at: NDArray[np.float64],
        last_accessed: NDArray[np.float64],
        access_count: NDArray[np.int32],
    ) -> None:
        """Adopts four writable arrays of equal length; they belong to the columns from now on."""
        self._hold(CodeRows(codes), created_at, last_accessed, access_count, room(len(codes), np.uint32))

    @classmethod
    def empty(cls, n_words: int) -> "Columns":
        """Columns without rows."""
        no_times = np.empty(0, np.float64)
        return cls(np.empty((0, n_words), np.uint64), no_times, no_times, np.empty(0, np.int32))

    @property
    def capacity(self) -> int:
        """Number of rows there is room for."""
        return len(self.access_count)

    @property
    def n_words(self) -> int:
        """Words of one code."""
        return self.codes.n_words

    @property
    def row_bytes(self) -> int:
        """Bytes of one row over all columns."""
        return 8 * self.n_words + 8 + 8 + 4 + 4

    def grow(self, capacity: int) -> None:
        """Moves to arrays of `capacity` rows; the old arrays stay untouched for whoever still reads them."""
        created_at, last_accessed = room(capacity, np.float64), room(capacity, np.float64)
        access_count, generation = room(capacity, np.int32), room(capacity, np.uint32)
        used = self.capacity
        codes = self.codes.moved(used, capacity)
        created_at[:used] = self.created_at
        last_accessed[:used] = self.last_accessed
        access_count[:used] = self.access_count
        generation[:used] = self.generation
        self._hold(codes, created_at, last_accessed, access_count, generation)

    def renew_codes(self, used: int) -> None:
        """Moves the first `used` codes to an array that nobody reads yet."""
        self.codes = self.codes.moved(used, self.capacity)

    def _hold(
        self,
        codes: CodeRows,
        created_at: NDArray[np.float64],
        last_accessed: NDArray[np.float64],
        access_count: NDArray[np.int32],
        generation: NDArray[np.uint32],
    ) -> None:
        views = created_at.data, last_accessed.data, access_count.data, generation.data
        # All at once: an exception must not leave columns of different lengths.
        self.codes = codes
        self.created_at = cast("memoryview[float]", views[0])
        self.last_accessed = cast("memoryview[float]", views[1])
        self.access_count, self.generation = views[2], views[3]
