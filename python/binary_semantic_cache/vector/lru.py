"""Order of use of rows: a doubly linked list held in two int32 arrays."""

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.vector.memory import room

__all__ = ["LruList"]

_NONE = -1


class LruList:
    """Rows from least to most recently used, in strict order; every change is O(1).

    Eight bytes a row. `OrderedDict` was rejected: it takes about 100 bytes a row. The links are reached
    through memoryviews, which read and write one item in about half the time that NumPy indexing takes.

    Not thread-safe; a row must be listed at most once, and the caller sees to it.
    """

    __slots__ = ("_next", "_previous", "newest", "oldest")

    def __init__(self) -> None:
        self.oldest = _NONE
        """The least recently used row, -1 when empty."""
        self.newest = _NONE
        """The most recently used row, -1 when empty."""
        self._previous = np.empty(0, np.int32).data
        self._next = np.empty(0, np.int32).data

    @property
    def capacity(self) -> int:
        """Rows 0 to `capacity - 1` can be listed."""
        return len(self._next)

    def reserve(self, capacity: int) -> None:
        """Makes place for rows below `capacity`; never shrinks."""
        if capacity > self.capacity:
            self._previous = _grown(self._previous, capacity)
            self._next = _grown(self._next, capacity)

    def push(self, row: int) -> None:
        """Lists `row` as the most recently used."""
        newest = self.newest
        self._previous[row] = newest
        self._next[row] = _NONE
        if newest >= 0:
            self._next[newest] = row
        else:
            self.oldest = row
        self.newest = row

    def remove(self, row: int) -> None:
        """Takes `row` off the list."""
        previous, following = self._previous[row], self._next[row]
        if previous >= 0:
            self._next[previous] = following
        else:
            self.oldest = following
        if following >= 0:
            self._previous[following] = previous
        else:
            self.newest = previous

    def touch(self, row: int) -> None:
        """Makes `row`, which is listed, the most recently used."""
        if row != self.newest:
            self.remove(row)
            self.push(row)

    def pop(self) -> int:
        """Takes off the least recently used row; -1 when the list is empty."""
        row = self.oldest
        if row >= 0:
            self.remove(row)
        return row

    def order(self, size: int) -> NDArray[np.int32]:
        """The `size` listed rows, least to most recently used; O(size), about 0.1 s for a million.

        A vectorised walk (pointer jumping) was rejected: it gathers 20 times over all rows and is slower.
        """
        rows = np.empty(size, np.int32)
        out, following, row = rows.data, self._next, self.oldest
        for i in range(size):
            out[i] = row
            row = following[row]
        return rows

    def restore(self, rows: NDArray[np.int32], capacity: int) -> None:
        """Lists exactly `rows`, least to most recently used, with place for rows below `capacity`."""
        previous, following = room(capacity, np.int32), room(capacity, np.int32)
        following[rows[:-1]], previous[rows[1:]] = rows[1:], rows[:-1]
        previous[rows[:1]] = following[rows[-1:]] = _NONE
        oldest, newest = (int(rows[0]), int(rows[-1])) if rows.size else (_NONE, _NONE)
        self.oldest, self.newest, self._previous, self._next = oldest, newest, previous.data, following.data

    def fill(self, size: int) -> None:
        """Lists exactly the rows 0 to `size - 1`, the last as the most recently used; vectorised."""
        following, previous = np.arange(1, size + 1, dtype=np.int32), np.arange(-1, size - 1, dtype=np.int32)
        following[-1:] = _NONE
        self.oldest, self.newest = (0, size - 1) if size else (_NONE, _NONE)
        self._previous, self._next = previous.data, following.data


def _grown(links: memoryview, capacity: int) -> memoryview:
    array = room(capacity, np.int32)
    array[: len(links)] = links
    return array.data
