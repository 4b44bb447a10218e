"""Codes with their times, counts, order of use and scopes; the search over them."""

import threading
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity
from binary_semantic_cache.fork import keep_over_fork
from binary_semantic_cache.vector.columns import Columns
from binary_semantic_cache.vector.lru import LruList
from binary_semantic_cache.vector.rows import RowSpace
from binary_semantic_cache.vector.scopes import ScopeRows
from binary_semantic_cache.vector.substrings import SubstringIndex
from binary_semantic_cache.vector.table import CodeTable

__all__ = ["Index"]

_SLACK = 1024
_ROUNDS = 3
_LAST_GENERATION = 2**32 - 1
_LAST_COUNT = 2**31 - 1
_SHARES = 3
"""A scope that has one row in so many, or more, is searched by reading all codes in order."""
_NO_ENTRY = -1

_Found = TypeVar("_Found")


class _Change(IntEnum):
    """What has begun and not ended: an exception in the middle leaves it standing."""

    NONE = 0
    ROWS = 1
    ALL = 2


class _Known(IntEnum):
    """Which of the rows that a search found hold the entries that they held when it began."""

    ALL = 0
    LIVE = 1
    """Those that hold an entry."""
    NONE = 2


class Index:
    """At most `max_entries` codes, each in a row, the least recently used leaving first.

    Every method is called with `lock` held once and returns with it held. The searches let it go while the
    kernel runs, so searches run side by side, and so do a search and a put; what they return is checked, with
    the lock held again, to be still there. What a search may read is never written: see `RowSpace`. An index
    takes up to 1,024 rows more than `max_entries` so that puts can go on during a search; when they are used
    up, the codes move to an array that nobody reads. No put ever waits for a search.

    A change that an exception breaks off (Ctrl-C, no memory) is mended by whoever comes next: a row counts
    from the moment that its access count is not negative, which is the last thing written of an entry and the
    first of its removal; everything else is made anew from that.

    An entry's id is its row and how often that row was used before, `first_id + (generation << 32 | row)`, so
    it is found in O(1) without a map and never given twice.

    Args:
        hamming: the kernel; its `code_bits` are those of the codes.
        max_entries: at least 1. Nothing is allocated for it beforehand.
        unique: a code is held once; `find` gives its row. Otherwise one code may stand in several rows.
        scoped: rows belong to scopes, small non-negative numbers, and a search can be kept to one.
        sliced: codes of 256 bits are kept as a search over all of them at a similarity from about 0.78 on
            reads them quickest; others, and those within a scope, are then slower.
        substrings: finds near rows without a scan in unscoped searches; none by default. Not together with
            `sliced`.
        mended: called after a mend with the number of rows and those that hold nothing, or with `None` for
        the rows
            when all content is gone.
    """

    def __init__(
        self,
        hamming: HammingSimilarity,
        max_entries: int,
        *,
        unique: bool,
        scoped: bool,
        sliced: bool = False,
        substrings: SubstringIndex | None = None,
        mended: Callable[[int, NDArray[np.int32] | None], object] = lambda *_: None,
    ) -> None:
        self.lock = threading.RLock()
        self.columns = Columns.empty(hamming.n_words)
        self.columns.codes.to_be_sliced = sliced
        self._sliced = sliced
        self._hamming = hamming
        self._max_entries = max_entries
        self._change = _Change.NONE
        self._mended = mended
        self._size = 0
        self._first_id = 0
        self._n_removals = 0
        self._space = RowSpace()
        self._lru = LruList()
        self._table = CodeTable() if unique else None
        self._scopes = ScopeRows() if scoped else None
        self._substrings = substrings
        keep_over_fork(self)

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Bytes that the entries take; room not yet used is not resident and not counted."""
        row_bytes = self.columns.row_bytes + 8 + (0 if self._scopes is None else 8)
        tables = 0 if self._table is None else self._table.nbytes
        tables += 0 if self._substrings is None else self._substrings.nbytes
        lists = 0 if self._scopes is None else self._scopes.nbytes
        return self._space.n * row_bytes + self._space.nbytes + tables + lists

    def id_of(self, row: int) -> int:
        """The id of the entry in `row`."""
        return self._first_id + (self.columns.generation[row] << 32 | row)

    def ids_of(self, rows: NDArray[np.int32]) -> list[int]:
        """The ids of the entries in `rows`."""
        generation = np.asarray(self.columns.generation)[rows].astype(np.uint64)
        offsets: list[int] = (generation << np.uint64(32) | rows.astype(np.uint64)).tolist()
        return [self._first_id + offset for offset in offsets]

    def row_of(self, entry_id: int) -> int:
        """The row of an entry, -1 if there is no such entry (any more)."""
        offset = entry_id - self._first_id
        row, generation = offset & 0xFFFFFFFF, offset >> 32
        if self._space.is_live(row) and self.columns.generation[row] == generation:
            return row
        return -1

    def scope_of(self, row: int) -> int:
        """The scope of the entry in `row`; scoped indexes."""
        assert self._scopes is not None
        return self._scopes.scope_of(row)

    def scope_size(self, scope: int) -> int:
        """How many entries `scope` has; scoped indexes."""
        assert self._scopes is not None
        return self._scopes.size(scope)

    def oldest(self, n: int) -> NDArray[np.int32]:
        """The rows of the `n` least recently used entries, or of all; the oldest first."""
        return self._lru.order(min(n, self._size))

    def order(self) -> NDArray[np.int32]:
        """All rows in use, from least to most recently used."""
        return self._lru.order(self._size)

    def prepare(self) -> Sequence[int]:
        """Makes room for one `add`; comes before `find`.

        Returns:
            Rows removed, as a more recent row of the same loaded file holds the same code; almost always
            none.
        """
        self.mend()
        table = self._table
        if table is None or table.has_room(min(self._size + 1, self._max_entries)):
            return ()
        newest_first = np.ascontiguousarray(self._space.live_rows()[::-1])
        codes, sliced = self.columns.codes.all()
        left_out = table.build(codes, newest_first, self._max_entries, **sliced)
        duplicates: list[int] = left_out.tolist()
        for row in duplicates:
            self.remove(row)
        return duplicates

    def find(self, code: NDArray[np.uint64]) -> int:
        """The row that holds exactly `code`, -1 if none does; `unique` indexes, after `prepare`."""
        assert self._table is not None
        codes, sliced = self.columns.codes.all()
        return self._table.find(codes, code, **sliced)

    def add(self, code: NDArray[np.uint64], now: float, scope: int = 0) -> tuple[int, int]:
        """Enters `code` as the most recently used; after `prepare`, and if `unique`, after `find` gave none.

        The entry counts from `publish` on, which must follow once all that belongs to it is in its place.

        Returns:
            `(row, evicted)`: the new row, and the row of the entry that had to leave, -1 if none had to. The
            two may be the same row.
        """
        self._change = _Change.ROWS
        space, evicted = self._space, -1
        if self._size >= self._max_entries:
            evicted = self._lru.oldest
            reusable = self._unlink(evicted)
            space.free(evicted, reusable=reusable)
        if space.readers and space.has_free and space.n >= self._max_entries + _SLACK + space.retired:
            self.columns.renew_codes(space.n)
            if self._scopes is not None:
                self._scopes.renew()
            space.moved()
        if space.must_append():
            if space.n == self.columns.capacity:
                self._grow()
            self.columns.access_count[space.n] = _NO_ENTRY
        columns, row = self.columns, space.take()
        columns.codes[row] = code
        columns.created_at[row] = columns.last_accessed[row] = now
        self._lru.push(row)
        if self._table is not None:
            codes, sliced = columns.codes.all()
            self._table.insert(codes, row, **sliced)
        if self._substrings is not None:
            self._substrings.add(columns.codes.all()[0], row)
        if self._scopes is not None:
            self._scopes.add(scope, row)
        self._size += 1
        return row, evicted

    def publish(self, row: int) -> None:
        """Lets the entry that `add` put into `row` count."""
        self.columns.access_count[row] = 0
        self._change = _Change.NONE

    def renew(self, row: int, now: float) -> None:
        """Makes the entry of `row` as fresh as one just added."""
        self._change = _Change.ROWS
        columns = self.columns
        columns.created_at[row] = columns.last_accessed[row] = now
        columns.access_count[row] = 0
        self._lru.touch(row)
        self._change = _Change.NONE

    def touch(self, row: int, now: float) -> None:
        """Notes a use of the entry in `row`: most recent, one access more."""
        self._change = _Change.ROWS
        columns = self.columns
        columns.last_accessed[row] = now
        count = columns.access_count[row]
        if count < _LAST_COUNT:
            columns.access_count[row] = count + 1
        self._lru.touch(row)
        self._change = _Change.NONE

    def remove(self, row: int) -> None:
        """Removes the entry of `row`; its id is not used again."""
        self._change = _Change.ROWS
        reusable = self._unlink(row)
        self._space.free(row, reusable=reusable)
        self._change = _Change.NONE

    def drop_scope(self, scope: int) -> list[int]:
        """Removes all entries of `scope`; returns the rows they were in."""
        assert self._scopes is not None
        dropped: list[int] = self._scopes.view(scope).tolist()
        for row in dropped:
            self.remove(row)
        return dropped

    def clear(self) -> None:
        """Removes all entries and lets their memory go."""
        self.adopt(Columns.empty(self._hamming.n_words))

    def replace_all(self) -> None:
        """Says that all content is about to be replaced: if `adopt` does not come to its end, it is gone."""
        self._change = _Change.ALL

    def adopt(self, columns: Columns, scopes: NDArray[np.int32] | None = None) -> None:
        """Replaces the content by rows that go from least to most recently used; `scopes` of a scoped index.

        O(n), vectorised; the arrays are taken over as they are and belong to the index from now on.
        """
        self._change = _Change.ALL
        used = np.asarray(self.columns.generation)
        self._first_id += (int(used.max(initial=0)) + 1) << 32
        self._n_removals += 1
        columns.codes.to_be_sliced = self._sliced
        self.columns = columns
        self._size = n = columns.capacity
        self._space.moved()
        self._space.clear()
        self._space.n = n
        self._lru.fill(n)
        if self._table is not None:
            self._table.clear()
        if self._substrings is not None:
            self._substrings.clear()
        if self._scopes is not None:
            rows = np.arange(n, dtype=np.int32)
            self._scopes.restore(rows, rows[:0] if scopes is None else scopes, n)
        self._change = _Change.NONE

    def mend(self) -> None:
        """Makes the index whole again if an exception broke a change off; nothing otherwise."""
        if self._change is _Change.NONE:
            return
        if self._change is _Change.ALL:
            self._mended(0, None)
            self.clear()
            return
        columns, space = self.columns, self._space
        live = np.asarray(columns.access_count)[: space.n] > _NO_ENTRY
        rows, dead = np.flatnonzero(live).astype(np.int32), np.flatnonzero(~live).astype(np.int32)
        generation = np.asarray(columns.generation)
        generation[dead] = np.minimum(generation[dead], _LAST_GENERATION - 1) + 1
        space.restore(live, generation[: space.n] == _LAST_GENERATION)
        by_use = np.argsort(np.asarray(columns.last_accessed)[rows], kind="stable")
        self._lru.restore(rows[by_use], columns.capacity)
        if self._table is not None:
            self._table.clear()
        if self._substrings is not None:
            self._substrings.clear()
        if self._scopes is not None:
            self._scopes.restore(rows, self._scopes.scopes_of(rows), columns.capacity)
        self._size = rows.size
        self._n_removals += 1
        self._mended(space.n, dead)
        self._change = _Change.NONE

    def nearest(
        self, query: NDArray[np.uint64], threshold: float, scope: int | None = None
    ) -> tuple[int, float] | None:
        """`(row, similarity)` of the most similar entry that reaches `threshold`; lowest row among equals."""
        if self._substrings is not None and scope is None:
            self.mend()
            self._substrings.prepare(self.columns.codes.all()[0], self._space)
        return self._search(_row_of_pair, scope, self._nearest_kernel, query, threshold)

    def nearest_batch(
        self, queries: NDArray[np.uint64], threshold: float, scope: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """`nearest` of each query: rows, -1 for a miss, and similarities, nan for a miss.

        When entries were removed during the search, the queries whose entry may be gone are searched again,
        and no others.
        """
        self.mend()
        find, args = self._hamming.find_nearest_batch, (threshold,)
        (rows, similarities), known = self._run(find, scope, queries, args)
        if known is _Known.ALL:
            return rows, similarities
        asked, ids = list(range(len(rows))), dict[int, int]()
        for turn in range(1, _ROUNDS + 1):
            found = zip(asked, rows[asked].tolist(), strict=True)
            ids |= {at: self.id_of(row) for at, row in found if row >= 0 and self._is_same(row, known)}
            # A row that was kept may be given to another entry during the next search; an id never is.
            ids = {at: name for at, name in ids.items() if self.row_of(name) >= 0}
            asked = [at for at in np.flatnonzero(rows >= 0).tolist() if at not in ids]
            if not asked:
                break
            some = queries[asked]
            if turn < _ROUNDS:
                again, known = self._run(find, scope, some, args)
            else:
                codes, restricted = self._view(scope)
                again = find(some, codes, *args, **restricted)
            rows[asked], similarities[asked] = again
        return rows, similarities

    def within(
        self, query: NDArray[np.uint64], threshold: float, limit: int, scope: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """`(rows, distances)` of the `limit` most similar entries that reach `threshold`, nearest first."""
        return self._search(_hit_rows, scope, lambda _: self._hamming.find_within, query, threshold, limit)

    def after_fork_in_child(self) -> None:
        """Takes no search as running: for a forked child, which has none of the threads that ran them."""
        self._space.moved()

    def _search(
        self,
        rows_of: Callable[[_Found], Iterable[int]],
        scope: int | None,
        kernel_for: Callable[[int | None], Callable[..., _Found]],
        query: NDArray[np.uint64],
        *args: float,
    ) -> _Found:
        """What a kernel finds, run without the lock; again if a row it found was removed meanwhile.

        It is chosen anew for each run: an index of substrings is kept up only until it is replaced.
        """
        self.mend()
        for _ in range(_ROUNDS):
            found, known = self._run(kernel_for(scope), scope, query, args)
            if known is _Known.ALL or all(self._is_same(row, known) for row in rows_of(found)):
                return found
        codes, restricted = self._view(scope)
        return kernel_for(scope)(query, codes, *args, **restricted)

    def _run(
        self,
        kernel: Callable[..., _Found],
        scope: int | None,
        query: NDArray[np.uint64],
        args: tuple[float, ...],
    ) -> tuple[_Found, _Known]:
        """What `kernel` finds, run without the lock; what is known of its rows, with the lock held again.

        After `mend`; whole when it returns.
        """
        space, lock, held_once = self._space, self.lock, (1, threading.get_ident())
        first_id, n_removals, array = self._first_id, self._n_removals, space.array
        codes, restricted = self._view(scope)
        # From here to the end of `finally` an interrupt may come after any call, and must leave the lock
        # held and the search counted off. `acquire` could itself be interrupted; what `Condition` uses
        # cannot.
        space.readers += 1
        space.searches += 1
        counted, interrupt = True, None
        try:
            lock.release()
            found = kernel(query, codes, *args, **restricted)
        finally:
            while counted:
                try:
                    if not lock._is_owned():  # type: ignore[attr-defined]
                        lock._acquire_restore(held_once)  # type: ignore[attr-defined]
                    if space.array == array:
                        space.readers -= 1
                    space.searches -= 1
                    counted = False
                except BaseException as exc:
                    interrupt = exc
        if interrupt is not None:
            raise interrupt
        self.mend()
        if n_removals == self._n_removals:
            return found, _Known.ALL
        # Over the present array a row that this search could read is not handed out before it ends: if live,
        # it is the same entry. Of an older array nothing is known.
        is_present = first_id == self._first_id and array == space.array
        return found, _Known.LIVE if is_present else _Known.NONE

    def _is_same(self, row: int, known: _Known) -> bool:
        """Whether `row`, which a search found, is known to hold the entry that it held then."""
        return known is not _Known.NONE and self._space.is_live(row)

    def _nearest_kernel(self, scope: int | None) -> Callable[..., tuple[int, float] | None]:
        indexed = (
            None if self._substrings is None or scope is not None else self._substrings.kernel(self._space)
        )
        return indexed or self._hamming.find_nearest

    def _view(self, scope: int | None) -> tuple[NDArray[np.uint64], dict[str, Any]]:
        """What a search that starts now may read: codes, and a kernel's other arguments."""
        n = self._space.n
        codes, sliced = self.columns.codes.view(n)
        restricted: dict[str, Any] = {}
        if scope is not None:
            assert self._scopes is not None
            size = self._scopes.size(scope)
            if size * _SHARES < n:
                return codes, {"rows": self._scopes.view(scope), **sliced}
            if size < self._size:
                restricted["scope"] = self._scopes.of_rows(n), scope
        live = self._space.view_live()
        if live is not None:
            restricted["live"] = live
        return codes, {**restricted, **sliced}

    def _unlink(self, row: int) -> bool:
        """Takes the entry of `row` out of all but the row space; says if the row may be used again."""
        self.columns.access_count[row] = _NO_ENTRY
        if self._table is not None:
            codes, sliced = self.columns.codes.all()
            self._table.remove(codes, row, **sliced)
        if self._substrings is not None:
            self._substrings.remove(self.columns.codes.all()[0], row)
        if self._scopes is not None:
            self._scopes.remove(row, searching=self._space.searches > 0)
        self._lru.remove(row)
        self._size -= 1
        self._n_removals += 1
        generation = self.columns.generation[row] + 1
        self.columns.generation[row] = generation
        return generation < _LAST_GENERATION

    def _grow(self) -> None:
        columns = self.columns
        limit = self._max_entries + _SLACK + self._space.retired
        capacity = min(max(64, columns.capacity + columns.capacity // 2), limit)
        # The columns last: their length is what says how many rows there is room for.
        self._lru.reserve(capacity)
        if self._scopes is not None:
            self._scopes.reserve(capacity)
        columns.grow(capacity)


def _row_of_pair(found: tuple[int, float] | None) -> Iterable[int]:
    return () if found is None else (found[0],)


def _hit_rows(found: tuple[NDArray[np.int64], NDArray[Any]]) -> Iterable[int]:
    rows: list[int] = found[0].tolist()
    return (row for row in rows if row >= 0)
