"""Whether a store's file is sound, and a new file from what is, where it is not."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from binary_semantic_cache.errors import CorruptFileError, MissingFileError, StoreError
from binary_semantic_cache.stores import Entry
from binary_semantic_cache.stores.reading import meta_of, prepare, reading, typed_errors
from binary_semantic_cache.stores.rebuilding import building, in_batches, install
from binary_semantic_cache.stores.salvage import READ_ERRORS, Finding, Report, is_damage, sound_entries
from binary_semantic_cache.stores.verify_packed import check_packed

__all__ = ["Checks", "Repaired", "Verified", "repair", "verify"]

_DIGEST_BYTES = 16
_SECRET_BYTES, _EPOCH_BYTES = 32, 8
_MOST_MESSAGES = 100
_STEPS, _MOST_STEPS = 100_000, 1_000_000_000  # of SQLite's machine, some 100 million a second

Checks = Callable[[str], Callable[[Entry], str | None]]
"""From the fingerprint of the store to what says what is wrong with an entry, `None` for nothing."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found."""

    entries: int
    """Entries that are whole."""
    findings: tuple[Finding, ...]
    """Empty for a sound file."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was kept."""

    entries: int
    pairs: int
    findings: tuple[Finding, ...]
    """What was wrong before; those that `loses` cost entries."""
    backup: Path | None
    """Where the old file lies."""


def verify(path: Path, checks: Checks, progress: Callable[[int], object] = lambda n: None) -> Verified:
    """All that is wrong with a file, which is only read.

    Args:
        path: the file.
        checks: what the values of an entry must be.
        progress: called with the number of entries read since the last call.

    Raises:
        MissingFileError: there is none.
        CorruptFileError: it is no file of a cache, or not even its first page can be read.
        FormatVersionError: a newer version of this package wrote it.
        StoreError: it could not be read.
    """
    findings: list[Finding] = []
    with reading(path, damaged=True) as db:
        _check_file(db, findings.append)
        check = _check_meta(db, checks, findings.append)
        n = 0
        for stored in sound_entries(db, check, findings.append):
            n += 1
            _check_tags(db, stored.id, stored.entry.tags, findings.append)
            progress(1)
        _check_tables(db, findings)
    return Verified(n, tuple(findings))


def repair(
    path: Path,
    checks: Checks,
    *,
    keep_backup: bool = True,
    progress: Callable[[int], object] = lambda n: None,
) -> Repaired:
    """Builds a new file from all that is sound in `path` and puts it in its place.

    Ids, secret, fingerprint and reported pairs stay; the log starts anew and the epoch changes.

    Args:
        path: the file. No program may have it open.
        checks: what the values of an entry must be.
        keep_backup: keep the old file, under the name that `Repaired.backup` says.
        progress: called with the number of entries read since the last call.

    Raises:
        CorruptFileError: no entry can be read, or what all depends on, the store's secret or fingerprint,
            cannot. The file stays.
        StoreError: the file is in use, or the new one could not be written. The old one stays.
    """
    findings: list[Finding] = []
    with _alone(path) as db, building(path) as new:
        check = _check_meta(db, checks, findings.append)
        meta = _meta(db)
        if any(finding.place == "meta" and "epoch" not in finding.what for finding in findings):
            raise CorruptFileError(
                f"{path}: its secret or fingerprint cannot be read; without them no entry can be found"
            )
        new.take_on(meta["fingerprint"].decode(), meta["secret"])
        _check_file(db, findings.append)
        last = 0
        for some in in_batches(sound_entries(db, check, findings.append)):
            new.restore(some)
            last = some[-1].id
            progress(len(some))
        pairs = set(_pairs(db, findings.append))
        new.restore_pairs(pairs)
        new.finish(max(last, _last_id(db)))
        n = new.stats().entries
        if not n and any(finding.loses for finding in findings):
            raise CorruptFileError(f"{path}: none of its entries can be read; the file is left as it is")
        _check_tables(db, findings)
    backup = _free_name(path) if keep_backup else None
    install(new.path, path, backup)
    return Repaired(n, len(pairs), tuple(findings), backup)


