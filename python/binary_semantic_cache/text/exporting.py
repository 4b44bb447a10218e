"""Everything in a cache's file, to a file that other programs read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from binary_semantic_cache.errors import CorruptFileError, InvalidValueError
from binary_semantic_cache.stores import Stored
from binary_semantic_cache.stores.reading import entries, meta_of, reading
from binary_semantic_cache.text.exchange import (
    LAST_ID,
    SECRET_BYTES,
    Header,
    Progress,
    checked_entry,
    checked_id,
    checked_pair,
    store_mark,
)
from binary_semantic_cache.text.exchange_jsonl import write_jsonl
from binary_semantic_cache.text.exchange_npz import write_npz
from binary_semantic_cache.text.soundness import entry_checks
from binary_semantic_cache.vector.archive.atomic import replacing

__all__ = ["Exported", "export"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    entries: int
    pairs: int
    secret: bool
    """Whether the store's secret is in it."""


def export(path: Path, out: Path, *, secret: bool = True, progress: Progress = lambda n: None) -> Exported:
    """Writes all entries and reported pairs of `path`, as they are at this moment, to `out`.

    `out` changes whole or not at all, and is readable by its owner alone.

    Args:
        path: the file of a store; only read.
        out: its ending, `.jsonl` or `.npz`, says the format.
        secret: also write the store's secret, without which the export is for reading, and for bringing
            entries back to the very store they came from.
        progress: called with the number of entries done since the last call.

    Raises:
        InvalidValueError: `out` has another ending, or an entry is too large for the format.
        MissingFileError, FormatVersionError: see `stores.reading.reading`.
        CorruptFileError: `path` is damaged.
        StoreError: a file could not be read or written.
    """
    write = {".jsonl": write_jsonl, ".npz": write_npz}.get(out.suffix)
    if write is None:
        raise InvalidValueError(f"expected a file that ends in .jsonl or .npz, got {out.name}")
    with replacing(out) as file, reading(path) as db:
        meta = meta_of(db)
        if "fingerprint" not in meta or len(meta.get("secret", b"")) != SECRET_BYTES:
            raise CorruptFileError(
                f"{path}: no cache has filled it, or it is damaged; see `bsc verify {path}`"
            )
        fingerprint = meta["fingerprint"].decode("utf-8", "replace")
        check = entry_checks(fingerprint)
        (n,) = db.execute("SELECT count(*) FROM entry").fetchone()
        (n_pairs,) = db.execute("SELECT count(*) FROM pair").fetchone()
        (last,) = db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'entry'").fetchone()
        header = Header(
            fingerprint=fingerprint,
            mark=store_mark(meta["secret"]),
            secret=meta["secret"] if secret else None,
            last_id=checked_id(f"{path}", last or 0, -1, LAST_ID),
            entries=n,
            pairs=n_pairs,
        )

        def sound() -> Iterator[Stored]:
            for stored in entries(db, path):
                checked_entry(f"{path}: entry {stored.id}", stored.entry, check)
                yield stored
                progress(1)

        pairs = (
            checked_pair(f"{path}", pair) for (pair,) in db.execute("SELECT pair FROM pair ORDER BY pair")
        )
        write(file, header, sound(), pairs)
    return Exported(n, n_pairs, secret)
