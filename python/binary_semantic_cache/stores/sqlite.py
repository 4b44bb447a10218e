"""`SQLiteStore`: entries in one SQLite file, shared by every process of a machine that opens it."""

import logging
import os
import secrets
import sqlite3
import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from os import PathLike
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal

import msgpack
import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import (
    ClosedError,
    CorruptFileError,
    CursorLostError,
    FingerprintError,
    FormatVersionError,
    InvalidValueError,
    StoreError,
)
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
    servable,
)
from binary_semantic_cache.stores.checksum import checksum, moved

__all__ = ["SQLiteStore"]

_logger = logging.getLogger(__name__)

_APPLICATION_ID = 0x42534331  # "BSC1", in the file's header: no other program's file is written to
_SCHEMA_VERSION = 1
_LOG_LINES = 100_000
_LOOK_EVERY = 4096
_SNAP_EVERY = 65_536
_PACKED = 65_536
_CHUNK = 4096
_SECRET_BYTES = 32
_BATCH = 500  # below SQLite's least limit of bound parameters, 999

# Bodies stand apart so that folding the log reads none. `entry.id` is AUTOINCREMENT: an id is never given
# twice.
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, scope BLOB NOT NULL,
    owner BLOB NOT NULL, code BLOB NOT NULL, created_at REAL NOT NULL, expires_at REAL, ttl_seconds REAL,
    n_bytes INTEGER NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE body (
    id INTEGER PRIMARY KEY, vector BLOB NOT NULL, prompt TEXT NOT NULL, kind TEXT NOT NULL,
    payload BLOB NOT NULL, tags BLOB, saving BLOB);
CREATE TABLE tag (tag TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (tag, id)) WITHOUT ROWID;
CREATE TABLE pair (pair BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, id INTEGER NOT NULL, pair BLOB);
CREATE TABLE packed (
    first_id INTEGER NOT NULL, last_id INTEGER NOT NULL, searched INTEGER NOT NULL, ids BLOB NOT NULL,
    scopes BLOB NOT NULL, codes BLOB NOT NULL, PRIMARY KEY (first_id, last_id, searched)) WITHOUT ROWID;
CREATE TABLE total (entries INTEGER NOT NULL, n_bytes INTEGER NOT NULL);
INSERT INTO total VALUES (0, 0);
CREATE INDEX entry_owner ON entry (owner);
CREATE INDEX entry_expiry ON entry (expires_at) WHERE expires_at IS NOT NULL;
CREATE TRIGGER entry_in AFTER INSERT ON entry BEGIN
    UPDATE total SET entries = entries + 1, n_bytes = n_bytes + new.n_bytes;
    INSERT INTO log (kind, id) VALUES (0, new.id);
END;
CREATE TRIGGER entry_out AFTER DELETE ON entry BEGIN
    DELETE FROM body WHERE id = old.id;
    DELETE FROM tag WHERE id = old.id;
    UPDATE total SET entries = entries - 1, n_bytes = n_bytes - old.n_bytes;
    INSERT INTO log (kind, id) VALUES (1, old.id);