@contextmanager
def _alone(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, open for this process alone; one that is too damaged for that is only read."""
    if not path.is_file():
        raise MissingFileError(f"expected the file of a cache, got nothing at {path}")
    with typed_errors(path), closing(sqlite3.connect(path, timeout=0.0, isolation_level=None)) as db:
        prepare(db, path, damaged=True)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as exc:
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreError(f"{path} is open in another program; close that first") from exc
            if not is_damage(exc):
                raise
        yield db
        if db.in_transaction:
            db.execute("ROLLBACK")


def _check_meta(db: sqlite3.Connection, checks: Checks, report: Report) -> Callable[[Entry], str | None]:
    meta = _meta(db)
    entries = _ask(db, "SELECT EXISTS (SELECT 1 FROM entry)")
    if not meta and entries == 0:
        return lambda entry: None  # made, and never opened by a cache
    for name, length in (("secret", _SECRET_BYTES), ("epoch", _EPOCH_BYTES)):
        if len(meta.get(name, b"")) != length:
            report(Finding("meta", f"{name}: expected {length} bytes, got {len(meta.get(name, b''))}"))
    try:
        return checks(meta["fingerprint"].decode())
    except KeyError:
        report(Finding("meta", "fingerprint: missing"))
    except ValueError as exc:
        report(Finding("meta", f"fingerprint: {exc}"))
    return lambda entry: None


def _meta(db: sqlite3.Connection) -> dict[str, bytes]:
    try:
        return meta_of(db)
    except READ_ERRORS as exc:
        if not is_damage(exc):
            raise
        return {}


def _check_file(db: sqlite3.Connection, report: Report) -> None:
    try:
        for (line,) in db.execute(f"PRAGMA integrity_check({_MOST_MESSAGES})"):
            for message in bytes(line).decode("utf-8", "replace").splitlines():
                if message != "ok":
                    report(Finding("file", message))
    except READ_ERRORS as exc:
        if not is_damage(exc):
            raise
        report(Finding("file", str(exc)))


def _check_tags(db: sqlite3.Connection, entry_id: int, tags: tuple[str, ...], report: Report) -> None:
    try:
        for tag in tags:
            if not db.execute("SELECT 1 FROM tag WHERE tag = ? AND id = ?", (tag, entry_id)).fetchone():
                report(Finding(f"entry {entry_id}", "a tag of it does not lead to it"))
    except READ_ERRORS as exc:
        if not is_damage(exc):
            raise


def _check_tables(db: sqlite3.Connection, findings: list[Finding]) -> None:
    """What the tables say of each other; asked only where SQLite finds their pages sound."""
    if any(finding.place == "file" for finding in findings):
        return
    report = findings.append
    for place, what, query in _COUNTS:
        n = _ask(db, query)
        if n is None:
            report(Finding(place, "cannot be read"))
        elif n:
            report(Finding(place, what.format(n=n)))
    check_packed(db, report)


# Each asks for the number of rows that should not be there. Kinds of lines are those of `ChangeKind`.
_COUNTS = (
    ("answers", "{n} of no entry", "SELECT count(*) FROM body WHERE id NOT IN (SELECT id FROM entry)"),
    ("tags", "{n} of no entry", "SELECT count(*) FROM tag WHERE id NOT IN (SELECT id FROM entry)"),
    (
        "totals",
        "they do not count what is there",
        "SELECT count(*) <> 1 OR coalesce(sum(entries), -1) <> (SELECT count(*) FROM entry) "
        "OR coalesce(sum(n_bytes), -1) <> (SELECT coalesce(sum(n_bytes), 0) FROM entry) FROM total",
    ),
    (
        "log",
        "{n} lines of entries that never were",
        "SELECT count(*) FROM log WHERE kind IN (0, 1) AND (id < 1 OR id > "
        "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'entry'), 0))",
    ),
    (
        "log",
        "{n} entries are there that it says were removed",
        "SELECT count(*) FROM log WHERE kind = 1 AND id IN (SELECT id FROM entry)",
    ),
    (
        "log",
        "{n} entries are gone without a line that says so",
        "SELECT count(*) FROM log WHERE kind = 0 AND id NOT IN (SELECT id FROM entry) "
        "AND id NOT IN (SELECT id FROM log WHERE kind = 1)",
    ),
    ("log", "{n} lines of an unknown kind", "SELECT count(*) FROM log WHERE kind NOT IN (0, 1, 2, 3)"),
    (
        "log",
        "{n} lines are missing from its middle",
        "SELECT coalesce(max(seq) - min(seq) + 1 - count(*), 0) FROM log",
    ),
    (
        "log",
        "{n} reported pairs that are not kept",
        "SELECT count(*) FROM log WHERE kind = 2 AND (pair IS NULL OR pair NOT IN (SELECT pair FROM pair))",
    ),
    (
        "pairs",
        "{n} that are not 16 bytes long",
        "SELECT count(*) FROM pair WHERE typeof(pair) <> 'blob' OR length(pair) <> 16",
    ),
)


def _ask(db: sqlite3.Connection, query: str) -> int | None:
    try:
        with _limited(db):
            (n,) = db.execute(query).fetchone()
    except READ_ERRORS as exc:
        if not is_damage(exc):
            raise
        return None
    return int(n)


@contextmanager
def _limited(db: sqlite3.Connection) -> Iterator[None]:
    """Ends a statement that damaged pages lead round in a ring."""
    left = iter(range(_MOST_STEPS // _STEPS))
    db.set_progress_handler(lambda: next(left, None) is None, _STEPS)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)


def _pairs(db: sqlite3.Connection, report: Report) -> Iterator[bytes]:
    # The log names the latest ones once more.
    for query in ("SELECT pair FROM pair", "SELECT pair FROM log WHERE kind = 2"):
        try:
            with _limited(db):
                found = {bytes(pair) for (pair,) in db.execute(query) if isinstance(pair, bytes)}
            yield from (pair for pair in found if len(pair) == _DIGEST_BYTES)
        except READ_ERRORS as exc:
            if not is_damage(exc):
                raise
            report(Finding("pairs", f"some cannot be read: {exc}"))


def _last_id(db: sqlite3.Connection) -> int:
    last = _ask(db, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entry'")
    return last if last is not None and 0 <= last < 2**62 else 0


def _free_name(path: Path) -> Path:
    """`FILE.damaged`, or with a number where an earlier backup has that name."""
    first = path.with_name(path.name + ".damaged")
    if not first.exists():
        return first
    others = (path.with_name(f"{path.name}.damaged-{n}") for n in count(2))
    return next(name for name in others if not name.exists())
