"""Which rows hold an entry, and which may be written while searches run."""

from array import array

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowSpace"]


class RowSpace:
    """Hands out rows so that no running search ever sees one change.

    A search reads rows 0 to `n - 1` as they were when it began. While `readers` of them run over the present
    array of codes, a new row comes from the end, where none of them looks, and `n` does not shrink; a freed
    row is handed out again when none runs, or once the codes have moved to an array that nobody reads
    (`moved`). Freed rows below `n` are dead: a bitmap, copied before a change if a running search may hold
    it, keeps the kernel from matching them. Without dead rows no search is given one, which is the usual and
    the quickest case.
    """

    __slots__ = ("_free", "_live", "_n_dead", "_viewed", "array", "n", "readers", "retired", "searches")

    def __init__(self) -> None:
        self.readers = 0
        """Searches that run over the present array of codes."""
        self.searches = 0
        """Searches that run at all; those over older arrays may still hold a bitmap or a list of rows."""
        self.array = 0
        """Numbers the arrays of codes: a search can tell whether it still counts among the readers."""
        self.clear()

    def clear(self) -> None:
        """Starts anew; running searches keep the arrays they have."""
        self.n = 0
        """Rows 0 to `n - 1` are in use or dead."""
        self.retired = 0
        """Dead rows that will never be handed out again."""
        self._n_dead = 0
        self._free = array("i")
        self._live: NDArray[np.uint8] | None = None
        self._viewed = False

    def restore(self, live: NDArray[np.bool_], retired: NDArray[np.bool_]) -> None:
        """Takes rows to be as `live` says, the other ones as free but for those that are `retired`."""
        dead = ~live
        bits = np.full((live.size >> 3) + 1, 0xFF, np.uint8)
        packed = np.packbits(live, bitorder="little")
        bits[: packed.size] = packed
        if live.size & 7:
            bits[live.size >> 3] |= np.uint8(0xFF << (live.size & 7) & 0xFF)
        free = array("i", np.flatnonzero(dead & ~retired).astype(np.int32).tobytes())
        n_dead = int(np.count_nonzero(dead))
        self.n, self._free, self._live, self._viewed = live.size, free, bits, False
        self.retired, self._n_dead = n_dead - len(free), n_dead

    def moved(self) -> None:
        """Notes that the codes stand in an array that no search reads: freed rows may be handed out."""
        self.array += 1
        self.readers = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the bitmap and of the list of free rows."""
        return len(self._free) * self._free.itemsize + (0 if self._live is None else self._live.nbytes)

    @property
    def has_free(self) -> bool:
        """Whether a freed row waits to be handed out."""
        return bool(self._free)

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

    def live_between(self, first: int, end: int) -> NDArray[np.int32]:
        """The rows from `first` to below `end` that hold an entry, ascending."""
        rows = np.arange(first, end, dtype=np.int32)
        if self._live is None:
            return rows
        bits = np.unpackbits(self._live[first >> 3 : (end + 7) >> 3], bitorder="little")
        live: NDArray[np.int32] = rows[bits[first & 7 :][: end - first] == 1]
        return live

    def view_live(self) -> NDArray[np.uint8] | None:
        """The bitmap of rows 0 to `n - 1` for a search that starts now; `None` without dead rows."""
        if self._live is None or not self._n_dead:
            return None
        self._viewed = True
        return self._live[: (self.n + 7) >> 3]

    def must_append(self) -> bool:
        """Whether the next row comes from the end."""
        return bool(self.readers) or not self._free

    def take(self) -> int:
        """A row for a new entry: one freed before if that is safe, else the next at the end."""
        if self.readers or not self._free:
            live = self._live
            row = self.n
            if live is not None and row >= 8 * live.size:
                # Bits past the end are 1 beforehand: an append writes no byte that a search may read.
                longer = _all_live(row + row // 2)
                longer[: live.size] = live
                self._live, self._viewed = longer, False
            self.n = row + 1
            return row
        row = self._free.pop()
        self._writable_bitmap()[row >> 3] |= np.uint8(1 << (row & 7))
        self._n_dead -= 1
        return row

    def free(self, row: int, *, reusable: bool = True) -> None:
        """Gives `row` back; unless `reusable` it is never handed out again."""
        if row == self.n - 1 and reusable and not self.readers:
            self.n = row
        else:
            self._writable_bitmap()[row >> 3] &= np.uint8(~(1 << (row & 7)) & 0xFF)
            self._n_dead += 1
            if reusable:
                self._free.append(row)
            else:
                self.retired += 1
        if self._n_dead == self.n and not self.readers and not self.retired:
            self.clear()

    def _writable_bitmap(self) -> NDArray[np.uint8]:
        """The bitmap, made or copied if need be, so that no running search holds it."""
        if self._live is None:
            self._live, self._viewed = _all_live(self.n), False
        elif self._viewed and self.searches:
            self._live, self._viewed = self._live.copy(), False
        return self._live


def _all_live(n: int) -> NDArray[np.uint8]:
    return np.full((n >> 3) + 1, 0xFF, np.uint8)
