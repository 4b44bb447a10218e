"""The codes of rows, kept as a search reads them quickest."""

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import (
    HammingSimilarity,
    slice_codes,
    unslice_code,
    unslice_codes,
)
from binary_semantic_cache.vector.memory import room

__all__ = ["CodeRows", "Sliced", "prefers_slices"]

_GROUP_ROWS = 32
_HEAD_SLICES = 9
_TAIL_SLICES = 7
_SEARCHES_BEFORE = 128


Sliced: TypeAlias = Mapping[str, NDArray[np.uint16]]
"""`heads` and `tails` of sliced rows, by name as the extension takes them; empty where no row is sliced."""


class _Parts(NamedTuple):
    """Where the codes are; replaced as a whole, so that an exception never leaves half of a change."""

    heads: NDArray[np.uint16]
    """`(n, 9, 32)`: the first 144 bits of 32 rows each, by 16 bits; room for more groups than are sliced."""
    tails: NDArray[np.uint16]
    """`(n, 7, 32)`: the other bits of the same rows."""
    n_sliced: int
    """Rows of the groups that are sliced."""
    sliced: Sliced
    """Heads and tails of these."""
    rest: NDArray[np.uint64]
    """`(n, n_words)`: the rows behind the sliced ones, row after row."""


class CodeRows:
    """Codes of rows: the first ones in slices where that pays, the others as they are, row after row.

    A search over sliced codes reads little more than half of them (see `slice_codes`), but one row of them
    lies in sixteen places. Rows are sliced a group of 32 at a time, when the group is full; until then they
    stand in a small array of their own. Codes that come in one array, as those of a mapped file do, stay
    there until rows are appended or 128 searches have read them: slicing takes as long as that many searches
    save (15 to 50 ns a code against 0.1 to 0.4), so at worst twice as much is spent as by whoever knows what
    comes, and what is loaded for a few questions alone is left as it is.

    Not thread-safe. What `view` has given a running search is not written, unless a row of it is set.
    """

    __slots__ = ("_n_searches", "_parts", "n_words", "to_be_sliced")

    def __init__(self, codes: NDArray[np.uint64], *, to_be_sliced: bool = False) -> None:
        """Takes over `codes`, `(n, n_words)`; the array belongs to this object from now on."""
        self.n_words: int = codes.shape[1]
        self.to_be_sliced = to_be_sliced
        """Whether rows go into slices in time; 256 bits only."""
        self._n_searches = 0
        self._parts = _parts(*_room_for_groups(0), 0, codes)

    def __getitem__(self, rows: "int | slice | NDArray[np.integer[Any]]") -> NDArray[np.uint64]:
        """The codes of `rows`: `(n_words,)` of one row, else `(n, n_words)`. A copy where any is sliced."""
        n_sliced, rest = self._parts.n_sliced, self._parts.rest
        codes: NDArray[np.uint64]
        if not n_sliced:
            codes = rest.take(rows, axis=0) if isinstance(rows, np.ndarray) else rest[rows]
            return codes
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(n_sliced + len(rest)))
        if isinstance(rows, np.ndarray):
            is_rest = rows >= n_sliced
            codes = self._unsliced(np.where(is_rest, 0, rows).astype(np.int32))
            codes[is_rest] = rest[rows[is_rest] - n_sliced]
            return codes
        return self.copy(rows)

    def copy(self, row: int) -> NDArray[np.uint64]:
        """The code of one row, `(n_words,)`, in an array of its own."""
        parts = self._parts
        if row < parts.n_sliced:
            return unslice_code(parts.heads, parts.tails, row)
        code: NDArray[np.uint64] = parts.rest[row - parts.n_sliced].copy()
        return code

    def __setitem__(self, row: int, code: NDArray[np.uint64]) -> None:
        """Writes the code of one row, which no running search may read."""
        parts = self._parts
        if row < parts.n_sliced:
            group, lane = divmod(row, _GROUP_ROWS)
            words = code.view(np.uint16)
            parts.heads[group, :, lane] = words[:_HEAD_SLICES]
            parts.tails[group, :, lane] = words[_HEAD_SLICES:]
            return
        if row - parts.n_sliced >= len(parts.rest):
            parts = self._reach(row + 1)
        parts.rest[row - parts.n_sliced] = code

    def all(self) -> tuple[NDArray[np.uint64], Sliced]:
        """All rows there are, written or not: those that are not sliced, `(n, n_words)`, and those before."""
        return self._parts.rest, self._parts.sliced

    def view(self, n: int) -> tuple[NDArray[np.uint64], Sliced]:
        """Rows 0 to `n - 1` for a search that starts now; slices them if they were searched often enough."""
        parts = self._parts
        if n < parts.n_sliced:
            parts = self._give_up_from(n)
        elif n - parts.n_sliced > _GROUP_ROWS and self.to_be_sliced:
            parts = self._reach(n)
            if n - parts.n_sliced > _GROUP_ROWS:
                parts = self._count_search(n)
        return parts.rest[: n - parts.n_sliced], parts.sliced

    def moved(self, used: int, capacity: int) -> "CodeRows":
        """The first `used` codes in arrays that nobody reads yet, with room for `capacity`."""
        moved = CodeRows(self._parts.rest[:0], to_be_sliced=self.to_be_sliced)
        if self.to_be_sliced:
            moved._parts = self._all_sliced(used, capacity)
        else:
            rest = room((capacity, self.n_words), np.uint64)
            rest[:used] = self._parts.rest[:used]
            moved._parts = self._parts._replace(rest=rest)
        return moved

    def _count_search(self, n: int) -> _Parts:
        """Slices what stands in an array that was handed in, if this is one search too many over it."""
        self._n_searches += 1
        if self._n_searches > _SEARCHES_BEFORE:
            self._parts = self._all_sliced(n, len(self._parts.rest))
        return self._parts

    def _all_sliced(self, used: int, capacity: int) -> _Parts:
        """The first `used` codes in new arrays with room for `capacity`, all whole groups sliced."""
        parts = self._give_up_from(used) if used < self._parts.n_sliced else self._reach(used)
        heads, tails, n_sliced, _, rest = parts
        done, n_groups = n_sliced // _GROUP_ROWS, used // _GROUP_ROWS
        new_heads, new_tails = _room_for_groups(max(n_groups, capacity // _GROUP_ROWS))
        new_heads[:done], new_tails[:done] = heads[:done], tails[:done]
        n_more, n_left = n_groups * _GROUP_ROWS - n_sliced, used % _GROUP_ROWS
        slice_codes(rest[:n_more], new_heads[done:n_groups], new_tails[done:n_groups])
        new_rest = room((_GROUP_ROWS, self.n_words), np.uint64)
        new_rest[:n_left] = rest[n_more : n_more + n_left]
        return _parts(new_heads, new_tails, n_groups, new_rest)

    def _reach(self, n: int) -> _Parts:
        """Slices full groups until there is a place for row `n - 1`; no running search reads so far.

        Rows without a place are one put's, or those of puts that exceptions broke off before they wrote.
        """
        heads, tails, n_sliced, _, rest = parts = self._parts
        while n - n_sliced > len(rest):
            group = n_sliced // _GROUP_ROWS
            slice_codes(rest, heads[group : group + 1], tails[group : group + 1])
            rest, n_sliced = room((_GROUP_ROWS, self.n_words), np.uint64), n_sliced + _GROUP_ROWS
            self._parts = parts = _parts(heads, tails, group + 1, rest)
        return parts

    def _give_up_from(self, n: int) -> _Parts:
        """Takes rows from `n` on, which are free by now, out of the sliced ones.

        Rows at the end are freed while no search runs, and `view` calls this before the next one begins, so
        nobody reads the groups that may be written anew.
        """
        n_groups = n // _GROUP_ROWS
        rest = room((_GROUP_ROWS, self.n_words), np.uint64)
        kept = np.arange(n_groups * _GROUP_ROWS, n, dtype=np.int32)
        rest[: kept.size] = self._unsliced(kept)
        self._parts = parts = _parts(self._parts.heads, self._parts.tails, n_groups, rest)
        return parts

    def _unsliced(self, rows: NDArray[np.int32]) -> NDArray[np.uint64]:
        return unslice_codes(self._parts.heads, self._parts.tails, rows)


def prefers_slices(hamming: HammingSimilarity) -> bool:
    """Whether a search with `hamming` is quicker over sliced codes."""
    return sys.byteorder == "little" and hamming.prefers_slices


def _parts(
    heads: NDArray[np.uint16], tails: NDArray[np.uint16], n_groups: int, rest: NDArray[np.uint64]
) -> _Parts:
    sliced = {"heads": heads[:n_groups], "tails": tails[:n_groups]} if n_groups else {}
    return _Parts(heads, tails, n_groups * _GROUP_ROWS, sliced, rest)


def _room_for_groups(n: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Heads and tails of `n` groups."""
    heads = room((n * _HEAD_SLICES, _GROUP_ROWS), np.uint16).reshape(n, _HEAD_SLICES, _GROUP_ROWS)
    return heads, room((n * _TAIL_SLICES, _GROUP_ROWS), np.uint16).reshape(n, _TAIL_SLICES, _GROUP_ROWS)