END;
"""
_FIELDS = ("id", *(field.name for field in fields(Entry)))
_IN_BODY = {"vector", "prompt", "kind", "payload", "tags", "saving"}
_COLUMNS = ", ".join(("b." if name in _IN_BODY else "e.") + name for name in _FIELDS)
_WHOLE = f"SELECT {_COLUMNS}, e.checksum FROM entry e JOIN body b ON b.id = e.id WHERE "  # noqa: S608 - names of our own columns
_FOLDED = "SELECT id, scope, code FROM entry WHERE id > ? ORDER BY id LIMIT ?"
_RANGES = (
    "SELECT first_id, last_id, sum(length(ids)) / 8 FROM packed GROUP BY first_id, last_id ORDER BY last_id"
)
_NEXT_RANGE = "SELECT max(id) FROM (SELECT id FROM entry WHERE id > ? ORDER BY id LIMIT ?)"
_VECTORS = "SELECT id, vector FROM body WHERE id IN ({})"
_WEIGHTS = "SELECT e.id, b.saving, e.n_bytes FROM entry e JOIN body b ON b.id = e.id WHERE e.id IN ({})"
_DELETE = "DELETE FROM entry WHERE id IN ({})"
_PROMPTS = "SELECT e.id, b.prompt FROM entry e JOIN body b ON b.id = e.id WHERE {} ORDER BY e.id"


_SYNCHRONOUS = {"os": "NORMAL", "disk": "FULL"}


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
        durability: Literal["os", "disk"] = "os",
        busy_timeout_seconds: float = 1.0,
    ) -> None:
        if durability not in _SYNCHRONOUS:
            raise InvalidValueError(f"expected durability os or disk, got {durability!r}")
        self._path = Path(path)
        self._busy_timeout_seconds = busy_timeout_seconds
        self._synchronous = _SYNCHRONOUS[durability]
        # Appended to and taken from without a lock: each of these is one step of the interpreter.
        self._waiting: deque[_Batch] = deque()
        self.lock = threading.RLock()
        keep_over_fork(self)
        self._connection: sqlite3.Connection | None = None
        self._abandoned: list[sqlite3.Connection] = []
        self._process = 0
        self._closed = False
        self._epoch: bytes | None = None
        self._puts_since_look = 0

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def after_fork_in_child(self) -> None:
        """Forgets the puts of threads that are not here; whoever changed the store let the lock go."""
        self._waiting.clear()

    def open(self, fingerprint: str) -> Opened:
        """See `Store.open`."""
        with self.lock, self._writing() as db:
            row = db.execute("SELECT value FROM meta WHERE name = 'fingerprint'").fetchone()
            if row is None:
                values = {"epoch": secrets.token_bytes(8), "secret": secrets.token_bytes(_SECRET_BYTES)}
                values["fingerprint"] = fingerprint.encode()
                db.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
            elif _sound(row[0], bytes) != fingerprint.encode():
                raise FingerprintError(
                    f"expected a cache filled by {fingerprint}, got {self._path} filled by "
                    f"{row[0].decode()}; `bsc reembed {self._path}` moves it to another embedder"
                )
            meta = dict(db.execute("SELECT name, value FROM meta"))
            epoch, secret = (_sound(meta.get(name), bytes) for name in ("epoch", "secret"))
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
            self._snap_if_due()
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
        with self.lock, self._writing() as db:
            self._check_epoch(db)
            ids = [[_insert(db, entry) for entry in batch.entries] for batch in batches]
        for batch, its_ids in zip(batches, ids, strict=True):
            batch.ids = its_ids

    def find(self, key: bytes, now: float) -> Stored | None:
        """See `Store.find`."""
        with self.lock, self._reading() as db:
            found = _servable(db.execute(_WHOLE + "e.key = ?", (key,)).fetchone(), now)
        # The index of keys may be damaged and name a row that is sound.
        return found if found is not None and found.entry.key == key else None

    def get(self, entry_id: int, scope: bytes, code: bytes, now: float) -> Stored | None:
        """See `Store.get`."""
        wanted = (entry_id, scope, code)
        with self.lock, self._reading() as db:
            found = db.execute(_WHOLE + "e.id = ? AND e.scope = ? AND e.code = ?", wanted).fetchone()
            return _servable(found, now)

    def vectors(self, ids: Sequence[int]) -> list[bytes]:
        """See `Store.vectors`."""
        found: dict[int, bytes] = {}
        with self.lock, self._reading() as db:
            for some in _batches(ids):
                found.update(db.execute(_VECTORS.format(_marks(some)), some))
        return [_sound(found.get(entry_id, b""), bytes) for entry_id in ids]

    def weights(self, ids: Sequence[int]) -> list[tuple[Saving, int]]:
        """See `Store.weights`."""
        found: dict[int, tuple[Saving, int]] = {}
        with self.lock, self._reading() as db:
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
        with self.lock, self._writing() as db:
            for some in _batches(listed):
                n += db.execute(_DELETE.format(_marks(some)), some).rowcount
        return n

    def clear(self, owner: bytes | None) -> int:
        """See `Store.clear`."""
        with self.lock, self._writing() as db:
            if owner is None:
                return db.execute("DELETE FROM entry WHERE TRUE").rowcount
            return db.execute("DELETE FROM entry WHERE owner = ?", (owner,)).rowcount

    def forbid(self, pair: bytes) -> None:
        """See `Store.forbid`."""
        with self.lock, self._writing() as db:
            db.execute("INSERT OR IGNORE INTO pair VALUES (?)", (pair,))
            db.execute("INSERT INTO log (kind, id, pair) VALUES (?, 0, ?)", (int(ChangeKind.FORBID), pair))

    def prolong(self, entry_id: int, expires_at: float) -> None:
        """See `Store.prolong`."""
        query = "SELECT expires_at, checksum FROM entry WHERE id = ?"
        with self.lock, self._writing() as db:
            row = db.execute(query, (entry_id,)).fetchone()
            if row is not None:
                before, after = _sound(row[0], float) if row[0] is not None else None, float(expires_at)
                changed = moved(_sound(row[1], bytes), expiry=(before, after))
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
        with self.lock, self._reading() as db:
            return db.execute(query, list(given.values())).fetchall()

    def sweep(self, now: float, limit: int) -> int:
        """See `Store.sweep`."""
        expired = "SELECT id FROM entry WHERE expires_at <= ? LIMIT ?"
        with self.lock, self._reading() as db:
            ids = [entry_id for (entry_id,) in db.execute(expired, (now, limit))]
        return self.delete(ids)

    def moved_past(self, cursor: int) -> bool:
        """See `Store.moved_past`."""
        with self.lock, self._reading() as db:
            return _last_seq(db) != cursor

    def snapshot(self) -> tuple[int, Iterator[list[Change]]]:
        """See `Store.snapshot`."""
        with self.lock, self._reading() as db:
            self._check_epoch(db)
            cursor = _last_seq(db)
            pairs = [
                Change(ChangeKind.FORBID, pair=_sound(pair, bytes))
                for (pair,) in db.execute("SELECT pair FROM pair")
            ]
        return cursor, self._chunks(pairs)

    def packed(self) -> tuple[int, list[bytes], Iterator[Packed]]:
        """See `Store.packed`; out of the packed chunks in a fraction of the time of rows."""
        with self.lock, self._reading() as db:
            self._check_epoch(db)
            cursor = _last_seq(db)
            pairs = [_sound(pair, bytes) for (pair,) in db.execute("SELECT pair FROM pair")]
            dead = _dead_since(db, _snapped(db))
        return cursor, pairs, self._columns(dead)

    def changes(self, cursor: int, limit: int) -> tuple[list[Change], int]:
        """See `Store.changes`."""
        query = (
            "SELECT l.seq, l.kind, l.id, l.pair, e.scope, e.code FROM log l LEFT JOIN entry e ON e.id = l.id "
            "WHERE l.seq > ? ORDER BY l.seq LIMIT ?"
        )
        with self.lock, self._reading() as db:
            self._check_epoch(db)
            lines = db.execute(query, (cursor, limit)).fetchall()
            last = _last_seq(db)
        if cursor > last or (lines and lines[0][0] != cursor + 1) or (not lines and cursor != last):
            raise CursorLostError(f"expected a cursor the log of {self._path} reaches back to, got {cursor}")
        changes = [
            _put_line(entry_id, scope, code)
            if kind == ChangeKind.PUT
            else Change(_kind(kind), _sound(entry_id, int), pair=_sound(pair or b"", bytes))
            for _, kind, entry_id, pair, scope, code in lines
            if scope is not None or kind != ChangeKind.PUT
        ]
        return changes, cursor + len(lines)

    def flush(self) -> None:
        """Nothing to do: a put that returned is in the file."""

    def compact(self) -> None:
        """Packs what was put since the last time, shortens the log, and gives free pages back.

        In steps of a bounded number of entries, each a transaction of its own, so that other writers get in
        between. Any number of processes may do this at once: a step packs what is there when it runs.
        """
        self._snap()
        with self.lock, self._reading() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            db.execute("PRAGMA incremental_vacuum").fetchall()

    def close(self) -> None:
        """See `Store.close`."""
        with self.lock:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None and self._process == os.getpid():
                connection.close()

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        with self.lock, self._reading() as db:
            entries, n_bytes = _only(db.execute("SELECT entries, n_bytes FROM total"))
            return StoreStats(_sound(entries, int), _sound(n_bytes, int))

    def fingerprint(self) -> str | None:
        """What the store was filled by, `None` for an empty file."""
        with self.lock, self._reading() as db:
            row = db.execute("SELECT value FROM meta WHERE name = 'fingerprint'").fetchone()
            return None if row is None else _sound(row[0], bytes).decode()

    def prompts(self) -> Iterator[list[tuple[int, str, bytes]]]:
        """`(id, prompt, code)` of all entries in chunks, by id."""
        query = (
            "SELECT e.id, b.prompt, e.code FROM entry e JOIN body b ON b.id = e.id WHERE e.id > ? "
            "ORDER BY e.id LIMIT ?"
        )
        last = 0
        while True:
            with self.lock, self._reading() as db:
                rows = db.execute(query, (last, _CHUNK)).fetchall()
            if not rows:
                return
            last = _last_of(rows, last)
            yield [(entry_id, _sound(prompt, str), _sound(code, bytes)) for entry_id, prompt, code in rows]

    def reembed(self, fingerprint: str, chunks: Iterable[Iterable[tuple[int, bytes, bytes]]]) -> int:
        """Gives entries new codes and vectors, `(id, code, vector)`, all at once; the rest loses its code.

        The new ones are gathered in a table of their own, so the store stays as it is until the end. Entries
        keep their ids but the epoch changes, so every other process takes a new snapshot.

        Returns:
            How many entries have a new code.
        """
        with self.lock, self._reading() as db:
            db.execute("DROP TABLE IF EXISTS fresh")
            db.execute(
                "CREATE TABLE fresh (id INTEGER PRIMARY KEY, code BLOB NOT NULL, vector BLOB NOT NULL)"
            )
        for chunk in chunks:
            with self.lock, self._writing() as db:
                db.executemany("INSERT OR REPLACE INTO fresh VALUES (?, ?, ?)", chunk)
        with self.lock, self._writing() as db:
            db.create_function("moved", 5, _moved_place, deterministic=True)
            db.execute(
                "UPDATE entry SET checksum = coalesce((SELECT moved(entry.checksum, entry.code, b.vector, "
                "coalesce(f.code, x''), coalesce(f.vector, x'')) FROM body b "
                "LEFT JOIN fresh f ON f.id = b.id WHERE b.id = entry.id), x'')"
            )
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
            self._epoch = secrets.token_bytes(8)
            values = [(fingerprint.encode(), "fingerprint"), (self._epoch, "epoch")]
            db.executemany("UPDATE meta SET value = ? WHERE name = ?", values)
        return int(n)

    def _snap_if_due(self) -> None:
        with self.lock, self._reading() as db:
            due = _last_seq(db) - _snapped(db) > _SNAP_EVERY
        if due:
            self._snap()

    def _snap(self) -> None:
        """Brings the packed chunks up to the log's present end, then forgets the lines before it."""
        with self.lock, self._reading() as db:
            start = _last_seq(db)
            dead = np.sort(_dead_since(db, _snapped(db)))
            ranges = [tuple(_sound(value, int) for value in row) for row in db.execute(_RANGES)]
        end = ranges[-1][1] if ranges else 0
        if ranges and ranges[-1][2] < _PACKED // 2:
            end = ranges.pop()[0] - 1  # the last one is small: what follows joins it
        # What a step packs is at least as new as `start`: from there on the log tells the rest.
        for first_id, last_id, _ in ranges:
            if np.searchsorted(dead, first_id) < np.searchsorted(dead, last_id, "right"):
                with self.lock, self._writing() as db:
                    _pack_range(db, first_id, last_id)
        while True:
            with self.lock, self._writing() as db:
                (last_id,) = db.execute(_NEXT_RANGE, (end, _PACKED)).fetchone()
                if last_id is None:
                    db.execute("DELETE FROM packed WHERE first_id > ?", (end,))
                    break
                _pack_range(db, end + 1, _last_of([(last_id,)], end))
                end = last_id
        with self.lock, self._writing() as db:
            snapped = max(start, _snapped(db))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('snapped', ?)", (snapped,))
            db.execute("DELETE FROM log WHERE seq <= ?", (min(snapped, _last_seq(db) - _LOG_LINES),))

    def _columns(self, dead: NDArray[np.uint64]) -> Iterator[Packed]:
        last = 0
        query = (
            "SELECT last_id, ids, scopes, codes FROM packed WHERE last_id = "
            "(SELECT min(last_id) FROM packed WHERE last_id > ?)"
        )
        while True:
            with self.lock, self._reading() as db:
                rows = db.execute(query, (last,)).fetchall()
            if not rows:
                break
            last = _last_of(rows[:1], last)
            for _, *columns in rows:
                left = _without(_sound_columns(*columns), dead)
                if left.ids:
                    yield left
        while True:
            with self.lock, self._reading() as db:
                rows = db.execute(_FOLDED, (last, _CHUNK)).fetchall()
            if not rows:
                return
            last = _last_of(rows, last)
            yield from pack((i, _sound(scope, bytes), _sound(code, bytes)) for i, scope, code in rows)

    def _chunks(self, pairs: list[Change]) -> Iterator[list[Change]]:
        if pairs:
            yield pairs
        last = 0
        while True:
            # Short reads: a transaction held open would keep the write-ahead log from being emptied.
            with self.lock, self._reading() as db:
                rows = db.execute(_FOLDED, (last, _CHUNK)).fetchall()
            if not rows:
                return
            last = _last_of(rows, last)
            yield [_put_line(entry_id, scope, code) for entry_id, scope, code in rows]

    def _check_epoch(self, db: sqlite3.Connection) -> None:
        """Keeps one who opened the file before it was re-embedded from mixing codes of two embedders."""
        if self._epoch is None:
            return
        (epoch,) = _only(db.execute("SELECT value FROM meta WHERE name = 'epoch'"))
        if epoch != self._epoch:
            raise StoreError(f"{self._path} was moved to another embedder meanwhile; open it again")

    # The lock is taken where these are used, by `with self.lock`: between a lock and a generator's `yield` an
    # interrupt could come and leave it taken.

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._typed_errors():
            yield self._connected()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._typed_errors():
            db = self._connected()
            try:
                # IMMEDIATE: a transaction that began by reading could not wait for another process's write.
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as exc:
            code = getattr(exc, "sqlite_errorcode", None)
            if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise CorruptFileError(f"{self._path} is damaged or no SQLite file: {exc}") from exc
            raise StoreError(f"{self._path} could not be used: {exc}") from exc
        except StoreError:
            raise
        except (msgpack.UnpackException, UnicodeDecodeError, TypeError, OverflowError, struct.error) as exc:
            # A damaged page may give a column values of any type.
            raise CorruptFileError(f"{self._path} is damaged: {type(exc).__name__}") from exc

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise ClosedError(f"expected an open store, got {self._path} after it was closed")
        if self._connection is not None:
            if self._process == os.getpid():
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")  # an interrupt came before one could be ended
                return self._connection
            # A connection must not cross a fork; closing it here would let go of the parent's file locks.
            self._abandoned.append(self._connection)
            self._connection = None
        self._connection = self._connect()
        self._process = os.getpid()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        _make_private_file(self._path)
        db = sqlite3.connect(
            self._path,
            timeout=self._busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
        try:
            self._make_ready(db)
        except BaseException:
            db.close()
            raise
        return db

    def _use_write_ahead_log(self, db: sqlite3.Connection) -> None:
        """Does so; tries again while another process does the same, for which SQLite does not wait."""
        give_up = monotonic() + self._busy_timeout_seconds
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > give_up:
                    raise
                sleep(0.002)
            else:
                return

    def _make_ready(self, db: sqlite3.Connection) -> None:
        # Tables first: another process that makes the file commits them and its ids at once.
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if tables and application != _APPLICATION_ID:
            raise CorruptFileError(f"{self._path} is another program's SQLite file")
        if version > _SCHEMA_VERSION:
            raise FormatVersionError(
                f"expected a schema of version {_SCHEMA_VERSION} or before in {self._path}, got {version}; "
                "a newer binary-semantic-cache reads it"
            )
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA temp_store = MEMORY")
        if not tables:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._use_write_ahead_log(db)
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        if not tables:
            _create(db)


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:  # another process may have been first
            for statement in _statements(_SCHEMA):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _make_private_file(path: Path) -> None:
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as exc:
        raise StoreError(f"{path} could not be opened: {exc.strerror}") from exc


def _insert(db: sqlite3.Connection, entry: Entry) -> int:
    db.execute("DELETE FROM entry WHERE key = ?", (entry.key,))
    row = _row(entry)
    cursor = db.execute(
        "INSERT INTO entry (key, scope, owner, code, created_at, expires_at, ttl_seconds, n_bytes, checksum) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.key,
            entry.scope,
            entry.owner,
            entry.code,
            row["created_at"],
            row["expires_at"],
            row["ttl_seconds"],
            entry.n_bytes,
            _checksum(tuple(row.values())),
        ),
    )
    entry_id = cursor.lastrowid
    assert entry_id is not None
    db.execute(
        "INSERT INTO body VALUES (?, ?, ?, ?, ?, ?, ?)",
        (entry_id, entry.vector, entry.prompt, entry.kind, entry.payload, row["tags"], row["saving"]),
    )
    for tag in entry.tags:
        db.execute("INSERT OR IGNORE INTO tag VALUES (?, ?)", (tag, entry_id))
    return entry_id


