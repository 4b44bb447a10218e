"""The packed chunks of a SQLite store: what a fold needs of many entries, beside the log."""

import logging
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import crc32
from binary_semantic_cache.errors import CorruptFileError, StoreError
from binary_semantic_cache.stores import Packed, pack
from binary_semantic_cache.stores.sqlite_file import SQLiteFile
from binary_semantic_cache.stores.sqlite_lease import Lease, UpkeepTakenError, held_by_another
from binary_semantic_cache.stores.sqlite_rows import last_of, last_seq, located, sound

__all__ = ["FOLDED", "ROWS_AT_ONCE", "Packing", "is_whole"]

_logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 4096
"""Read in one go: short reads, as one held open would keep the write-ahead log from being emptied."""
_LOG_LINES = 100_000
_SNAP_EVERY = 65_536
_PACKED = 65_536

_PAGES_AT_ONCE = 4096
_LAST = 2**63 - 1
_DAMAGED = "a packed chunk is damaged and entries are read one by one; `bsc verify --repair` packs them anew"

FOLDED = "SELECT id, scope, code FROM entry WHERE id > ? ORDER BY id LIMIT ?"
_FOLDED_UP_TO = "SELECT id, scope, code FROM entry WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
_CHUNKS = (
    "SELECT first_id, last_id, searched, ids, scopes, codes, checksum FROM packed WHERE last_id = "
    "(SELECT min(last_id) FROM packed WHERE last_id > ?)"
)
_RANGES = (
    "SELECT first_id, last_id, sum(length(ids)) / 8 FROM packed GROUP BY first_id, last_id ORDER BY last_id"
)
_NEXT_RANGE = "SELECT max(id) FROM (SELECT id FROM entry WHERE id > ? ORDER BY id LIMIT ?)"


class Packing:
    """Keeps the chunks, and reads them.

    A chunk holds a range of ids as they were when it was packed. The log from `snapped` on tells the rest, so
    a chunk may lag, and may overlap another, but never lacks an entry. What it says is a hint to the index: a
    body is given out for its own id, scope and code alone. A chunk whose checksum is wrong is not read; the
    rows of its range are.
    """

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file
        self._lease = Lease(file)

    def state(self, db: sqlite3.Connection) -> Iterator[Packed]:
        """All entries as of now; the connection is read later, too."""
        return self._columns(_dead_since(db, _snapped(db)))

    def update_if_due(self) -> None:
        """Packs if the log has grown long since the last time and nobody else is at it; raises nothing."""
        try:
            with self._file.lock, self._file.reading() as db:
                due = last_seq(db) - _snapped(db) > _SNAP_EVERY and not held_by_another(db)
            if due:
                self.update(wait_seconds=0.0)
        except UpkeepTakenError:
            pass
        except StoreError as exc:  # the put that it comes after is done
            _logger.warning("a cache file could not be packed: %s", exc)

    def update(self, *, wait_seconds: float) -> None:
        """Brings the packed chunks up to the log's present end, forgets lines before it, frees pages.

        Args:
            wait_seconds: how long to wait for another process that does the same.

        Raises:
            UpkeepTakenError: it took longer, or took this run over.
        """
        with self._lease.held(wait_seconds) as holding:
            self._pack(holding)
            self._give_back(holding)

    def _pack(self, holding: Lease.Holding) -> None:
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
                with self._file.lock, holding.step() as db:
                    _pack_range(db, first_id, last_id)
        while True:
            with self._file.lock, holding.step() as db:
                (last_id,) = db.execute(_NEXT_RANGE, (end, _PACKED)).fetchone()
                if last_id is None:
                    # Of entries that left since, the newest too: the last chunk may have begun before `end`.
                    db.execute("DELETE FROM packed WHERE last_id > ?", (end,))
                    break
                _pack_range(db, end + 1, last_of([(last_id,)], end))
                end = last_id
        with self._file.lock, holding.step() as db:
            snapped = max(start, _snapped(db))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('snapped', ?)", (snapped,))
            db.execute("DELETE FROM log WHERE seq <= ?", (min(snapped, last_seq(db) - _LOG_LINES),))

    def _give_back(self, holding: Lease.Holding) -> None:
        """Gives free pages back to the file system, as far as nobody takes them again meanwhile."""
        left = None
        while True:
            with self._file.lock, self._file.reading() as db:
                (free,) = db.execute("PRAGMA freelist_count").fetchone()
            if not free or (left is not None and free >= left):
                return
            left = free
            with self._file.lock, holding.step() as db:
                db.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()

    def _columns(self, dead: NDArray[np.uint64]) -> Iterator[Packed]:
        last = 0
        while True:
            try:
                with self._file.lock, self._file.reading() as db:
                    rows = db.execute(_CHUNKS, (last,)).fetchall()
            except CorruptFileError:
                _logger.warning(_DAMAGED)
                break
            if not rows:
                break
            end = rows[0][1]
            if all(is_whole(row) for row in rows):
                # Between two ranges there are no entries, but where a chunk was lost.
                yield from self._rows(last, min(row[0] for row in rows) - 1)
                for row in rows:
                    left = _without(Packed(*row[3:6]), dead)
                    if left.ids:
                        yield left
            else:
                _logger.warning(_DAMAGED)
                if type(end) is not int:
                    break
                yield from self._rows(last, end)
            last = last_of([(end,)], last)
        yield from self._rows(last, _LAST)

    def _rows(self, last: int, end: int) -> Iterator[Packed]:
        """The entries after `last` and up to `end`, as they are now."""
        while last < end:
            with self._file.lock, self._file.reading() as db:
                rows = db.execute(_FOLDED_UP_TO, (last, end, ROWS_AT_ONCE)).fetchall()
            if not rows:
                return
            last = last_of(rows, last)
            yield from pack(located(rows))


def _pack_range(db: sqlite3.Connection, first_id: int, last_id: int) -> None:
    """Packs the entries from `first_id` to `last_id` anew; a range without entries has no chunk."""
    db.execute("DELETE FROM packed WHERE first_id >= ? AND last_id <= ?", (first_id, last_id))
    rows = db.execute(
        "SELECT id, scope, code FROM entry WHERE id BETWEEN ? AND ? ORDER BY id", (first_id, last_id)
    ).fetchall()
    for columns in pack(located(rows)):
        row = (first_id, last_id, int(columns.codes != b""), *columns)
        db.execute("INSERT INTO packed VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, _checksum(row)))


def _checksum(row: tuple[Any, ...]) -> int:
    """CRC-32 of a row of `packed`: the numbers, then the columns.

    It is read at some 20 GB/s where the columns come from the disk cache at 1: a fold is no slower for it.
    """
    value = zlib.crc32(struct.pack("<3q", *row[:3]))
    for column in row[3:6]:
        value = crc32(np.frombuffer(column, np.uint8), value)
    return value


def is_whole(row: tuple[Any, ...]) -> bool:
    """Whether a row of `packed` is as it was written: columns of one length, ids ascending, checksum."""
    if [type(value) for value in row] != [int] * 3 + [bytes] * 3 + [int]:
        return False
    first_id, last_id, searched, ids, scopes, codes, checksum = row
    n, rest = divmod(len(ids), 8)
    if not n or rest or len(scopes) != 16 * n or len(codes) % n or searched != (codes != b""):
        return False
    numbers = np.frombuffer(ids, "<u8")
    if np.any(numbers[1:] <= numbers[:-1]) or not first_id <= numbers[0] <= numbers[-1] <= last_id:
        return False
    return bool(_checksum(row) == checksum)


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
