"""Entries of an export into a cache's file, new or in use."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from binary_semantic_cache.errors import FingerprintError, InvalidValueError
from binary_semantic_cache.stores import Entry
from binary_semantic_cache.stores.rebuilding import building, in_batches, install
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.canonical import JSON
from binary_semantic_cache.text.exchange import Export, Progress, store_mark
from binary_semantic_cache.text.fingerprint import Fingerprinter

__all__ = ["Imported", "check_export", "enter", "import_export"]


@dataclass(slots=True)
class Imported:
    """What came of it."""

    entered: int = 0
    """Entries that are new in the file."""
    replaced: int = 0
    """Entries in whose place one of the same key came."""
    kept: int = 0
    """Entries left out, as the file had one of the same key."""
    unknown: int = 0
    """Entries left out, as nobody said whose they are: see `import_export`."""
    pairs: int = 0
    """Reported pairs."""


def check_export(export: Export, progress: Progress = lambda n: None) -> None:
    """Reads all of an export.

    Raises:
        CorruptFileError: something in it is not as it must be; the message names the place.
    """
    for _ in export.entries():
        progress(1)
    for _ in export.pairs():
        pass


def import_export(
    export: Export,
    path: Path,
    *,
    overwrite: bool = False,
    scopes: Sequence[JSON] = (None,),
    progress: Progress = lambda n: None,
) -> Imported:
    """Enters what an export holds; nothing, if anything in it is wrong.

    A file that is not there becomes a copy of the one that was exported, ids and secret included. A file of
    the same store gets the entries as they are. A file of another store has another secret: of each entry
    that answers a bare prompt of one of `scopes`, which the export's secret proves, a new key is made; all
    other entries are left out, and reported pairs too.

    Args:
        export: its entries are read twice, to be checked before any is stored.
        path: the file of a store, or where to make one.
        overwrite: entries of the export replace those of the same key, which stay otherwise.
        scopes: as given to `SemanticCache.put`; only needed for a file of another store.
        progress: called with the number of entries done since the last call; each is done twice.

    Raises:
        CorruptFileError: something in the export is not as it must be.
        FingerprintError: the file was filled with another embedder.
        InvalidValueError: the export has no secret, and `path` is not of the store that it came from.
        StoreError: the file could not be read or written.
    """
    check_export(export, progress)
    if path.exists() and path.stat().st_size:
        return _merged(export, path, overwrite=overwrite, scopes=scopes, progress=progress)
    if export.header.secret is None:
        raise InvalidValueError(
            f"{export.path} was exported without the store's secret: its keys mean nothing in a new file; "
            "it can go back into the store it came from"
        )
    return _copied(export, path, progress)


def _copied(export: Export, path: Path, progress: Progress) -> Imported:
    header, done = export.header, Imported()
    assert header.secret is not None
    with building(path) as new:
        new.take_on(header.fingerprint, header.secret)
        for some in in_batches(export.entries()):
            new.restore(some)
            progress(len(some))
        new.restore_pairs(export.pairs())
        new.finish(header.last_id)
        done.entered, done.pairs = new.stats().entries, header.pairs
    install(new.path, path, None)
    return done


def _merged(
    export: Export, path: Path, *, overwrite: bool, scopes: Sequence[JSON], progress: Progress
) -> Imported:
    header, done = export.header, Imported()
    store = SQLiteStore(path, busy_timeout_seconds=10.0)
    try:
        try:
            secret = store.open(header.fingerprint).secret
        except FingerprintError as exc:
            raise FingerprintError(
                f"{export.path} and {path} were filled by different embedders: {exc}"
            ) from exc
        same = store_mark(secret) == header.mark
        if not same and header.secret is None:
            raise InvalidValueError(
                f"{export.path} was exported without its store's secret, and {path} is of another store: "
                "its keys mean nothing there"
            )
        rekeyed = _same if same else _rekeying(header.secret or b"", secret, scopes)
        if same:
            # First the pairs: there is no moment at which their prompts could match.
            for pair in export.pairs():
                store.forbid(pair)
                done.pairs += 1
        for some in in_batches(export.entries()):
            enter(store, [rekeyed(stored.entry) for stored in some], done, overwrite=overwrite)
            progress(len(some))
    finally:
        store.close()
    return done


def enter(store: SQLiteStore, given: Iterable[Entry | None], done: Imported, *, overwrite: bool) -> None:
    """Puts what may be put, and counts in `done` what came of each; `None` counts as unknown."""
    wanted = []
    for entry in given:
        if entry is None:
            done.unknown += 1
        elif not store.select(key=entry.key):
            wanted.append(entry)
            done.entered += 1
        elif overwrite:
            wanted.append(entry)
            done.replaced += 1
        else:
            done.kept += 1
    if wanted:
        store.put_many(wanted)


def _same(entry: Entry) -> Entry | None:
    return entry


def _rekeying(theirs: bytes, ours: bytes, scopes: Sequence[JSON]) -> Callable[[Entry], Entry | None]:
    """What gives an entry the keys of another secret; `None` where nothing proves whose it is."""
    before, after = Fingerprinter(theirs), Fingerprinter(ours)

    def rekeyed(entry: Entry) -> Entry | None:
        for scope in scopes:
            if before.of(entry.prompt, scope).key == entry.key:
                made = after.of(entry.prompt, scope)
                return replace(entry, key=made.key, scope=made.scope, owner=made.owner)
        return None

    return rekeyed
