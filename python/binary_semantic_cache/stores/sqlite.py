"""`SQLiteStore`: entries in one SQLite file, shared by every process of a machine that opens it."""

import secrets
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path

import msgpack

from binary_semantic_cache.errors import CorruptFileError, CursorLostError, FingerprintError, StoreError
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
)
from binary_semantic_cache.stores.checksum import moved
from binary_semantic_cache.stores.sqlite_file import Durability, SQLiteFile
from binary_semantic_cache.stores.sqlite_lease import held_by_another
from binary_semantic_cache.stores.sqlite_packing import FOLDED, ROWS_AT_ONCE, Packing
from binary_semantic_cache.stores.sqlite_rows import (
    WHOLE,
    insert,
    kind_of_change,
    last_of,
    last_seq,
    moved_place,
    only,
    put_line,
    sound,
    stored_row,
)

__all__ = ["SQLiteStore"]

_LOOK_EVERY = 4096
_SECRET_BYTES = 32
_READERS_MILLISECONDS = 20
_BATCH = 500  # below SQLite's least limit of bound parameters, 999

_BY_KEY = WHOLE + "e.key = ?"
_BY_ID = WHOLE + "e.id = ? AND e.scope = ? AND e.code = ?"
_VECTORS = "SELECT id, vector FROM body WHERE id IN ({})"
_WEIGHTS = "SELECT e.id, b.saving, e.n_bytes FROM entry e JOIN body b ON b.id = e.id WHERE e.id IN ({})"
_DELETE = "DELETE FROM entry WHERE id IN ({})"
_EXPIRED = "SELECT id FROM entry WHERE expires_at <= ? LIMIT ?"
_PROMPTS = "SELECT e.id, b.prompt FROM entry e JOIN body b ON b.id = e.id WHERE {} ORDER BY e.id"


class _Batch:
    """A put that waits for its commit."""

    __slots__ = ("entries", "ids")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.ids: list[int] | None = None


