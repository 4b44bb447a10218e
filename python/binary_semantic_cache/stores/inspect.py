"""What a store's file holds, in figures, and its entries by age."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from binary_semantic_cache.stores.reading import DamagedRowError, entry_of, meta_of, reading

__all__ = ["Figures", "Listed", "figures", "listed"]

_MOST_SCOPES = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """All that can be said of a file without showing what anybody asked."""

    entries: int
    n_bytes: int
    """Of prompts, answers, codes and vectors, as limits count them."""
    fingerprint: str | None
    """`None` for a file that no cache has opened."""
    epoch: str | None
    schema_version: int
    oldest: float | None
    """Seconds since 1970, as all times."""
    newest: float | None
    expiring: int
    """Entries that expire one day, or have."""
    expired: int
    """Those that have, and wait to be swept."""
    without_code: int
    """Those that only the very same request finds."""
    kinds: dict[str, int]
    tags: dict[str, int]
    """Entries by tag, the most frequent first."""
    scopes: int
    largest_scopes: tuple[int, ...]
    """Entries in the largest scopes. Scopes have no names: they are keyed hashes."""
    log_lines: int
    pairs: int
    """Pairs of prompts that were reported, and never match."""
    file_bytes: int
    wal_bytes: int
    """Of the write-ahead log beside it; 0 without one."""


class Listed(NamedTuple):
    """An entry as lists show it."""

    id: int
    created_at: float
    expires_at: float | None
    tags: tuple[str, ...]
    kind: str
    n_bytes: int
    prompt: str


def figures(path: Path, now: float) -> Figures:
    """Counts what is in a file. Reads all of its entries, but no answer.

    Args:
        path: the file of a store; only read.
        now: seconds since 1970, to tell what has expired.

    Raises:
        MissingFileError: there is none.
        CorruptFileError: it is damaged, or no file of a cache.
        FormatVersionError: a newer version of this package wrote it.
        StoreError: it could not be read.
    """
    with reading(path) as db:
        meta = meta_of(db)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        entries, n_bytes, oldest, newest, expiring, expired, without_code = db.execute(
            # Casts: in a damaged file a column may hold anything.
            "SELECT count(*), CAST(coalesce(sum(n_bytes), 0) AS INTEGER), min(CAST(created_at AS REAL)), "
            "max(CAST(created_at AS REAL)), "
            "count(expires_at), coalesce(sum(expires_at <= ?), 0), coalesce(sum(code = x''), 0) FROM entry",
            (now,),
        ).fetchone()
        fingerprint, epoch = meta.get("fingerprint"), meta.get("epoch")
        wal = path.with_name(path.name + "-wal")
        return Figures(
            entries=entries,
            n_bytes=n_bytes,
            fingerprint=None if fingerprint is None else fingerprint.decode("utf-8", "replace"),
            epoch=None if epoch is None else epoch.hex(),
            schema_version=version,
            oldest=oldest,
            newest=newest,
            expiring=expiring,
            expired=expired,
            without_code=without_code,
            kinds=_counts(
                db, "SELECT CAST(kind AS BLOB), count(*) AS n FROM body GROUP BY 1 ORDER BY 2 DESC, 1"
            ),
            tags=_counts(
                db, "SELECT CAST(tag AS BLOB), count(*) AS n FROM tag GROUP BY 1 ORDER BY 2 DESC, 1"
            ),
            scopes=_number(db, "SELECT count(DISTINCT scope) FROM entry"),
            largest_scopes=tuple(
                n
                for (n,) in db.execute(
                    "SELECT count(*) AS n FROM entry GROUP BY scope ORDER BY n DESC LIMIT ?", (_MOST_SCOPES,)
                )
            ),
            log_lines=_number(db, "SELECT count(*) FROM log"),
            pairs=_number(db, "SELECT count(*) FROM pair"),
            file_bytes=path.stat().st_size,
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
        )


def listed(
    path: Path, limit: int, *, tag: str | None = None, containing: str | None = None
) -> Iterator[Listed]:
    """Up to `limit` entries, newest first; raises as `figures`.

    Args:
        path: the file of a store; only read.
        limit: the most to give.
        tag: only entries with this tag.
        containing: only entries whose prompt holds this text, in capitals or not.
    """
    wanted = None if containing is None else containing.casefold()
    where = "TRUE" if tag is None else "e.id IN (SELECT id FROM tag WHERE tag = ?)"
    query = (
        "SELECT e.*, b.id AS body, x'' AS vector, b.prompt, b.kind, x'' AS payload, b.tags, b.saving "  # noqa: S608
        f"FROM entry e LEFT JOIN body b ON b.id = e.id WHERE {where} ORDER BY e.id DESC"
    )
    given = () if tag is None else (tag,)
    with reading(path) as db:
        for row in db.execute(query, given):
            if limit <= 0:
                return
            try:
                entry = entry_of(dict(row))
            except DamagedRowError:
                continue  # `bsc verify` names it
            if wanted is None or wanted in entry.prompt.casefold():
                limit -= 1
                yield Listed(
                    row["id"],
                    entry.created_at,
                    entry.expires_at,
                    entry.tags,
                    entry.kind,
                    row["n_bytes"],
                    entry.prompt,
                )


def _counts(db: sqlite3.Connection, query: str) -> dict[str, int]:
    return {str(bytes(name or b""), "utf-8", "replace"): n for name, n in db.execute(query)}


def _number(db: sqlite3.Connection, query: str) -> int:
    (n,) = db.execute(query).fetchone()
    return int(n)