def _row(entry: Entry) -> dict[str, Any]:
    """The values of an entry as their columns give them back."""
    values = {name: getattr(entry, name) for name in _FIELDS[1:]}
    for name in ("created_at", "expires_at", "ttl_seconds"):
        values[name] = None if values[name] is None else float(values[name])
    saving = entry.saving
    numbers = (saving.input_tokens, saving.output_tokens, saving.cost, saving.seconds)
    values["tags"] = msgpack.packb(list(entry.tags)) if entry.tags else None
    values["saving"] = msgpack.packb(numbers) if any(numbers) else None
    return values


def _checksum(row: tuple[Any, ...]) -> bytes:
    """Of the columns of `_FIELDS` but for the id."""
    return checksum(row[:3] + row[5:9] + row[10:], row[3], row[4], row[9])


def _is_intact(row: tuple[Any, ...]) -> bool:
    """Whether a row that was read, `id` first and checksum last, is as it was written."""
    try:
        return bool(_checksum(row[1:-1]) == row[-1])
    except (TypeError, ValueError, OverflowError, AttributeError, struct.error):
        return False  # of another type than any that was written


def _moved_place(before: bytes, code: bytes, vector: bytes, new_code: bytes, new_vector: bytes) -> bytes:
    return moved(before, place=((code, vector), (new_code, new_vector)))