class SQLiteStore:
    """A store in one file, with SQLite's write-ahead log beside it.

    A put that returned survives the death of the process. At a power cut the last ones may be lost, never
    damaged, unless `durability` is `disk`. Puts of several threads that wait for each other are committed
    together. The file is readable by its owner alone.

    Args:
        path: the file; made if it is not there, and so is its folder.
        durability: `os`: a put that returned is with the operating system; `disk`: it is on the disk.
        busy_timeout_seconds: how long to wait for another process's write before giving up with `StoreError`.
    """

    bounded = True

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        durability: Durability = "os",
        busy_timeout_seconds: float = 1.0,
    ) -> None:
        self._file = SQLiteFile(path, durability=durability, busy_timeout_seconds=busy_timeout_seconds)
        self._packing = Packing(self._file)
        self.lock = self._file.lock
        # Appended to and taken from without a lock: each of these is one step of the interpreter.
        self._waiting: deque[_Batch] = deque()
        keep_over_fork(self)
        self._epoch: bytes | None = None
        self._puts_since_look = 0

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def after_fork_in_child(self) -> None:
        """Forgets the puts of threads that are not here; whoever changed the store let the lock go."""
        self._waiting.clear()

    def open(self, fingerprint: str) -> Opened:
        """See `Store.open`."""
        with self.lock, self._file.writing() as db:
            row = db.execute("SELECT value FROM meta WHERE name = 'fingerprint'").fetchone()
            if row is None:
                values = {"epoch": secrets.token_bytes(8), "secret": secrets.token_bytes(_SECRET_BYTES)}
                values["fingerprint"] = fingerprint.encode()
                db.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
            elif sound(row[0], bytes) != fingerprint.encode():
                raise FingerprintError(
                    f"expected a cache filled by {fingerprint}, got {self.path} filled by "
                    f"{row[0].decode()}; `bsc reembed {self.path}` moves it to another embedder"
                )
            meta = dict(db.execute("SELECT name, value FROM meta"))
            epoch, secret = (sound(meta.get(name), bytes) for name in ("epoch", "secret"))
            if len(secret) != _SECRET_BYTES:
                raise CorruptFileError(f"expected a secret of {_SECRET_BYTES} bytes, got {len(secret)}")
            self._epoch = epoch
        return Opened(epoch, secret)

    def put_many(self, entries: Sequence[Entry]) -> list[int]:
        """See `Store.put_many`."""
        batch = _Batch(entries)
        self._waiting.append(batch)
        with self.lock:
            # Whoever comes first commits for all who wait by then: one transaction, and with `disk` one wait.
            while batch.ids is None:
                self._commit(batch)
            ids = batch.ids
        self._puts_since_look += len(ids)
        if self._puts_since_look >= _LOOK_EVERY:
            self._puts_since_look = 0
            self._packing.update_if_due()
        return ids

    def _commit(self, own: "_Batch") -> None:
        batches = []
        while self._waiting:
            batches.append(self._waiting.popleft())
        try:
            self._insert_all(batches)
        except BaseException as exc:
            others = [batch for batch in batches if batch is not own]
            self._waiting.extendleft(reversed(others))
            if not others or not isinstance(exc, Exception):
                raise
            self._insert_all([own])  # it may have been another's entry that was refused

    def _insert_all(self, batches: "list[_Batch]") -> None:
        with self.lock, self._file.writing() as db:
            self._check_epoch(db)
            ids = [[insert(db, entry) for entry in batch.entries] for batch in batches]
        for batch, its_ids in zip(batches, ids, strict=True):
            batch.ids = its_ids

    def find(self, key: bytes, now: float) -> Stored | None:
        """See `Store.find`."""
        with self.lock, self._file.reading() as db:
            found = stored_row(db.execute(_BY_KEY, (key,)).fetchone(), now)
        # The index of keys may be damaged and name a row that is sound.
        return found if found is not None and found.entry.key == key else None

    def get(self, entry_id: int, scope: bytes, code: bytes, now: float) -> Stored | None:
        """See `Store.get`."""
        wanted = (entry_id, scope, code)
        with self.lock, self._file.reading() as db:
            return stored_row(db.execute(_BY_ID, wanted).fetchone(), now)

    def vectors(self, ids: Sequence[int]) -> list[bytes]:
        """See `Store.vectors`."""
        found: dict[int, bytes] = {}
        with self.lock, self._file.reading() as db:
            for some in _batches(ids):
                found.update(db.execute(_VECTORS.format(_marks(some)), some))
        return [sound(found.get(entry_id, b""), bytes) for entry_id in ids]

    def weights(self, ids: Sequence[int]) -> list[tuple[Saving, int]]:
        """See `Store.weights`."""
        found: dict[int, tuple[Saving, int]] = {}
        with self.lock, self._file.reading() as db:
            for some in _batches(ids):
                for entry_id, saving, n_bytes in db.execute(_WEIGHTS.format(_marks(some)), some):
                    found[entry_id] = (
                        Saving() if saving is None else Saving(*msgpack.unpackb(saving)),
                        n_bytes,
                    )
        return [found.get(entry_id, (Saving(), 0)) for entry_id in ids]

    def delete(self, ids: Iterable[int]) -> int:
        """See `Store.delete`."""
        listed, n = list(ids), 0
        if not listed:
            return 0
        with self.lock, self._file.writing() as db:
            for some in _batches(listed):
                n += db.execute(_DELETE.format(_marks(some)), some).rowcount
        return n

    def clear(self, owner: bytes | None) -> int:
        """See `Store.clear`."""
        with self.lock, self._file.writing() as db:
            if owner is None:
                return db.execute("DELETE FROM entry WHERE TRUE").rowcount
            return db.execute("DELETE FROM entry WHERE owner = ?", (owner,)).rowcount

    def forbid(self, pair: bytes) -> None:
        """See `Store.forbid`."""
        with self.lock, self._file.writing() as db:
            db.execute("INSERT OR IGNORE INTO pair VALUES (?)", (pair,))
            db.execute("INSERT INTO log (kind, id, pair) VALUES (?, 0, ?)", (int(ChangeKind.FORBID), pair))

    def prolong(self, entry_id: int, expires_at: float) -> None:
        """See `Store.prolong`."""
        query = "SELECT expires_at, checksum FROM entry WHERE id = ?"
        with self.lock, self._file.writing() as db:
            row = db.execute(query, (entry_id,)).fetchone()
            if row is not None:
                before, after = sound(row[0], float) if row[0] is not None else None, float(expires_at)
                changed = moved(sound(row[1], bytes), expiry=(before, after))
                values = (after, changed, entry_id)
                db.execute("UPDATE entry SET expires_at = ?, checksum = ? WHERE id = ?", values)

    def select(
        self, *, tag: str | None = None, owner: bytes | None = None, key: bytes | None = None
    ) -> list[tuple[int, str]]:
        """See `Store.select`."""
        asked = {"e.owner = ?": owner, "e.key = ?": key, "e.id IN (SELECT id FROM tag WHERE tag = ?)": tag}
        given = {condition: value for condition, value in asked.items() if value is not None}
        where = " AND ".join(given) or "TRUE"
        query = _PROMPTS.format(where)
        with self.lock, self._file.reading() as db:
            return db.execute(query, list(given.values())).fetchall()

    def sweep(self, now: float, limit: int) -> int:
        """See `Store.sweep`."""
        with self.lock, self._file.reading() as db:
            if held_by_another(db) or not db.execute(_EXPIRED, (now, 1)).fetchone():
                return 0
        # In one transaction, which is all the lease that a step this short needs.
        with self.lock, self._file.writing() as db:
            if held_by_another(db):
                return 0
            return db.execute(_DELETE.format(_EXPIRED), (now, limit)).rowcount

    def moved_past(self, cursor: int) -> bool:
        """See `Store.moved_past`."""
        with self.lock, self._file.reading() as db:
            return last_seq(db) != cursor

    def snapshot(self) -> tuple[int, Iterator[list[Change]]]:
        """See `Store.snapshot`."""
        with self.lock, self._file.reading() as db:
            self._check_epoch(db)
            cursor = last_seq(db)
            pairs = [
                Change(ChangeKind.FORBID, pair=sound(pair, bytes))
                for (pair,) in db.execute("SELECT pair FROM pair")
            ]
        return cursor, self._chunks(pairs)

    def packed(self) -> tuple[int, list[bytes], Iterator[Packed]]:
        """See `Store.packed`; out of the packed chunks in a fraction of the time of rows."""
        with self.lock, self._file.reading() as db:
            self._check_epoch(db)
            cursor = last_seq(db)
            pairs = [sound(pair, bytes) for (pair,) in db.execute("SELECT pair FROM pair")]
            entries = self._packing.state(db)
        return cursor, pairs, entries

    def changes(self, cursor: int, limit: int) -> tuple[list[Change], int]:
        """See `Store.changes`."""
        query = (
            "SELECT l.seq, l.kind, l.id, l.pair, e.scope, e.code FROM log l LEFT JOIN entry e ON e.id = l.id "
            "WHERE l.seq > ? ORDER BY l.seq LIMIT ?"
        )
        with self.lock, self._file.reading() as db:
            self._check_epoch(db)
            lines = db.execute(query, (cursor, limit)).fetchall()
            last = last_seq(db)
        if cursor > last or (lines and lines[0][0] != cursor + 1) or (not lines and cursor != last):
            raise CursorLostError(f"expected a cursor the log of {self.path} reaches back to, got {cursor}")
        changes = [
            put_line(entry_id, scope, code)
            if kind == ChangeKind.PUT
            else Change(kind_of_change(kind), sound(entry_id, int), pair=sound(pair or b"", bytes))
            for _, kind, entry_id, pair, scope, code in lines
            if scope is not None or kind != ChangeKind.PUT
        ]
        return changes, cursor + len(lines)

    def flush(self) -> None:
        """Nothing to do: a put that returned is in the file."""

    def compact(self) -> None:
        """Packs what was put since the last time, shortens the log, and gives free pages back.

        In steps of a bounded number of entries, each a transaction of its own, so that other writers get in
        between. One process does this at a time; this one waits for another as long as for a write. A process
        that was killed in the middle holds nobody up, or in another container, and on a system other than
        Linux, for 10 seconds. Nothing depends on it: whoever is refused may leave it to the other.

        Raises:
            StoreError: another process was at it all the time, or took it over from this one, which had
                paused for 10 seconds or whose clock was set.
        """
        self._packing.update(wait_seconds=self._file.busy_timeout_seconds)
        with self.lock, self._file.reading() as db:
            # Whoever reads keeps the log from being emptied, and waiting for that would hold writers up.
            db.execute(f"PRAGMA busy_timeout = {_READERS_MILLISECONDS}")
            try:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                db.execute(f"PRAGMA busy_timeout = {round(1000 * self._file.busy_timeout_seconds)}")

    def close(self) -> None:
        """See `Store.close`."""
        self._file.close()

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        with self.lock, self._file.reading() as db:
            entries, n_bytes = only(db.execute("SELECT entries, n_bytes FROM total"))
            return StoreStats(sound(entries, int), sound(n_bytes, int))

    def fingerprint(self) -> str | None:
        """What the store was filled by, `None` for an empty file."""
        with self.lock, self._file.reading() as db:
            row = db.execute("SELECT value FROM meta WHERE name = 'fingerprint'").fetchone()
            return None if row is None else sound(row[0], bytes).decode()

    def prompts(self) -> Iterator[list[tuple[int, str, bytes]]]:
        """`(id, prompt, code)` of all entries in chunks, by id."""
        query = (
            "SELECT e.id, b.prompt, e.code FROM entry e JOIN body b ON b.id = e.id WHERE e.id > ? "
            "ORDER BY e.id LIMIT ?"
        )
        last = 0
        while True:
            with self.lock, self._file.reading() as db:
                rows = db.execute(query, (last, ROWS_AT_ONCE)).fetchall()
            if not rows:
                return
            last = last_of(rows, last)
            yield [(entry_id, sound(prompt, str), sound(code, bytes)) for entry_id, prompt, code in rows]

    def reembed(self, fingerprint: str, chunks: Iterable[Iterable[tuple[int, bytes, bytes]]]) -> int:
        """Gives entries new codes and vectors, `(id, code, vector)`, all at once; the rest loses its code.

        The new ones are gathered in a table of their own, so the store stays as it is until the end. Entries
        keep their ids but the epoch changes, so every other process takes a new snapshot.

        Returns:
            How many entries have a new code.
        """
        with self.lock, self._file.reading() as db:
            db.execute("DROP TABLE IF EXISTS fresh")
            db.execute(
                "CREATE TABLE fresh (id INTEGER PRIMARY KEY, code BLOB NOT NULL, vector BLOB NOT NULL)"
            )
        for chunk in chunks:
            with self.lock, self._file.writing() as db:
                db.executemany("INSERT OR REPLACE INTO fresh VALUES (?, ?, ?)", chunk)
        with self.lock, self._file.writing() as db:
            db.create_function("moved", 5, moved_place, deterministic=True)
            db.execute(
                "UPDATE entry SET checksum = coalesce((SELECT moved(entry.checksum, entry.code, b.vector, "
                "coalesce(f.code, x''), coalesce(f.vector, x'')) FROM body b "
                "LEFT JOIN fresh f ON f.id = b.id WHERE b.id = entry.id), x'')"
            )
            db.execute(
                "UPDATE entry SET n_bytes = n_bytes - length(code) - "
                "coalesce((SELECT length(vector) FROM body b WHERE b.id = entry.id), 0) + "
                "coalesce((SELECT length(code) + length(vector) FROM fresh f WHERE f.id = entry.id), 0)"
            )
            db.execute("UPDATE total SET n_bytes = (SELECT coalesce(sum(n_bytes), 0) FROM entry)")
            db.execute(
                "UPDATE entry SET code = coalesce((SELECT code FROM fresh f WHERE f.id = entry.id), x'')"
            )
            db.execute(
                "UPDATE body SET vector = coalesce((SELECT vector FROM fresh f WHERE f.id = body.id), x'')"
            )
            (n,) = db.execute("SELECT count(*) FROM entry WHERE code <> x''").fetchone()
            db.execute("DROP TABLE fresh")
            # A seq left out of the log makes every reader's cursor lost, and so take a snapshot.
            db.execute("DELETE FROM log WHERE TRUE")
            db.execute("DELETE FROM packed WHERE TRUE")
            db.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'log'")
            # Whoever is packing meanwhile packs the new codes from here on.
            db.execute("INSERT OR REPLACE INTO meta VALUES ('snapped', ?)", (last_seq(db),))
            self._epoch = secrets.token_bytes(8)
            values = [(fingerprint.encode(), "fingerprint"), (self._epoch, "epoch")]
            db.executemany("UPDATE meta SET value = ? WHERE name = ?", values)
        return int(n)

    def _chunks(self, pairs: list[Change]) -> Iterator[list[Change]]:
        if pairs:
            yield pairs
        last = 0
        while True:
            # Short reads: a transaction held open would keep the write-ahead log from being emptied.
            with self.lock, self._file.reading() as db:
                rows = db.execute(FOLDED, (last, ROWS_AT_ONCE)).fetchall()
            if not rows:
                return
            last = last_of(rows, last)
            yield [put_line(entry_id, scope, code) for entry_id, scope, code in rows]

    def _check_epoch(self, db: sqlite3.Connection) -> None:
        """Keeps one who opened the file before it was re-embedded from mixing codes of two embedders."""
        if self._epoch is None:
            return
        (epoch,) = only(db.execute("SELECT value FROM meta WHERE name = 'epoch'"))
        if epoch != self._epoch:
            raise StoreError(f"{self.path} was moved to another embedder meanwhile; open it again")


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[at : at + _BATCH] for at in range(0, len(ids), _BATCH))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
