"""Reading a `SQLiteStore`'s file from outside, damaged or not: nothing is made, migrated or kept locked."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import msgpack

from binary_semantic_cache.errors import (
    CorruptFileError,
    FormatVersionError,
    MissingFileError,
    StoreError,
)
from binary_semantic_cache.stores import Entry, Saving, Stored
from binary_semantic_cache.stores.sqlite_file import APPLICATION_ID, SCHEMA_VERSION
from binary_semantic_cache.stores.sqlite_rows import checksum_of

__all__ = [
    "DamagedRowError",
    "altered",
    "entries",
    "entry_of",
    "meta_of",
    "reading",
    "typed_errors",
    "whole_rows",
]

_CHUNK = 256
_MOST_TAGS_BYTES = 1 << 20
_BODY = ("vector", "prompt", "kind", "payload", "tags", "saving")
_FIELDS = ("key", "scope", "owner", "code", "created_at", "expires_at", "ttl_seconds", "n_bytes", "checksum")


class DamagedRowError(ValueError):
    """What is wrong with the values of one row."""


@contextmanager
def reading(path: str | PathLike[str], *, damaged: bool = False) -> Iterator[sqlite3.Connection]:
    """One read transaction over the whole file; rows come by name, TEXT as bytes.

    A file without a write-ahead log is open nowhere: it is read as immutable, since an ordinary read-only
    connection would leave two files beside it. Should anybody write to the file itself meanwhile, that is
    noticed; what is only in a new log does not disturb.

    Args:
        path: the file.
        damaged: read what can be read of a file that was cut off or whose schema is damaged.

    Raises:
        MissingFileError: there is no such file.
        CorruptFileError: it is no SQLite file, another program's, or too damaged to be opened.
        FormatVersionError: a newer version of this package wrote it.
        StoreError: it could not be read, or changed while it was read.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"expected the file of a cache, got nothing at {path}")
    log = path.with_name(path.name + "-wal")
    still = not log.exists()
    before = _signature(path)
    name = path.absolute().as_uri() + ("?mode=ro&immutable=1" if still else "?mode=ro")
    with typed_errors(path), closing(sqlite3.connect(name, uri=True, isolation_level=None)) as db:
        prepare(db, path, damaged=damaged)
        db.execute("BEGIN")
        yield db
        db.execute("ROLLBACK")
    if still and _signature(path) != before:
        raise StoreError(f"{path} was written to while it was read; try again")


def prepare(db: sqlite3.Connection, path: Path, *, damaged: bool) -> None:
    """Sets up a connection of one's own and refuses what is no cache file; see `reading`."""
    if damaged:
        # SQLite opens no file that is shorter than its header says, but for those who repair one. Source:
        # `lockBtree` in SQLite's btree.c.
        db.execute("PRAGMA writable_schema = ON")
    db.row_factory = sqlite3.Row
    # A damaged file may hold anything where text should be: it is decoded, and judged, entry by entry.
    db.text_factory = bytes
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise CorruptFileError(f"{path} is not the file of a cache")
    if version > SCHEMA_VERSION:
        raise FormatVersionError(
            f"expected a schema of version {SCHEMA_VERSION} or before in {path}, got {version}; "
            "a newer binary-semantic-cache reads it"
        )


@contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Turns the errors of SQLite into those of this package."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        code = getattr(exc, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise CorruptFileError(f"{path} is damaged or no SQLite file: {exc}") from exc
        raise StoreError(f"{path} could not be used: {exc}") from exc
    except UnicodeDecodeError as exc:  # a message of SQLite that quotes the damaged schema
        raise CorruptFileError(f"{path} is damaged: its schema cannot be read") from exc


def meta_of(db: sqlite3.Connection) -> dict[str, bytes]:
    """What the file says of itself: `fingerprint`, `secret` and `epoch`; nothing for one never opened."""
    rows = db.execute("SELECT name, value FROM meta").fetchall()
    return {bytes(name).decode("utf-8", "replace"): value for name, value in rows if isinstance(value, bytes)}


