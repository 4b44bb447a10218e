"""From a code to its row: a hash table of rows, five to seven bytes an entry."""

import secrets

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import table_find, table_insert, table_remove
from binary_semantic_cache.vector.memory import room

__all__ = ["CodeTable"]

_SLOTS_PER_ROW = 1.25
_GROWTH = 1.4


class CodeTable:
    """Finds the row that holds a code, in O(1).

    Holds row numbers only and compares with the codes column, so a `dict` of code bytes, at about 150 bytes
    an entry, was rejected. At most 0.8 of the slots are taken. The hash is keyed by a random number, so that
    nobody can prepare codes that collide. `codes` and `sliced` are what `CodeRows.all` gives; an array alone
    will do.
    """

    __slots__ = ("_key", "_one", "_slots", "_usable")

    def __init__(self) -> None:
        self._key = secrets.randbits(63)
        self._one = np.empty(1, np.int32)
        self.clear()

    def clear(self) -> None:
        """Forgets everything; `build` comes before the next use."""
        self._slots = np.empty(0, np.int32)
        self._usable = -1

    @property
    def built(self) -> bool:
        """Whether the table stands; it is left out after a load until the first put needs it."""
        return self._usable >= 0

    @property
    def nbytes(self) -> int:
        """Bytes of the slots."""
        return self._slots.nbytes

    def has_room(self, n_entries: int) -> bool:
        """Whether the table stands and `n_entries` in all fit."""
        return n_entries <= self._usable

    def build(
        self,
        codes: NDArray[np.uint64],
        rows: NDArray[np.int32],
        max_entries: int,
        **sliced: NDArray[np.uint16],
    ) -> NDArray[np.int32]:
        """Enters `rows` into a new table with room for more, but never for more than `max_entries`.

        Returns:
            The rows that were not entered, as a row before them in `rows` holds the same code.
        """
        usable = min(max_entries, int(rows.size * _GROWTH) + 16)
        slots = room(int(usable * _SLOTS_PER_ROW) + 1, np.int32)
        slots.fill(-1)
        table_insert(slots, codes, rows, self._key, **sliced)
        unique = np.count_nonzero(slots >= 0) == rows.size
        left_out = rows[:0] if unique else np.setdiff1d(rows, slots)
        # Only a table that stands announces room: an exception before this leaves the one before.
        self._slots, self._usable = slots, usable
        return left_out

    def find(self, codes: NDArray[np.uint64], code: NDArray[np.uint64], **sliced: NDArray[np.uint16]) -> int:
        """The row of `codes` that holds `code`, -1 if none does."""
        return table_find(self._slots, codes, code, self._key, **sliced)

    def insert(self, codes: NDArray[np.uint64], row: int, **sliced: NDArray[np.uint16]) -> None:
        """Enters `row`, whose code is written already and not in the table."""
        self._one[0] = row
        table_insert(self._slots, codes, self._one, self._key, **sliced)

    def remove(self, codes: NDArray[np.uint64], row: int, **sliced: NDArray[np.uint16]) -> None:
        """Takes `row` out; its code must still be written."""
        if self.built:
            table_remove(self._slots, codes, row, self._key, **sliced)