def _servable(row: tuple[Any, ...] | None, now: float) -> Stored | None:
    if row is None:
        return None
    if not _is_intact(row):
        _logger.warning("an entry is damaged and is not served")
        return None
    values = dict(zip(_FIELDS, row[:-1], strict=True))
    values["tags"] = () if values["tags"] is None else tuple(msgpack.unpackb(values["tags"]))
    values["saving"] = Saving() if values["saving"] is None else Saving(*msgpack.unpackb(values["saving"]))
    entry_id = values.pop("id")
    entry = Entry(**values)
    return Stored(entry_id, entry) if servable(entry, now) else None


def _pack_range(db: sqlite3.Connection, first_id: int, last_id: int) -> None:
    """Packs the entries from `first_id` to `last_id` anew; a range without entries has no chunk."""
    db.execute("DELETE FROM packed WHERE first_id >= ? AND last_id <= ?", (first_id, last_id))
    rows = db.execute(
        "SELECT id, scope, code FROM entry WHERE id BETWEEN ? AND ? ORDER BY id", (first_id, last_id)
    ).fetchall()
    for columns in pack((i, _sound(scope, bytes), _sound(code, bytes)) for i, scope, code in rows):
        searched = int(columns.codes != b"")
        db.execute("INSERT INTO packed VALUES (?, ?, ?, ?, ?, ?)", (first_id, last_id, searched, *columns))


