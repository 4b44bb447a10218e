"""The sound entries of a file that may be damaged anywhere, and what is wrong with the rest.

SQLite gives up a statement at the first page it cannot make sense of, but not the file: another statement
that starts behind the damage reads on. So the table of entries is read in order of ids; where that fails,
the next id that can be read is looked for, by doubling and then halving the step; and each answer is fetched
by its id alone, so that one damaged answer costs one entry.
"""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from binary_semantic_cache.stores import Entry, Stored
from binary_semantic_cache.stores.reading import DamagedRowError, altered, entry_of

__all__ = ["READ_ERRORS", "Finding", "Report", "is_damage", "sound_entries"]

_FIRST, _LAST = -(2**63), 2**63 - 1
_ENTRY = "SELECT * FROM entry WHERE id > ? ORDER BY id LIMIT 1"
_ENTRIES = "SELECT * FROM entry WHERE id > ? ORDER BY id"
_BODY = "SELECT vector, prompt, kind, payload, tags, saving FROM body WHERE id = ?"
_DAMAGE = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,  # a table or column that is not there
        sqlite3.SQLITE_IOERR,  # a sector that the disk cannot read
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_INTERRUPT,  # a statement that would not end
    }
)


_STEPS = 10_000
_MOST_STEPS = 10_000_000
"""Of SQLite's machine, for one row: a tenth of a second, where a row takes some fifty steps."""

READ_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What SQLite raises; the second when its message quotes a damaged schema."""


class Finding(NamedTuple):
    """One thing that is wrong."""

    place: str
    """`entry 12`, or a part of the file: `file`, `meta`, `totals`, `log`, `tags`, `pairs`, `answers`."""
    what: str
    loses: bool = False
    """Whether an entry, or more, cannot be kept for it."""


Report = Callable[[Finding], object]
"""Is told of each finding."""


def sound_entries(
    db: sqlite3.Connection, check: Callable[[Entry], str | None], report: Report
) -> Iterator[Stored]:
    """Every entry that can be read and is whole, by id.

    Args:
        db: a connection as `reading` gives it.
        check: says what is wrong with an entry's values, `None` for nothing.
        report: is told of everything else.

    Raises:
        sqlite3.DatabaseError: something that is no damage kept the file from being read.
    """
    left = _MOST_STEPS

    def out_of_patience() -> bool:
        nonlocal left
        left -= _STEPS
        return left < 0

    # Damaged pages can lead a statement round in a ring.
    db.set_progress_handler(out_of_patience, _STEPS)
    for row in _rows(db, report):
        left = _MOST_STEPS
        entry_id = row["id"]
        place = f"entry {entry_id}"
        try:
            entry = entry_of({**row, **_body(db, entry_id)})
        except DamagedRowError as exc:
            report(Finding(place, str(exc), loses=True))
            continue
        wrong = check(entry) or altered(row, entry)
        if wrong is not None:
            report(Finding(place, wrong, loses=True))
            continue
        if row["n_bytes"] != entry.n_bytes:
            report(Finding(place, f"n_bytes: expected {entry.n_bytes}, got {str(row['n_bytes'])[:20]}"))
        yield Stored(entry_id, entry)
        left = _MOST_STEPS
    db.set_progress_handler(None, 0)


def is_damage(exc: Exception) -> bool:
    """Whether one of `READ_ERRORS` means that the file is damaged, not that it is locked, say."""
    if isinstance(exc, UnicodeDecodeError):
        return True
    return getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGE


def _rows(db: sqlite3.Connection, report: Report) -> Iterator[dict[str, Any]]:
    after = _FIRST
    while True:
        try:
            for row in db.execute(_ENTRIES, (after,)):
                if type(row["id"]) is not int or row["id"] <= after:
                    # Pages that lead to each other in a ring, which SQLite would go round for years.
                    raise sqlite3.DatabaseError("ids are out of order")
                yield dict(row)
                after = row["id"]
        except READ_ERRORS as exc:
            if not is_damage(exc):
                raise
            reason = str(exc)
        else:
            return
        behind = _behind_the_damage(db, after)
        first = max(after + 1, 1)
        lost = f"entries {first} to {behind}" if behind else f"entries from {first} on"
        report(Finding("file", f"{lost} cannot be read: {reason}", loses=True))
        if behind is None:
            return
        after = behind


def _behind_the_damage(db: sqlite3.Connection, after: int) -> int | None:
    """The least id from which on a row can be read, looked for behind `after`; `None` for none."""
    step = 1
    while not _readable(db, after + step):
        step *= 2
        if after + step >= _LAST:
            return None
    unreadable, readable = after + step // 2, after + step
    while readable - unreadable > 1:
        middle = (unreadable + readable) // 2
        if _readable(db, middle):
            readable = middle
        else:
            unreadable = middle
    return readable


def _readable(db: sqlite3.Connection, after: int) -> bool:
    try:
        row = db.execute(_ENTRY, (after,)).fetchone()
    except READ_ERRORS as exc:
        if not is_damage(exc):
            raise
        return False
    return row is None or (type(row["id"]) is int and row["id"] > after)


def _body(db: sqlite3.Connection, entry_id: int) -> dict[str, Any]:
    try:
        row = db.execute(_BODY, (entry_id,)).fetchone()
    except READ_ERRORS as exc:
        if not is_damage(exc):
            raise
        raise DamagedRowError(f"its answer cannot be read: {exc}") from exc
    if row is None:
        raise DamagedRowError("its answer is missing")
    if entry_id < 1:
        raise DamagedRowError("an id that no entry gets")
    return {"body": entry_id, **dict(row)}
