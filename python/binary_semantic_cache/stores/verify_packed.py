"""Whether the packed chunks of a file, and the log that tells what came after, say what its entries say."""

import sqlite3
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.stores.salvage import READ_ERRORS, Finding, Report, is_damage
from binary_semantic_cache.stores.sqlite_packing import is_whole

__all__ = ["check_packed"]

_KEYS = "SELECT first_id, last_id, searched FROM packed ORDER BY first_id, last_id, searched"
_CHUNK = "SELECT * FROM packed WHERE first_id = ? AND last_id = ? AND searched = ?"
_ENTRIES = "SELECT id, scope, code FROM entry WHERE id BETWEEN ? AND ? ORDER BY id"
_IDS = "SELECT id FROM entry WHERE id BETWEEN 1 AND ?"
_REMOVED = "SELECT id FROM log WHERE kind = 1 AND seq > ? AND typeof(id) = 'integer' AND id > 0"
_LOG = (
    "SELECT count(*), min(seq), max(seq), "
    "(SELECT seq FROM sqlite_sequence WHERE name = 'log'), (SELECT count(*) FROM packed), "
    "(SELECT value FROM meta WHERE name = 'snapped') FROM log"
)
_COLUMNS_OF_VERSION_1 = 6
_NONE = np.empty(0, np.uint64)


def check_packed(db: sqlite3.Connection, report: Report) -> None:
    """Reports what is wrong with them; nothing of it loses an entry. Memory for one chunk and all ids.

    Args:
        db: a connection as `reading` gives it, of a file whose pages are sound.
        report: is told of each finding.
    """
    try:
        snapped = _check_log(db, report)
        removed = np.array([entry_id for (entry_id,) in db.execute(_REMOVED, (snapped,))], np.uint64)
        keys = [tuple(key) for key in db.execute(_KEYS)]
        chunks = [_check_chunk(db, key, removed, report) for key in keys]
        _check_cover(db, chunks, report)
    except READ_ERRORS as exc:
        if not is_damage(exc):
            raise
        report(Finding("packed", f"cannot be read: {exc}"))


def _check_log(db: sqlite3.Connection, report: Report) -> int:
    """Whether the log goes from where the chunks end to its own end; returns where they end."""
    n, first, last, issued, chunks, snapped = db.execute(_LOG).fetchone()
    issued, snapped = issued or 0, 0 if snapped is None else snapped
    if type(snapped) is not int or not 0 <= snapped <= issued:
        what = f"expected a line of the log up to which they tell everything, got {snapped!r:.40}"
        report(Finding("packed", what))
        return 0
    if n and last != issued:
        report(Finding("log", "lines are missing from its end"))
    if chunks and (first > snapped + 1 if n else snapped != issued):
        report(Finding("log", "lines are missing between the packed entries and its beginning"))
    return snapped


def _check_chunk(
    db: sqlite3.Connection, key: tuple[Any, ...], removed: NDArray[np.uint64], report: Report
) -> tuple[NDArray[np.uint64], int]:
    """What is wrong with one chunk; returns its ids and where it ends, nothing and 0 if it is not whole."""
    first_id, last_id, _ = key
    place = f"packed entries {first_id} to {last_id}"
    row = tuple(db.execute(_CHUNK, key).fetchone() or ())
    if len(row) == _COLUMNS_OF_VERSION_1:  # packed anew when the file is opened
        return _NONE, 0
    if not row or not is_whole(row):
        report(Finding(place, "they are not as they were written"))
        return _NONE, 0
    ids = np.frombuffer(row[3], "<u8").astype(np.uint64)
    rows = db.execute(_ENTRIES, (first_id, last_id)).fetchall()
    places = np.searchsorted(ids, np.array([entry_id for entry_id, _, _ in rows], np.uint64)).tolist()
    width = len(row[5]) // ids.size
    there = np.zeros(ids.size, np.bool_)
    others = 0
    for (entry_id, scope, code), at in zip(rows, places, strict=True):
        if at < ids.size and ids[at] == entry_id:
            there[at] = True
            packed = row[4][16 * at : 16 * at + 16], row[5][width * at : width * at + width]
            others += packed != (scope, code)
    gone = int((~there & ~np.isin(ids, removed)).sum())
    if others:
        report(Finding(place, f"{others} have another scope or code than the entries"))
    if gone:
        report(Finding(place, f"{gone} are gone without a line of the log that says so"))
    return ids, last_id


def _check_cover(
    db: sqlite3.Connection, chunks: list[tuple[NDArray[np.uint64], int]], report: Report
) -> None:
    """Whether every entry up to the last range is in a chunk."""
    end = max((last_id for _, last_id in chunks), default=0)
    there = np.array([entry_id for (entry_id,) in db.execute(_IDS, (end,))], np.uint64)
    packed = np.concatenate([ids for ids, _ in chunks]) if chunks else _NONE
    missing = there.size - int(np.isin(there, packed).sum())
    if missing:
        report(Finding("packed", f"{missing} entries are missing from the chunks that should hold them"))