def _sound_columns(ids: Any, scopes: Any, codes: Any) -> Packed:
    """The columns if they are of one length."""
    columns = Packed(_sound(ids, bytes), _sound(scopes, bytes), _sound(codes, bytes))
    n, rest = divmod(len(ids), 8)
    if not n or rest or len(scopes) != 16 * n or len(codes) % n:
        raise CorruptFileError("a cache file is damaged: the columns of packed entries differ in length")
    return columns


def _without(columns: Packed, dead: NDArray[np.uint64]) -> Packed:
    ids = np.frombuffer(columns.ids, "<u8")
    live = ~np.isin(ids, dead)
    if live.all():
        return columns
    scopes = np.frombuffer(columns.scopes, np.uint8).reshape(ids.size, 16)
    codes = np.frombuffer(columns.codes, np.uint8).reshape(ids.size, -1)
    return Packed(ids[live].tobytes(), scopes[live].tobytes(), codes[live].tobytes())


def _dead_since(db: sqlite3.Connection, seq: int) -> NDArray[np.uint64]:
    """The ids that were removed after a line of the log."""
    rows = db.execute("SELECT id FROM log WHERE kind = 1 AND seq > ?", (seq,))
    # A negative one, of a damaged page, is nobody's.
    return np.array([max(0, _sound(entry_id, int)) for (entry_id,) in rows], np.uint64)


