"""Entries and lines of the log as rows of SQLite tables, and back; nothing is believed of a damaged page."""

import logging
import sqlite3
import struct
from dataclasses import fields
from typing import Any

import msgpack

from binary_semantic_cache.errors import CorruptFileError
from binary_semantic_cache.stores import Change, ChangeKind, Entry, Saving, Stored, servable
from binary_semantic_cache.stores.checksum import checksum, moved

__all__ = [
    "WHOLE",
    "checksum_of",
    "insert",
    "kind_of_change",
    "last_of",
    "last_seq",
    "located",
    "moved_place",
    "only",
    "put_line",
    "sound",
    "stored_row",
]

_SCOPE_BYTES = 16

_logger = logging.getLogger(__name__)

_FIELDS = ("id", *(field.name for field in fields(Entry)))
_IN_BODY = {"vector", "prompt", "kind", "payload", "tags", "saving"}
_COLUMNS = ", ".join(("b." if name in _IN_BODY else "e.") + name for name in _FIELDS)
WHOLE = f"SELECT {_COLUMNS}, e.checksum FROM entry e JOIN body b ON b.id = e.id WHERE "  # noqa: S608 - names of our own columns


_NOTHING_SAVED = Saving()

_ENTER = (
    "INSERT OR REPLACE INTO entry "
    "(key, scope, owner, code, created_at, expires_at, ttl_seconds, n_bytes, checksum) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def insert(db: sqlite3.Connection, entry: Entry) -> int:
    """Enters an entry in the place of the one of the same key; returns its id."""
    row = _row(entry)
    key, scope, owner, code, vector, prompt, kind, payload, created_at, expires_at, ttl, tags, saving = row
    # The one before leaves by its trigger, as `recursive_triggers` is on.
    values = (key, scope, owner, code, created_at, expires_at, ttl, entry.n_bytes, _checksum(row))
    entry_id = db.execute(_ENTER, values).lastrowid
    assert entry_id is not None
    body = (entry_id, vector, prompt, kind, payload, tags, saving)
    db.execute("INSERT INTO body VALUES (?, ?, ?, ?, ?, ?, ?)", body)
    for tag in entry.tags:
        db.execute("INSERT OR IGNORE INTO tag VALUES (?, ?)", (tag, entry_id))
    return entry_id


def _row(entry: Entry) -> tuple[Any, ...]:
    """The values of an entry as the columns of `_FIELDS` give them back, but for the id."""
    expires_at, ttl, saving = entry.expires_at, entry.ttl_seconds, entry.saving
    numbers = (saving.input_tokens, saving.output_tokens, saving.cost, saving.seconds)
    return (
        entry.key,
        entry.scope,
        entry.owner,
        entry.code,
        entry.vector,
        entry.prompt,
        entry.kind,
        entry.payload,
        float(entry.created_at),
        None if expires_at is None else float(expires_at),
        None if ttl is None else float(ttl),
        msgpack.packb(list(entry.tags)) if entry.tags else None,
        msgpack.packb(numbers) if any(numbers) else None,
    )


def _checksum(row: tuple[Any, ...]) -> bytes:
    """Of the columns of `_FIELDS` but for the id."""
    return checksum(row[:3] + row[5:9] + row[10:], row[3], row[4], row[9])


def checksum_of(entry: Entry) -> bytes:
    """What stands in the column `checksum` of an entry."""
    return _checksum(_row(entry))


def _is_intact(row: tuple[Any, ...]) -> bool:
    """Whether a row that was read, `id` first and checksum last, is as it was written."""
    try:
        return bool(_checksum(row[1:-1]) == row[-1])
    except (TypeError, ValueError, OverflowError, AttributeError, struct.error):
        return False  # of another type than any that was written


def moved_place(before: bytes, code: bytes, vector: bytes, new_code: bytes, new_vector: bytes) -> bytes:
    """The checksum of an entry that was given another code and vector."""
    return moved(before, place=((code, vector), (new_code, new_vector)))


def stored_row(row: tuple[Any, ...] | None, now: float) -> Stored | None:
    """The entry of a row of `WHOLE`; `None` where there is none, it has expired, or it is damaged."""
    if row is None:
        return None
    if not _is_intact(row):
        _logger.warning("an entry is damaged and is not served")
        return None
    entry_id, *values, tags, saving, _ = row
    values.append(() if tags is None else tuple(msgpack.unpackb(tags)))
    values.append(_NOTHING_SAVED if saving is None else Saving(*msgpack.unpackb(saving)))
    entry = Entry(*values)
    return Stored(entry_id, entry) if servable(entry, now) else None


def last_seq(db: sqlite3.Connection) -> int:
    """The number of the log's last line."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    return 0 if row is None else int(sound(row[0], int))


def only(rows: sqlite3.Cursor) -> tuple[Any, ...]:
    """The row of a table that always has one."""
    row = rows.fetchone()
    if row is None:
        raise CorruptFileError("a cache file is damaged: expected a row that every file has, got none")
    return tuple(row)


def sound(value: Any, kind: type) -> Any:
    """`value` if it is what was put in its column: a damaged page may hold anything, a NULL too."""
    if type(value) is not kind:
        raise CorruptFileError(
            f"a cache file is damaged: expected {kind.__name__}, got {type(value).__name__}"
        )
    return value


def located(rows: list[tuple[Any, ...]]) -> list[tuple[int, bytes, bytes]]:
    """Id, scope and code of entries, if they are of the lengths that such columns have."""
    found = [(entry_id, sound(scope, bytes), sound(code, bytes)) for entry_id, scope, code in rows]
    code_lengths = {len(code) for _, _, code in found if code}
    if len(code_lengths) > 1 or any(len(scope) != _SCOPE_BYTES for _, scope, _ in found):
        raise CorruptFileError(
            "a cache file is damaged: expected scopes of 16 bytes and codes of one length; "
            "`bsc verify --repair` keeps the entries that are sound"
        )
    return found


def last_of(rows: list[tuple[Any, ...]], before: int) -> int:
    """The id of the last row, which must all grow: pages in the wrong order would be read for ever."""
    for row in rows:
        if row[0] <= before:
            raise CorruptFileError(f"a cache file is damaged: entry {row[0]} comes after {before}")
        before = row[0]
    return before


def put_line(entry_id: int, scope: bytes | None, code: bytes | None) -> Change:
    """The line of a put."""
    return Change(ChangeKind.PUT, entry_id, sound(scope, bytes), sound(code, bytes))


def kind_of_change(number: Any) -> ChangeKind:
    """The kind of a line of the log."""
    try:
        return ChangeKind(number)
    except ValueError as exc:
        raise CorruptFileError(f"a cache file is damaged: got {number!r} for a kind of change") from exc
