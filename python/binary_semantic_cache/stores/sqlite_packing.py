"""The packed chunks of a SQLite store: what a fold needs of many entries, beside the log."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import CorruptFileError
from binary_semantic_cache.stores import Packed, pack
from binary_semantic_cache.stores.sqlite_file import SQLiteFile
from binary_semantic_cache.stores.sqlite_rows import last_of, last_seq, sound

__all__ = ["FOLDED", "ROWS_AT_ONCE", "Packing"]

ROWS_AT_ONCE = 4096
"""Read in one go: short reads, as one held open would keep the write-ahead log from being emptied."""
_LOG_LINES = 100_000
_SNAP_EVERY = 65_536
_PACKED = 65_536

FOLDED = "SELECT id, scope, code FROM entry WHERE id > ? ORDER BY id LIMIT ?"
_RANGES = (
    "SELECT first_id, last_id, sum(length(ids)) / 8 FROM packed GROUP BY first_id, last_id ORDER BY last_id"
)
_NEXT_RANGE = "SELECT max(id) FROM (SELECT id FROM entry WHERE id > ? ORDER BY id LIMIT ?)"


class Packing:
    """Keeps the chunks, and reads them.

    A chunk holds a range of ids as they were when it was packed. The log from `snapped` on tells the rest, so
    a chunk may lag, and may overlap another, but never lacks an entry.
    """

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file

    def state(self, db: sqlite3.Connection) -> Iterator[Packed]:
        """All entries as of now; the connection is read later, too."""
        return self._columns(_dead_since(db, _snapped(db)))

    def update_if_due(self) -> None:
        """Packs if the log has grown long since the last time."""
        with self._file.lock, self._file.reading() as db:
            due = last_seq(db) - _snapped(db) > _SNAP_EVERY
        if due:
            self.update()

    def update(self) -> None:
        """Brings the packed chunks up to the log's present end, then forgets the lines before it."""
        with self._file.lock, self._file.reading() as db:
            start = last_seq(db)
            dead = np.sort(_dead_since(db, _snapped(db)))
            ranges = [tuple(sound(value, int) for value in row) for row in db.execute(_RANGES)]
        end = ranges[-1][1] if ranges else 0
        if ranges and ranges[-1][2] < _PACKED // 2:
            end = ranges.pop()[0] - 1  # the last one is small: what follows joins it
        # What a step packs is at least as new as `start`: from there on the log tells the rest.
        for first_id, last_id, _ in ranges:
            if np.searchsorted(dead, first_id) < np.searchsorted(dead, last_id, "right"):
                with self._file.lock, self._file.writing() as db:
                    _pack_range(db, first_id, last_id)
        while True:
            with self._file.lock, self._file.writing() as db:
                (last_id,) = db.execute(_NEXT_RANGE, (end, _PACKED)).fetchone()
                if last_id is None:
                    db.execute("DELETE FROM packed WHERE first_id > ?", (end,))
                    break
                _pack_range(db, end + 1, last_of([(last_id,)], end))
                end = last_id
        with self._file.lock, self._file.writing() as db:
            snapped = max(start, _snapped(db))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('snapped', ?)", (snapped,))
            db.execute("DELETE FROM log WHERE seq <= ?", (min(snapped, last_seq(db) - _LOG_LINES),))

    def _columns(self, dead: NDArray[np.uint64]) -> Iterator[Packed]:
        last = 0
        query = (
            "SELECT last_id, ids, scopes, codes FROM packed WHERE last_id = "
            "(SELECT min(last_id) FROM packed WHERE last_id > ?)"
        )
        while True:
            with self._file.lock, self._file.reading() as db:
                rows = db.execute(query, (last,)).fetchall()
            if not rows:
                break
            last = last_of(rows[:1], last)
            for _, *columns in rows:
                left = _without(_sound_columns(*columns), dead)
                if left.ids:
                    yield left
        while True:
            with self._file.lock, self._file.reading() as db:
                rows = db.execute(FOLDED, (last, ROWS_AT_ONCE)).fetchall()
            if not rows:
                return
            last = last_of(rows, last)
            yield from pack((i, sound(scope, bytes), sound(code, bytes)) for i, scope, code in rows)


def _pack_range(db: sqlite3.Connection, first_id: int, last_id: int) -> None:
    """Packs the entries from `first_id` to `last_id` anew; a range without entries has no chunk."""
    db.execute("DELETE FROM packed WHERE first_id >= ? AND last_id <= ?", (first_id, last_id))
    rows = db.execute(
        "SELECT id, scope, code FROM entry WHERE id BETWEEN ? AND ? ORDER BY id", (first_id, last_id)
    ).fetchall()
    for columns in pack((i, sound(scope, bytes), sound(code, bytes)) for i, scope, code in rows):
        searched = int(columns.codes != b"")
        db.execute("INSERT INTO packed VALUES (?, ?, ?, ?, ?, ?)", (first_id, last_id, searched, *columns))


def _sound_columns(ids: Any, scopes: Any, codes: Any) -> Packed:
    """The columns if they are of one length."""
    columns = Packed(sound(ids, bytes), sound(scopes, bytes), sound(codes, bytes))
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
    return np.array([max(0, sound(entry_id, int)) for (entry_id,) in rows], np.uint64)


def _snapped(db: sqlite3.Connection) -> int:
    """The line of the log up to which the packed chunks tell everything."""
    row = db.execute("SELECT value FROM meta WHERE name = 'snapped'").fetchone()
    return 0 if row is None else int(sound(row[0], int))
