"""Which rows hold an entry, and which may be written while searches run."""

from array import array

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowSpace"]


class RowSpace:
    """Hands out rows so that no running search ever sees one change.

    A search reads rows 0 to `n - 1` as they were when it began. While `readers` of them run, a new row comes
    from the end, where none of them looks, and `n` does not shrink; a freed row is handed out again when no
    search runs. Freed rows below `n` are dead: a bitmap, copied before a change if a running search may hold
    it, keeps the kernel from matching them. Without dead rows there is no bitmap, which is the usual and the
    quickest case.
    """

    __slots__ = ("_free", "_live", "_n_dead", "_viewed", "n", "readers", "retired")

    def __init__(self) -> None:
        self.readers = 0
        """Searches that are running."""
        self.clear()

    def clear(self) -> None:
        """Starts anew over fresh columns; running searches keep the arrays they have."""
        self.n = 0
        """Rows 0 to `n - 1` are in use or dead."""
        self.retired = 0
        """Dead rows that will never be handed out again."""
        self._n_dead = 0
        self._free = array("i")
        self._live: NDArray[np.uint8] | None = None
        self._viewed = False

    @property
    def nbytes(self) -> int:
        """Bytes of the bitmap and of the list of free rows."""
        return len(self._free) * self._free.itemsize + (0 if self._live is None else self._live.nbytes)

    def is_live(self, row: int) -> bool:
        """Whether `row` holds an entry."""
        if row >= self.n:
            return False
        live = self._live
        return live is None or bool(live[row >> 3] >> (row & 7) & 1)

    def live_rows(self) -> NDArray[np.int32]:
        """The rows that hold an entry, ascending."""
        if self._live is None:
            return np.arange(self.n, dtype=np.int32)
        bits = np.unpackbits(self._live, count=self.n, bitorder="little")
        return np.flatnonzero(bits).astype(np.int32)

    def view_live(self) -> NDArray[np.uint8] | None:
        """The bitmap of rows 0 to `n - 1` for a search that starts now; `None` without dead rows."""
        if self._live is None:
            return None
        self._viewed = True
        return self._live[: (self.n + 7) >> 3]

    def must_append(self) -> bool:
        """Whether the next row comes from the end."""
        return bool(self.readers) or not self._free

    def take(self) -> int:
        """A row for a new entry: one freed before if that is safe, else the next at the end."""
        live = self._live
        if self.readers or not self._free:
            row = self.n
            self.n += 1
            if live is not None and row >= 8 * live.size:
                self._live = _all_live(row + row // 2)
                self._live[: live.size] = live
                self._viewed = False
            return row
        row = self._free.pop()
        self._n_dead -= 1
        if self._n_dead == 0:
            self._live = None
        elif live is not None:
            live[row >> 3] |= np.uint8(1 << (row & 7))
        return row

    def free(self, row: int, *, reusable: bool = True) -> None:
        """Gives `row` back; unless `reusable` it is never handed out again."""
        if row == self.n - 1 and reusable and not self.readers:
            self.n = row
        else:
            live = self._live
            if live is None:
                # Bits past the end are 1 beforehand: an append writes no byte that a search may read.
                live = _all_live(self.n)
            elif self._viewed and self.readers:
                live = live.copy()
            if live is not self._live:
                self._live = live
                self._viewed = False
            live[row >> 3] &= np.uint8(~(1 << (row & 7)) & 0xFF)
            self._n_dead += 1
            if reusable:
                self._free.append(row)
            else:
                self.retired += 1
        if self._n_dead == self.n and not self.readers and not self.retired:
            self.clear()


def _all_live(n: int) -> NDArray[np.uint8]:
    return np.full((n >> 3) + 1, 0xFF, np.uint8)
