"""One SQLite file: its schema, a connection that survives threads and forks, transactions, typed errors."""

import os
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from os import PathLike
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Literal

import msgpack

from binary_semantic_cache.errors import (
    ClosedError,
    CorruptFileError,
    FormatVersionError,
    InvalidValueError,
    StoreError,
)

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "Durability", "SQLiteFile", "sync"]

APPLICATION_ID = 0x42534331  # "BSC1", in the file's header: no other program's file is written to
SCHEMA_VERSION = 2

Durability = Literal["os", "disk"]

_PACKED = """
CREATE TABLE packed (
    first_id INTEGER NOT NULL, last_id INTEGER NOT NULL, searched INTEGER NOT NULL, ids BLOB NOT NULL,
    scopes BLOB NOT NULL, codes BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (first_id, last_id, searched)) WITHOUT ROWID;
"""
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
# A damaged page may give a column values of any type.
_TRANSLATED = (
    sqlite3.DatabaseError,
    msgpack.UnpackException,
    UnicodeDecodeError,
    TypeError,
    OverflowError,
    struct.error,
)
_PAGE_CACHE_KIB = 16 * 1024
"""The default of 2 MiB holds too little of the trees of a million entries to find one without reading."""
_SYNCHRONOUS = {"os": "NORMAL", "disk": "FULL"}


class SQLiteFile:
    """The file of a store, opened at its first use.

    Args:
        path: the file; made if it is not there, and so is its folder.
        durability: `os`: a commit is with the operating system; `disk`: it is on the disk.
        busy_timeout_seconds: how long to wait for another process's write.
    """

    def __init__(
        self, path: str | PathLike[str], *, durability: Durability, busy_timeout_seconds: float
    ) -> None:
        if durability not in _SYNCHRONOUS:
            raise InvalidValueError(f"expected durability os or disk, got {durability!r}")
        self.path = Path(path)
        self.lock = threading.RLock()
        """Held around `reading` and `writing`; see there."""
        self.busy_timeout_seconds = busy_timeout_seconds
        self._synchronous = _SYNCHRONOUS[durability]
        self._connection: sqlite3.Connection | None = None
        self._abandoned: list[sqlite3.Connection] = []
        self._process = 0
        self._closed = False
        self._reading = _Use(self)
        self._writing = _Transaction(self)

    def close(self) -> None:
        """Lets go of the connection; the file may not be used after."""
        with self.lock:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None and self._process == os.getpid():
                connection.close()

    # The lock is taken where these are used, by `with self.lock`: between an `acquire` in here and the `with`
    # an interrupt could come and leave it taken.

    def reading(self) -> "_Use":
        """The connection, with errors of the tree; with `lock` held."""
        return self._reading

    def writing(self) -> "_Use":
        """The same in a transaction, committed at the end or rolled back."""
        return self._writing

    def commit(self) -> None:
        """Ends the open transaction and keeps what it changed; with `lock` held."""
        if self._connection is None:
            raise ClosedError(f"expected an open store, got {self.path} closed before the end of a change")
        self._connection.execute("COMMIT")

    def roll_back(self) -> None:
        """Ends a transaction that is open, if one is; with `lock` held."""
        connection = self._connection
        if connection is not None and self._process == os.getpid() and connection.in_transaction:
            connection.execute("ROLLBACK")

    def connected(self) -> sqlite3.Connection:
        """The connection of this process, in no transaction; with `lock` held."""
        if self._closed:
            raise ClosedError(f"expected an open store, got {self.path} after it was closed")
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
        _make_private_file(self.path)
        db = sqlite3.connect(
            self.path,
            timeout=self.busy_timeout_seconds,
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
        give_up = monotonic() + self.busy_timeout_seconds
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
        if tables and application != APPLICATION_ID:
            raise CorruptFileError(f"{self.path} is another program's SQLite file")
        if version > SCHEMA_VERSION:
            raise FormatVersionError(
                f"expected a schema of version {SCHEMA_VERSION} or before in {self.path}, got {version}; "
                "a newer binary-semantic-cache reads it"
            )
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA recursive_triggers = ON")  # a row that is replaced leaves like one that is deleted
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
        if not tables:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._use_write_ahead_log(db)
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        # Where fsync leaves data in the disk's own memory, on macOS, ask for more: for the promise of `disk`,
        # and always before a page of the file is overwritten.
        # Source: sqlite.org/pragma.html#pragma_checkpoint_fullfsync.
        db.execute(f"PRAGMA fullfsync = {self._synchronous == 'FULL'}")
        db.execute("PRAGMA checkpoint_fullfsync = ON")
        if not tables or version < SCHEMA_VERSION:
            _create(db)


class _Use:
    """A use of the connection; what goes wrong meanwhile becomes an error of the tree.

    A class and no generator: every lookup enters several, and a generator costs some microseconds each.
    """

    __slots__ = ("_file",)

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file

    def __enter__(self) -> sqlite3.Connection:
        try:
            return self._file.connected()
        except _TRANSLATED as exc:
            self._raise_typed(exc)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._raise_typed(error)

    def _raise_typed(self, error: BaseException) -> None:
        """Raises the error of the tree that `error` stands for, if it is not one already."""
        path = self._file.path
        if isinstance(error, sqlite3.DatabaseError):
            code = getattr(error, "sqlite_errorcode", None)
            if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise CorruptFileError(f"{path} is damaged or no SQLite file: {error}") from error
            raise StoreError(f"{path} could not be used: {error}") from error
        if isinstance(error, _TRANSLATED) and not isinstance(error, StoreError):
            raise CorruptFileError(f"{path} is damaged: {type(error).__name__}") from error


class _Transaction(_Use):
    """A use whose changes are committed at its end, all or none."""

    __slots__ = ()

    def __enter__(self) -> sqlite3.Connection:
        db = super().__enter__()
        try:
            # IMMEDIATE: a transaction that began by reading could not wait for another process's write.
            db.execute("BEGIN IMMEDIATE")
        except BaseException as exc:
            self._abandon(exc)
            raise
        return db

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._abandon(error)
            return
        try:
            self._file.commit()
        except BaseException as exc:
            self._abandon(exc)
            raise

    def _abandon(self, error: BaseException) -> None:
        try:
            self._file.roll_back()
        except sqlite3.DatabaseError as exc:
            self._raise_typed(exc)
        self._raise_typed(error)


def _create(db: sqlite3.Connection) -> None:
    """Makes the tables, or those that are new, unless another process was first."""
    db.execute("BEGIN IMMEDIATE")
    try:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if tables and version < SCHEMA_VERSION:
            # Version 1 had no checksums of packed chunks. They are packed anew when that is due.
            db.execute("DROP TABLE packed")
        if not tables or version < SCHEMA_VERSION:
            for statement in _statements(_PACKED if tables else _PACKED + _SCHEMA):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
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
        new = [folder for folder in (path.parent, *path.parent.parents) if not folder.is_dir()]
        if new:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in new:
            # SQLite does so for the file, by the time of the first commit, but not for the folders above; and
            # as SQLite does, we go on where a file system refuses.
            with suppress(OSError):
                sync(folder.absolute().parent)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as exc:
        raise StoreError(f"{path} could not be opened: {exc.strerror}") from exc


def sync(path: Path) -> None:
    """Brings a file's content, or a folder's names, to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders; NTFS journals names by itself
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
