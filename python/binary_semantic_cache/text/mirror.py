"""The index that a process keeps of a store: a fold over the store's log."""

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity
from binary_semantic_cache.errors import CursorLostError, StoreError
from binary_semantic_cache.fork import keep_over_fork
from binary_semantic_cache.stores import Change, ChangeKind, Packed, Store
from binary_semantic_cache.text.vector_memory import VectorMemory
from binary_semantic_cache.vector.columns import Columns
from binary_semantic_cache.vector.index import Index
from binary_semantic_cache.vector.memory import room
from binary_semantic_cache.vector.table import CodeTable

__all__ = ["Mirror", "Neighbours"]

# Rows of entries that only exact matches may have stand under this scope, which no search is ever given.
_UNSEARCHED = 0
# Words of ids and codes as a store gives them.
_LITTLE = np.dtype("<u8")
_LINES = 4096
_MOST_FOR_READERS = 100_000


class Neighbours(NamedTuple):
    """Entries inside the radius of a query, nearest first."""

    ids: list[int]
    distances: list[int]
    codes: bytes
    """One behind the other, as entries carry them."""
    more: bool
    """Whether there were more than asked for."""

    def code(self, i: int) -> bytes:
        """The code of the entry `i`."""
        size = len(self.codes) // len(self.ids)
        return self.codes[i * size : (i + 1) * size]


_NOBODY = Neighbours([], [], b"", more=False)


