"""What one simulated cache holds: entries by row of the shared pool, order of use, expiry."""

from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import NamedTuple

from binary_semantic_cache.text.vectors import radius

__all__ = ["MOST_CELLS", "Cell", "Variant"]

MOST_CELLS = 64
"""Caches that are simulated side by side: who holds an entry is one bit each of a number of 64 bits."""


class Variant(NamedTuple):
    """The settings of one simulated cache."""

    threshold: float
    """Least cosine of a semantic hit; with a judge, its least probability."""
    max_entries: int | None
    """`None` for no limit."""
    ttl_seconds: float | None
    judge_from: float | None = None
    """With a judge, the least cosine of what it is asked about; `None` without one."""

    @property
    def least_cosine(self) -> float:
        """Of what is looked at."""
        return self.threshold if self.judge_from is None else self.judge_from


class Cell:
    """One simulated cache; whether it holds a row is kept by the pool, in `bit`.

    Entries are named by the offset of their record, which grows with every put, so a greater one is newer.

    Args:
        number: its place among all, from 0.
        variant: its settings.
        code_bits: bits of a code.
    """

    __slots__ = ("_expiring", "_offsets", "_recent", "bit", "evictions", "n", "number", "radius", "variant")

    def __init__(self, number: int, variant: Variant, code_bits: int) -> None:
        self.number = number
        self.bit = 1 << number
        self.variant = variant
        self.radius = radius(variant.least_cosine, code_bits)
        self.n = 0
        """Entries held."""
        self.evictions = 0
        # Without a limit nobody has to leave, so no order of use is kept: 8 bytes a row of the pool.
        self._recent: OrderedDict[int, int] | None = None if variant.max_entries is None else OrderedDict()
        self._offsets = array("q")
        self._expiring: deque[tuple[float, int, int]] = deque()

    def offset_of(self, row: int) -> int:
        """The record of the entry that the cell holds in `row`."""
        return self._offsets[row] if self._recent is None else self._recent[row]

    def touch(self, row: int) -> None:
        """Makes an entry the most recently used."""
        if self._recent is not None:
            self._recent.move_to_end(row)

    def put(self, row: int, offset: int, now: float) -> int:
        """Takes an entry in; returns the row of the one that has to leave, -1 if none has."""
        self.n += 1
        if self.variant.ttl_seconds is not None:
            self._expiring.append((now + self.variant.ttl_seconds, row, offset))
        if self._recent is None:
            if row >= len(self._offsets):
                self._offsets.extend([-1] * (row + 1 - len(self._offsets)))
            self._offsets[row] = offset
            return -1
        self._recent[row] = offset
        if self.n <= (self.variant.max_entries or 0):
            return -1
        self.n -= 1
        self.evictions += 1
        return self._recent.popitem(last=False)[0]

    def expired(self, now: float) -> Iterator[int]:
        """Removes what may not be served any more; gives its rows."""
        while self._expiring and self._expiring[0][0] <= now:
            _, row, offset = self._expiring.popleft()
            if self._recent is None:
                if self._offsets[row] != offset:
                    continue
                self._offsets[row] = -1
            elif self._recent.get(row) == offset:
                del self._recent[row]
            else:
                continue  # it was evicted, or put again since
            self.n -= 1
            yield row