def _snapped(db: sqlite3.Connection) -> int:
    """The line of the log up to which the packed chunks tell everything."""
    row = db.execute("SELECT value FROM meta WHERE name = 'snapped'").fetchone()
    return 0 if row is None else int(_sound(row[0], int))


def _last_seq(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    return 0 if row is None else int(_sound(row[0], int))


def _only(rows: sqlite3.Cursor) -> tuple[Any, ...]:
    row = rows.fetchone()
    if row is None:
        raise CorruptFileError("a cache file is damaged: expected a row that every file has, got none")
    return tuple(row)


def _sound(value: Any, kind: type) -> Any:
    """`value` if it is what was put in its column: a damaged page may hold anything, a NULL too."""
    if type(value) is not kind:
        raise CorruptFileError(
            f"a cache file is damaged: expected {kind.__name__}, got {type(value).__name__}"
        )
    return value


def _last_of(rows: list[tuple[Any, ...]], before: int) -> int:
    """The id of the last row, which must all grow: pages in the wrong order would be read for ever."""
    for row in rows:
        if row[0] <= before:
            raise CorruptFileError(f"a cache file is damaged: entry {row[0]} comes after {before}")
        before = row[0]
    return before


def _put_line(entry_id: int, scope: bytes | None, code: bytes | None) -> Change:
    return Change(ChangeKind.PUT, entry_id, _sound(scope, bytes), _sound(code, bytes))


def _kind(number: Any) -> ChangeKind:
    try:
        return ChangeKind(number)
    except ValueError as exc:
        raise CorruptFileError(f"a cache file is damaged: got {number!r} for a kind of change") from exc


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[at : at + _BATCH] for at in range(0, len(ids), _BATCH))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
