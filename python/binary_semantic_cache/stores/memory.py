"""`MemoryStore`: entries in this process's memory, gone with it."""

import secrets
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from binary_semantic_cache.errors import CursorLostError, FingerprintError
from binary_semantic_cache.fork import keep_over_fork
from binary_semantic_cache.stores import (
    Change,
    ChangeKind,
    Entry,
    Opened,
    Packed,
    Saving,
    Stored,
    StoreStats,
    pack,
    prolonged,
    servable,
)

__all__ = ["MemoryStore"]

_LOG_LINES = 65_536
_CHUNK = 4096


class MemoryStore:
    """A store in dictionaries. Several caches of one process may share it.

    An interrupt (Ctrl-C) in the middle of a change may leave an entry out of a dictionary, never in a wrong
    place: every read checks the entry itself.
    """

    bounded = True

    def __init__(self) -> None:
        self.lock = threading.RLock()
        keep_over_fork(self)
        self._fingerprint: str | None = None
        self._opened = Opened(secrets.token_bytes(8), secrets.token_bytes(32))
        self._entries: dict[int, Entry] = {}
        self._ids: dict[bytes, int] = {}
        self._tagged: dict[str, set[int]] = {}
        self._expiring: dict[int, float] = {}
        self._pairs: dict[bytes, None] = {}
        # (number, kind, id, pair): scope and code of a put are read from its entry, so a line keeps no body
        # alive.
        self._log: deque[tuple[int, ChangeKind, int, bytes]] = deque(maxlen=_LOG_LINES)
        self._cursor = 0
        self._last_id = 0
        self._n_bytes = 0

    def after_fork_in_child(self) -> None:
        """Nothing is under way: whoever changed the store let the lock go before the fork."""

    def open(self, fingerprint: str) -> Opened:
        """See `Store.open`."""
        with self.lock:
            if self._fingerprint is None:
                self._fingerprint = fingerprint
            if self._fingerprint != fingerprint:
                raise FingerprintError(
                    f"expected a cache filled by {fingerprint}, got one filled by {self._fingerprint}"
                )
            return self._opened

    def put_many(self, entries: Sequence[Entry]) -> list[int]:
        """See `Store.put_many`."""
        ids = []
        with self.lock:
            for entry in entries:
                before = self._ids.get(entry.key)
                if before is not None:
                    self._remove(before)
                self._last_id = entry_id = self._last_id + 1
                self._entries[entry_id] = entry
                self._ids[entry.key] = entry_id
                for tag in entry.tags:
                    self._tagged.setdefault(tag, set()).add(entry_id)
                if entry.expires_at is not None:
                    self._expiring[entry_id] = entry.expires_at
                self._n_bytes += entry.n_bytes
                self._note(ChangeKind.PUT, entry_id)
                ids.append(entry_id)
        return ids

    def find(self, key: bytes, now: float) -> Stored | None:
        """See `Store.find`."""
        entry_id = self._ids.get(key, 0)
        entry = self._entries.get(entry_id)
        if entry is None or entry.key != key or not servable(entry, now):
            return None
        return Stored(entry_id, entry)

    def get(self, entry_id: int, scope: bytes, code: bytes, now: float) -> Stored | None:
        """See `Store.get`."""
        entry = self._entries.get(entry_id)
        if entry is None or entry.scope != scope or entry.code != code or not servable(entry, now):
            return None
        return Stored(entry_id, entry)

    def vectors(self, ids: Sequence[int]) -> list[bytes]:
        """See `Store.vectors`."""
        entries = map(self._entries.get, ids)
        return [b"" if entry is None else entry.vector for entry in entries]

    def weights(self, ids: Sequence[int]) -> list[tuple[Saving, int]]:
        """See `Store.weights`."""
        entries = map(self._entries.get, ids)
        return [(Saving(), 0) if entry is None else (entry.saving, entry.n_bytes) for entry in entries]

    def delete(self, ids: Iterable[int]) -> int:
        """See `Store.delete`."""
        with self.lock:
            return sum(self._remove(entry_id) for entry_id in ids)

    def clear(self, owner: bytes | None) -> int:
        """See `Store.clear`."""
        with self.lock:
            if owner is not None:
                return self.delete([i for i, entry in self._entries.items() if entry.owner == owner])
            n = len(self._entries)
            self._entries, self._ids, self._tagged, self._expiring = {}, {}, {}, {}
            self._n_bytes = 0
            self._note(ChangeKind.CLEAR, self._last_id)
            return n

    def forbid(self, pair: bytes) -> None:
        """See `Store.forbid`."""
        with self.lock:
            self._pairs[pair] = None
            self._note(ChangeKind.FORBID, 0, pair)

    def prolong(self, entry_id: int, expires_at: float) -> None:
        """See `Store.prolong`."""
        with self.lock:
            entry = self._entries.get(entry_id)
            if entry is not None:
                self._entries[entry_id] = prolonged(entry, expires_at)
                self._expiring[entry_id] = expires_at

    def select(
        self, *, tag: str | None = None, owner: bytes | None = None, key: bytes | None = None
    ) -> list[tuple[int, str]]:
        """See `Store.select`."""
        with self.lock:
            if key is not None:
                ids = [self._ids[key]] if key in self._ids else []
            else:
                ids = list(self._entries) if tag is None else sorted(self._tagged.get(tag, ()))
            return [
                (entry_id, entry.prompt)
                for entry_id in ids
                if (entry := self._entries[entry_id])
                and (tag is None or tag in entry.tags)
                and (owner is None or entry.owner == owner)
            ]

    def sweep(self, now: float, limit: int) -> int:
        """See `Store.sweep`."""
        with self.lock:
            expired = [entry_id for entry_id, expires_at in self._expiring.items() if expires_at <= now]
            return self.delete(expired[:limit])

    def moved_past(self, cursor: int) -> bool:
        """See `Store.moved_past`."""
        return self._cursor != cursor

    def snapshot(self) -> tuple[int, Iterator[list[Change]]]:
        """See `Store.snapshot`."""
        with self.lock:
            cursor = self._cursor
            lines = [Change(ChangeKind.PUT, i, entry.scope, entry.code) for i, entry in self._entries.items()]
            lines += [Change(ChangeKind.FORBID, pair=pair) for pair in self._pairs]
        return cursor, (lines[at : at + _CHUNK] for at in range(0, len(lines), _CHUNK))

    def packed(self) -> tuple[int, list[bytes], Iterator[Packed]]:
        """See `Store.packed`."""
        with self.lock:
            entries = list(self._entries.items())
            cursor, pairs = self._cursor, list(self._pairs)
        columns = pack((i, entry.scope, entry.code) for i, entry in entries)
        return cursor, pairs, iter(columns)

    def changes(self, cursor: int, limit: int) -> tuple[list[Change], int]:
        """See `Store.changes`."""
        with self.lock:
            if not self._log_reaches(cursor):
                raise CursorLostError(f"expected a cursor that the log reaches back to, got {cursor}")
            # An interrupted note may leave two lines of one number: they are told together.
            later = list(takewhile(lambda line: line[0] > cursor, reversed(self._log)))[::-1]
            end = later[limit - 1][0] if len(later) > limit else self._cursor
            lines = []
            for number, kind, entry_id, pair in later:
                if number > end:
                    break
                if kind is not ChangeKind.PUT:
                    lines.append(Change(kind, entry_id, pair=pair))
                elif (entry := self._entries.get(entry_id)) is not None:
                    lines.append(Change(kind, entry_id, entry.scope, entry.code))
            return lines, end

    def _log_reaches(self, cursor: int) -> bool:
        first = self._log[0][0] if self._log else self._cursor + 1
        return first - 1 <= cursor <= self._cursor

    def flush(self) -> None:
        """Nothing to do: nothing survives the process."""

    def compact(self) -> None:
        """Nothing to do: what is removed is gone at once."""

    def close(self) -> None:
        """Keeps the entries: another cache may share them."""

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        with self.lock:
            return StoreStats(len(self._entries), self._n_bytes)

    def _remove(self, entry_id: int) -> bool:
        entry = self._entries.pop(entry_id, None)
        if entry is None:
            return False
        if self._ids.get(entry.key) == entry_id:
            del self._ids[entry.key]
        for tag in entry.tags:
            tagged = self._tagged.get(tag, set())
            tagged.discard(entry_id)
            if not tagged:
                self._tagged.pop(tag, None)
        self._expiring.pop(entry_id, None)
        self._n_bytes -= entry.n_bytes
        self._note(ChangeKind.DELETE, entry_id)
        return True

    def _note(self, kind: ChangeKind, entry_id: int, pair: bytes = b"") -> None:
        # The line first: an interrupt in between shows it late, and never moves other readers by a line.
        self._log.append((self._cursor + 1, kind, entry_id, pair))
        self._cursor += 1
