"""A new store's file, whole or not there, from the entries of another: ids, secret and all."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from binary_semantic_cache.errors import StoreError
from binary_semantic_cache.stores import Stored
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.stores.sqlite_file import sync
from binary_semantic_cache.stores.sqlite_rows import insert

__all__ = ["RebuiltStore", "building", "in_batches", "install"]

_BATCH = 200
_BATCH_BYTES = 16 * 2**20


class RebuiltStore(SQLiteStore):
    """A store that is filled with what another one held, before anybody else sees it."""

    def take_on(self, fingerprint: str, secret: bytes) -> None:
        """Gives the empty store the secret of another: keys and scopes mean the same in both."""
        self.open(fingerprint)
        with self.lock, self._file.writing() as db:
            db.execute("UPDATE meta SET value = ? WHERE name = 'secret'", (secret,))

    def restore(self, stored: Sequence[Stored]) -> None:
        """Enters entries under the ids they had. Ids ascend over all calls, and are 1 or more."""
        with self.lock, self._file.writing() as db:
            for entry_id, entry in stored:
                self.continue_ids(db, entry_id - 1)
                insert(db, entry)

    def restore_pairs(self, pairs: Iterable[bytes]) -> None:
        """Notes pairs that must never answer each other."""
        with self.lock, self._file.writing() as db:
            db.executemany("INSERT OR IGNORE INTO pair VALUES (?)", ((pair,) for pair in pairs))

    def finish(self, last_id: int) -> None:
        """Leaves no log, as nobody has read any of it, and lets the next id be greater than `last_id`.

        All entries are packed, so that who opens the file first need not read them one by one.
        """
        with self.lock, self._file.writing() as db:
            self.continue_ids(db, last_id)
            db.execute("DELETE FROM log WHERE TRUE")
        self._packing.update(wait_seconds=0.0)

    @staticmethod
    def continue_ids(db: sqlite3.Connection, last: int) -> None:
        """Lets the next id be the one after `last`: AUTOINCREMENT counts on from this table."""
        query = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'entry'"
        if not db.execute(query, (last,)).rowcount:
            db.execute("INSERT INTO sqlite_sequence VALUES ('entry', ?)", (last,))


@contextmanager
def building(path: Path) -> Iterator[RebuiltStore]:
    """An empty store beside `path`, in one file and on disk when the block ends well, gone otherwise.

    `store.path` is its file; `install` moves it to `path`.

    Raises:
        StoreError: the file could not be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=".bsc-", suffix=".tmp", dir=path.absolute().parent)
    except OSError as exc:
        raise StoreError(f"{path} could not be written: {exc.strerror}") from exc
    os.close(descriptor)
    new = Path(name)
    store = RebuiltStore(new)
    try:
        yield store
        store.close()
        _settle(new)
    except BaseException:
        with suppress(StoreError):
            store.close()
        for file in (new, *_beside(new)):
            file.unlink(missing_ok=True)
        raise


def install(new: Path, path: Path, backup: Path | None) -> None:
    """Puts `new` in the place of `path`, whose old content stays as `backup`, or nowhere.

    The write-ahead log of the old file leaves with it: read beside the new one, it would ruin that.

    Raises:
        StoreError: the operating system refused. `path`, or `backup`, is the old file.
    """
    try:
        if backup is not None and path.exists():
            backup.unlink(missing_ok=True)
            _link(path, backup)
        for old, kept in zip(_beside(path), _beside(backup or path), strict=True):
            if backup is None:
                old.unlink(missing_ok=True)
            elif old.exists():
                old.replace(kept)
            else:
                kept.unlink(missing_ok=True)
        new.replace(path)
        sync(path.absolute().parent)
    except OSError as exc:
        raise StoreError(f"{path} could not be replaced: {exc.strerror}") from exc


def in_batches(stored: Iterable[Stored]) -> Iterator[list[Stored]]:
    """Lists of some entries each, not large ones many at a time."""
    some: list[Stored] = []
    n_bytes = 0
    for one in stored:
        some.append(one)
        n_bytes += one.entry.n_bytes
        if len(some) >= _BATCH or n_bytes >= _BATCH_BYTES:
            yield some
            some, n_bytes = [], 0
    if some:
        yield some


def _link(path: Path, backup: Path) -> None:
    try:
        os.link(path, backup)
    except OSError:  # a file system without links
        shutil.copy2(path, backup)


def _settle(path: Path) -> None:
    """One file, on disk: nothing stays in a write-ahead log."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    for file in _beside(path):
        file.unlink(missing_ok=True)
    sync(path)


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in ("-wal", "-shm")]