class Mirror:
    """Ids, codes, scopes and order of use of all entries of a store, as far as its log was read.

    What it finds is a hint: the store is asked for the body by id, scope and code, so an index that lags
    behind can cost a hit but never serve a wrong answer. After an exception in the middle of a change it
    begins anew from a snapshot.

    Args:
        store: whose log to fold; opened already.
        hamming: the kernel of the codes.
        max_entries: further puts evict the least recently used entries; see `take_evicted`.
        vector_memory_bytes: of vectors kept once fetched.
    """

    def __init__(
        self, store: Store, hamming: HammingSimilarity, max_entries: int, *, vector_memory_bytes: int = 0
    ) -> None:
        # One fold at a time; apart from the index's lock, so that searches go on while the store is read.
        self.lock = threading.RLock()
        keep_over_fork(self, innermost=False)
        self._store = store
        self._n_words = hamming.n_words
        self._code_bits = hamming.code_bits
        self._index = Index(hamming, max_entries, unique=False, scoped=True)
        self._max_entries = max_entries
        self._lock = self._index.lock
        self._cursor = -1
        self._evicted: list[int] = []
        self._broken = False
        self._vectors = VectorMemory(vector_memory_bytes)
        # Never emptied: a pair is forbidden for good, and is asked about while another thread begins anew.
        self._pairs: set[bytes] = set()
        self._forget()

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        """Bytes of the index, its ids and scopes."""
        with self._lock:
            return self._index.nbytes + 8 * len(self._index) + self._rows.nbytes + 120 * len(self._scopes)

    @property
    def vector_bytes(self) -> int:
        """Bytes of the vectors in memory."""
        return self._vectors.nbytes

    def is_forbidden(self, pair: bytes) -> bool:
        """Whether two texts were reported as never to answer each other."""
        return pair in self._pairs

    def sync(self) -> None:
        """Folds what the store's log says since the last time. Raises `StoreError`."""
        if self._cursor >= 0 and not self._broken and not self._store.moved_past(self._cursor):
            return
        if self.lock._is_owned():  # type: ignore[attr-defined]
            return  # a finaliser or signal handler in the middle of a fold; whoever it interrupted goes on
        with self.lock:
            if self._cursor < 0 or self._broken:
                self._restart()
            while self._store.moved_past(self._cursor):
                try:
                    changes, cursor = self._store.changes(self._cursor, _LINES)
                except CursorLostError:
                    self._restart()
                    continue
                self._fold(changes)
                self._cursor = cursor

    def within(self, scope: bytes, code: bytes, radius: int, limit: int) -> Neighbours:
        """Up to `limit` entries of `scope` inside `radius`."""
        query = np.frombuffer(code, _LITTLE).astype(np.uint64, copy=False)
        with self._lock:
            number = self._scopes.get(scope)
            if number is None or self._broken:
                return _NOBODY
            rows, distances = self._index.within(query, 1.0 - radius / self._code_bits, limit + 1, number)
            # The search lets the lock go: the scope may have been dropped and its number given to another.
            if self._scopes.get(scope) != number:
                return _NOBODY
            some = rows[:limit]
            # One column, so a row is its place among all; `take` costs half of what an index of arrays does.
            ids, codes = self._ids.take(some), self._index.columns.codes[some]
        carried = codes.astype(_LITTLE, copy=False).tobytes()
        return Neighbours(ids.tolist(), distances[:limit].tolist(), carried, more=rows.size > limit)

    def nearest(self, scope: bytes, code: bytes) -> Neighbours:
        """The nearest entry of `scope` however far it is; nobody where the scope is empty or very large.

        For the reader of a miss alone, so it is not looked for where that would take long.
        """
        with self._lock:
            if self._index.scope_size(self._scopes.get(scope, _UNSEARCHED)) > _MOST_FOR_READERS:
                return _NOBODY
        return self.within(scope, code, self._code_bits, 1)

    def vectors(self, ids: Sequence[int]) -> list[bytes]:
        """The packed vectors of entries, from memory or from the store; empty for one that is gone.

        Raises:
            StoreError: the store failed.
        """
        vectors = [self._vectors.get(entry_id) for entry_id in ids]
        missing = [entry_id for entry_id, vector in zip(ids, vectors, strict=True) if vector is None]
        if not missing:
            return vectors  # type: ignore[return-value]
        fetched = self._store.vectors(missing)
        if not isinstance(fetched, list) or len(fetched) != len(missing):
            raise StoreError("the store gave another number of vectors than asked")
        found = dict(zip(missing, fetched, strict=True))
        with self._lock:
            for entry_id, vector in found.items():
                # Not one that was removed meanwhile: nobody would ever let it go.
                if isinstance(vector, bytes) and vector and self._row_of(entry_id) >= 0:
                    self._vectors.keep(entry_id, vector)
        return [found[i] if vector is None else vector for i, vector in zip(ids, vectors, strict=True)]

    def touch(self, entry_id: int, now: float) -> None:
        """Makes an entry the most recently used."""
        with self._lock:
            row = self._row_of(entry_id)
            if row >= 0:
                self._index.touch(row, now)

    def oldest(self, n: int) -> list[tuple[int, int]]:
        """`(id, uses)` of the `n` least recently used entries, the oldest first."""
        with self._lock:
            counts = self._index.columns.access_count
            return [(int(self._ids[row, 0]), counts[row]) for row in self._index.oldest(n).tolist()]

    def take_evicted(self) -> list[int]:
        """The ids that had to leave since the last call: the caller removes them from the store."""
        with self._lock:
            evicted = self._evicted
            self._evicted = []
        return evicted

    def after_fork_in_child(self) -> None:
        """Nothing is under way: whoever folded let the lock go before the fork."""

    def _forget(self) -> None:
        self._index.clear()
        self._ids = room((0, 1), np.uint64)
        self._rows = CodeTable()
        self._scopes: dict[bytes, int] = {}
        self._digests: dict[int, bytes] = {}
        self._free_numbers: list[int] = []
        self._evicted = []
        self._vectors.clear()

    def _restart(self) -> None:
        # Until all of it is done, whoever comes next must begin anew.
        self._cursor = -1
        cursor, pairs, chunks = self._store.packed()
        loaded = _loaded(list(chunks), self._n_words)
        with self._lock:
            self._broken = True
            self._forget()
            self._pairs.update(pairs)
            self._adopt(*loaded)
            self._broken = False
        self._cursor = cursor

    def _adopt(
        self,
        ids: NDArray[np.uint64],
        scopes: NDArray[np.uint64],
        codes: NDArray[np.uint64],
        searched: NDArray[np.bool_],
    ) -> None:
        """Takes entries over, ascending by id; the newest of them if they are too many. Vectorised."""
        self._evicted = ids[: max(0, ids.size - self._max_entries)].tolist()
        first = len(self._evicted)
        ids, scopes, codes, searched = ids[first:], scopes[first:], codes[first:], searched[first:]
        digests, numbers = _numbered(scopes, searched)
        self._scopes = {digest: number for number, digest in enumerate(digests, start=1)}
        self._digests = {number: digest for digest, number in self._scopes.items()}
        times = ids.astype(np.float64)
        self._index.adopt(Columns(codes, times, times.copy(), np.zeros(ids.size, np.int32)), numbers)
        self._ids = ids.reshape(-1, 1).copy()

    def _fold(self, changes: Iterable[Change]) -> None:
        with self._lock:
            self._broken = True
            for change in changes:
                if change.kind is ChangeKind.PUT:
                    self._add(change)
                elif change.kind is ChangeKind.DELETE:
                    self._remove(change.id)
                elif change.kind is ChangeKind.FORBID:
                    self._pairs.add(change.pair)
                else:
                    self._remove_up_to(change.id)
            self._broken = False

    def _add(self, change: Change) -> None:
        if self._row_of(change.id) >= 0:
            return
        index = self._index
        index.prepare()
        searched = len(change.code) == 8 * self._n_words
        code = np.frombuffer(change.code, "<u8") if searched else np.zeros(self._n_words, np.uint64)
        if len(index) >= self._max_entries:
            oldest = int(index.oldest(1)[0])
            self._evicted.append(int(self._ids[oldest, 0]))
            self._drop(oldest)
        number = self._number_of(change.scope) if searched else _UNSEARCHED
        row, _ = index.add(code, float(change.id), number)
        if row >= len(self._ids):
            ids = room((max(64, index.columns.capacity), 1), np.uint64)
            ids[: len(self._ids)] = self._ids
            self._ids = ids
        self._ids[row, 0] = change.id
        if self._rows.has_room(len(index)):
            self._rows.insert(self._ids, row)
        else:
            self._rows.build(self._ids, index.order(), self._max_entries + 1)
        index.publish(row)

    def _remove(self, entry_id: int) -> None:
        row = self._row_of(entry_id)
        if row >= 0:
            self._drop(row)

    def _remove_up_to(self, last_id: int) -> None:
        rows = self._index.order()
        for row in rows[self._ids[rows, 0] <= last_id].tolist():
            self._drop(row)

    def _drop(self, row: int) -> None:
        number = self._index.scope_of(row)
        self._vectors.forget(int(self._ids[row, 0]))
        self._rows.remove(self._ids, row)
        self._index.remove(row)
        if number != _UNSEARCHED and not self._index.scope_size(number):
            del self._scopes[self._digests.pop(number)]
            self._free_numbers.append(number)

    def _row_of(self, entry_id: int) -> int:
        if not self._rows.built:
            if not len(self._index):
                return -1
            self._rows.build(self._ids, self._index.order(), self._max_entries + 1)
        return self._rows.find(self._ids, np.array([entry_id], np.uint64))

    def _number_of(self, scope: bytes) -> int:
        number = self._scopes.get(scope)
        if number is None:
            number = self._free_numbers.pop() if self._free_numbers else len(self._scopes) + 1
            self._scopes[scope] = number
            self._digests[number] = scope
        return number