def whole_rows(db: sqlite3.Connection, after: int = 0) -> Iterator[dict[str, Any]]:
    """Every entry with its body as a dict by column, by id; `vector` and so on are `None` without a body."""
    columns = ", ".join([*(f"e.{name}" for name in _FIELDS), *(f"b.{name}" for name in _BODY)])
    query = (
        f"SELECT e.id, b.id AS body, {columns} FROM entry e LEFT JOIN body b ON b.id = e.id "  # noqa: S608
        "WHERE e.id > ? ORDER BY e.id LIMIT ?"
    )
    while rows := db.execute(query, (after, _CHUNK)).fetchall():
        yield from map(dict, rows)
        after = rows[-1]["id"]


def entries(db: sqlite3.Connection, path: str | PathLike[str]) -> Iterator[Stored]:
    """Every entry, by id.

    Raises:
        CorruptFileError: one is damaged.
    """
    for row in whole_rows(db):
        try:
            entry = entry_of(row)
            wrong = altered(row, entry)
        except DamagedRowError as exc:
            wrong = str(exc)
        if wrong is not None:
            raise CorruptFileError(f"{path}: entry {row['id']}: {wrong}; `bsc verify {path}` tells more")
        yield Stored(row["id"], entry)


def altered(row: dict[str, Any], entry: Entry) -> str | None:
    """What is wrong with `entry` if the row that it was made of is not as it was written."""
    return None if checksum_of(entry) == row["checksum"] else "its checksum differs from what was written"


def entry_of(row: dict[str, Any]) -> Entry:
    """The entry that a row of `whole_rows` says.

    Raises:
        DamagedRowError: a value has another type than this package writes there.
    """
    missing = [name for name in (*_FIELDS, *_BODY) if name not in row]
    if missing:
        raise DamagedRowError(f"{missing[0]}: no such column")
    if row["body"] is None:
        raise DamagedRowError("its answer is missing")
    for name in ("key", "scope", "owner", "code", "vector", "prompt", "kind", "payload"):
        if not isinstance(row[name], bytes):
            raise DamagedRowError(f"{name}: expected bytes or text, got {type(row[name]).__name__}")
    for name in ("created_at", "expires_at", "ttl_seconds"):
        if not isinstance(row[name], float | int) and (row[name] is not None or name == "created_at"):
            raise DamagedRowError(f"{name}: expected a number, got {type(row[name]).__name__}")
    try:
        prompt, kind = row["prompt"].decode(), row["kind"].decode()
    except UnicodeDecodeError:
        raise DamagedRowError("prompt or kind: not UTF-8") from None
    return Entry(
        key=row["key"],
        scope=row["scope"],
        owner=row["owner"],
        code=row["code"],
        vector=row["vector"],
        prompt=prompt,
        kind=kind,
        payload=row["payload"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        ttl_seconds=row["ttl_seconds"],
        tags=_tags(row["tags"]),
        saving=_saving(row["saving"]),
    )


def _tags(packed: object) -> tuple[str, ...]:
    if packed is None:
        return ()
    tags = _unpacked(packed, "tags")
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise DamagedRowError("tags: expected a list of strings")
    return tuple(tags)


def _saving(packed: object) -> Saving:
    if packed is None:
        return Saving()
    numbers = _unpacked(packed, "saving")
    if not isinstance(numbers, list) or [type(number) in (int, float) for number in numbers] != [True] * 4:
        raise DamagedRowError("saving: expected four numbers")
    if not all(isinstance(tokens, int) for tokens in numbers[:2]):
        raise DamagedRowError("saving: expected tokens as whole numbers")
    return Saving(*numbers)


def _unpacked(packed: object, name: str) -> Any:
    if not isinstance(packed, bytes) or len(packed) > _MOST_TAGS_BYTES:
        raise DamagedRowError(f"{name}: expected packed values")
    try:
        return msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException):
        raise DamagedRowError(f"{name}: cannot be decoded") from None


def _signature(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