def _loaded(
    chunks: list[Packed], n_words: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]:
    """Ids ascending and each once, scopes `(n, 2)`, codes `(n, n_words)`, whether each has a code."""
    ids, scopes, codes, searched = [], [], [], []
    for chunk in chunks:
        n, rest = divmod(len(chunk.ids), 8)
        if rest or len(chunk.scopes) != 16 * n:
            raise StoreError(
                "expected 8 bytes of id and 16 of scope an entry from the store, "
                f"got {len(chunk.ids)} and {len(chunk.scopes)}"
            )
        has_codes = len(chunk.codes) == 8 * n_words * n
        ids.append(np.frombuffer(chunk.ids, "<u8"))
        scopes.append(np.frombuffer(chunk.scopes, "<u8").reshape(n, 2))
        codes.append(
            np.frombuffer(chunk.codes, "<u8").reshape(n, n_words)
            if has_codes
            else np.zeros((n, n_words), np.uint64)
        )
        searched.append(np.full(n, has_codes))
    if not ids:
        none = np.empty((0, max(2, n_words)), np.uint64)
        return none[:, 0], none[:, :2], none[:, :n_words], none[:, 0] > 0
    all_ids, first = np.unique(np.concatenate(ids), return_index=True)
    return (
        all_ids.astype(np.uint64),
        np.concatenate(scopes).astype(np.uint64)[first],
        np.concatenate(codes).astype(np.uint64)[first],
        np.concatenate(searched)[first],
    )


def _numbered(
    scopes: NDArray[np.uint64], searched: NDArray[np.bool_]
) -> tuple[list[bytes], NDArray[np.int32]]:
    """The scopes' digests, and for each entry the place of its own among them from 1 on, 0 for no search."""
    numbers = np.zeros(len(scopes), np.int32)
    pairs = np.ascontiguousarray(scopes[searched]).view([("a", "<u8"), ("b", "<u8")]).reshape(-1)
    # Nearly always the first halves alone tell scopes apart, and one number sorts far faster than two.
    _, first, inverse = np.unique(pairs["a"], return_index=True, return_inverse=True)
    if not np.array_equal(pairs["b"][first][inverse], pairs["b"]):
        _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
    numbers[searched] = inverse.reshape(-1) + 1
    return [pair.tobytes() for pair in pairs[first]], numbers
