"""Exports as arrays: an `.npz` that `numpy.load(path, allow_pickle=False)` reads.

    header            uint8 (any,)        JSON, as the first line of a JSON lines export, and `kinds`
    ids               int64 (n,)          ascending
    keys scopes owners  uint8 (n, 16)
    codes             uint64 (n, n_words) zeros where `coded` is 0
    coded             uint8 (n,)          0 for an entry that only the very same request finds
    vectors           uint8 (any,)        packed embeddings, one after another: bytes
    vector_offsets    int64 (n + 1,)      offsets[i] .. offsets[i + 1] are entry i's
    blob              uint8 (any,)        of each entry its prompt in UTF-8, then its payload
    offsets           int64 (2 n + 1,)    prompt i is offsets[2 i] .. offsets[2 i + 1], its payload the next
    kinds             uint8 (n,)          an index into the header's `kinds`
    created_at expires_at ttl_seconds  float64 (n,)   NaN for never, and for none
    tokens            int64 (n, 2)        input and output
    costs             float64 (n, 2)      money and seconds
    tags              uint8 (any,)        a JSON list of each entry, or nothing for none
    tag_offsets       int64 (n + 1,)
    pairs             uint8 (m, 16)

The arrays are in memory while they are written or read.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import CorruptFileError, InvalidValueError
from binary_semantic_cache.stores import Entry, Saving, Stored
from binary_semantic_cache.text.canonical import parse_json
from binary_semantic_cache.text.exchange import (
    Header,
    checked_entry,
    checked_header,
    checked_id,
    checked_pair,
    header_fields,
)
from binary_semantic_cache.text.identity import parse_identity
from binary_semantic_cache.vector.archive.npz import NpzReader, open_npz

__all__ = ["NpzExport", "is_npz_export", "write_npz"]

_MOST_HEADER = 64 * 1024
_MOST_TAGS = 1 << 20
_MOST_KINDS = 255


def write_npz(file: BinaryIO, header: Header, entries: Iterable[Stored], pairs: Iterable[bytes]) -> None:
    """Writes an export as arrays; all of it is in memory meanwhile."""
    made = parse_identity(header.fingerprint)
    rows = list(entries)
    listed = [stored.entry for stored in rows]
    kinds = list(dict.fromkeys(entry.kind for entry in listed))
    if len(kinds) > _MOST_KINDS:
        raise InvalidValueError(f"expected at most {_MOST_KINDS} kinds of answers, got {len(kinds)}")
    vectors, vector_offsets = _joined([entry.vector for entry in listed])
    blob, offsets = _joined([part for entry in listed for part in (entry.prompt.encode(), entry.payload)])
    tags, tag_offsets = _joined(
        [json.dumps(entry.tags, ensure_ascii=False).encode() if entry.tags else b"" for entry in listed]
    )
    blank = bytes(made.code_bytes)
    about = header_fields(header) | {"kinds": kinds}
    np.savez(
        file,
        header=np.frombuffer(json.dumps(about).encode(), np.uint8),
        ids=np.array([stored.id for stored in rows], "<i8"),
        keys=_digests([entry.key for entry in listed]),
        scopes=_digests([entry.scope for entry in listed]),
        owners=_digests([entry.owner for entry in listed]),
        codes=_bytes_of([entry.code or blank for entry in listed]).view("<u8").reshape(len(rows), -1)
        if rows
        else np.zeros((0, made.code_bytes // 8), "<u8"),
        coded=np.array([bool(entry.code) for entry in listed], np.uint8),
        vectors=vectors,
        vector_offsets=vector_offsets,
        blob=blob,
        offsets=offsets,
        kinds=np.array([kinds.index(entry.kind) for entry in listed], np.uint8),
        created_at=np.array([entry.created_at for entry in listed], "<f8"),
        expires_at=_times([entry.expires_at for entry in listed]),
        ttl_seconds=_times([entry.ttl_seconds for entry in listed]),
        tokens=np.array(
            [(entry.saving.input_tokens, entry.saving.output_tokens) for entry in listed], "<i8"
        ).reshape(-1, 2),
        costs=np.array([(entry.saving.cost, entry.saving.seconds) for entry in listed], "<f8").reshape(-1, 2),
        tags=tags,
        tag_offsets=tag_offsets,
        pairs=_digests(list(pairs)),
    )


def is_npz_export(path: Path) -> bool:
    """Whether a file with a zip's first bytes is an export, and not an archive of another kind."""
    with open_npz(path) as npz:
        return "tag_offsets.npy" in npz


class NpzExport:
    """A file that `write_npz` wrote, or that somebody says it did. Read whole, and its checksums verified.

    Raises:
        MissingFileError, StoreError: it could not be read.
        CorruptFileError: it is damaged, hostile, or no export.
        FormatVersionError: of a version that this package does not read.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        with open_npz(self.path) as npz:
            about = _about(npz)
            place = f"{self.path}: header.npy"
            self._kinds = _kinds(place, about.get("kinds"))
            self.header, self._check = checked_header(place, about)
            n, words = self.header.entries, parse_identity(self.header.fingerprint).code_bytes // 8
            self._columns = {
                name: npz.read(npz.find(f"{name}.npy", dtype, shape), verify=True)
                for name, dtype, shape in _members(n, self.header.pairs, words)
            }
        for offsets, blob in (("vector_offsets", "vectors"), ("offsets", "blob"), ("tag_offsets", "tags")):
            self._check_offsets(offsets, len(self._columns[blob]))

    def entries(self) -> Iterator[Stored]:
        """See `Export.entries`."""
        last = 0
        for row in range(self.header.entries):
            place = f"{self.path}: row {row}"
            last = checked_id(place, int(self._columns["ids"][row]), last, self.header.last_id)
            yield Stored(last, checked_entry(place, self._entry(place, row), self._check))

    def pairs(self) -> Iterator[bytes]:
        """See `Export.pairs`."""
        for row in self._columns["pairs"]:
            yield checked_pair(f"{self.path}: pairs.npy", row.tobytes())

    def _entry(self, place: str, row: int) -> Entry:
        column = self._columns
        try:
            prompt = self._cut("offsets", "blob", 2 * row).decode()
        except UnicodeDecodeError:
            raise CorruptFileError(f"{place}: prompt: not UTF-8") from None
        kind = int(column["kinds"][row])
        if kind >= len(self._kinds):
            raise CorruptFileError(f"{place}: kind: expected 0 to {len(self._kinds) - 1}, got {kind}")
        coded, code = int(column["coded"][row]), column["codes"][row].astype("<u8").tobytes()
        if coded > 1 or (not coded and any(code)):
            raise CorruptFileError(f"{place}: coded: does not fit its code")
        input_tokens, output_tokens = map(int, column["tokens"][row])
        cost, seconds = map(float, column["costs"][row])
        return Entry(
            key=column["keys"][row].tobytes(),
            scope=column["scopes"][row].tobytes(),
            owner=column["owners"][row].tobytes(),
            code=code if coded else b"",
            vector=self._cut("vector_offsets", "vectors", row),
            prompt=prompt,
            kind=self._kinds[kind],
            payload=self._cut("offsets", "blob", 2 * row + 1),
            created_at=float(column["created_at"][row]),
            expires_at=_time(column["expires_at"][row]),
            ttl_seconds=_time(column["ttl_seconds"][row]),
            tags=_tags(place, self._cut("tag_offsets", "tags", row)),
            saving=Saving(input_tokens, output_tokens, cost, seconds),
        )

    def _cut(self, offsets: str, blob: str, at: int) -> bytes:
        start, stop = map(int, self._columns[offsets][at : at + 2])
        return self._columns[blob][start:stop].tobytes()

    def _check_offsets(self, name: str, size: int) -> None:
        offsets = self._columns[name]
        if offsets[0] != 0 or offsets[-1] != size or (offsets[1:] < offsets[:-1]).any():
            raise CorruptFileError(f"{self.path}: {name}.npy: expected offsets that rise from 0 to {size}")


def _members(n: int, pairs: int, words: int) -> list[tuple[str, str, tuple[int | None, ...]]]:
    return [
        ("ids", "<i8", (n,)),
        ("keys", "|u1", (n, 16)),
        ("scopes", "|u1", (n, 16)),
        ("owners", "|u1", (n, 16)),
        ("codes", "<u8", (n, words)),
        ("coded", "|u1", (n,)),
        ("vectors", "|u1", (None,)),
        ("vector_offsets", "<i8", (n + 1,)),
        ("blob", "|u1", (None,)),
        ("offsets", "<i8", (2 * n + 1,)),
        ("kinds", "|u1", (n,)),
        ("created_at", "<f8", (n,)),
        ("expires_at", "<f8", (n,)),
        ("ttl_seconds", "<f8", (n,)),
        ("tokens", "<i8", (n, 2)),
        ("costs", "<f8", (n, 2)),
        ("tags", "|u1", (None,)),
        ("tag_offsets", "<i8", (n + 1,)),
        ("pairs", "|u1", (pairs, 16)),
    ]


def _about(npz: NpzReader) -> dict[str, object]:
    member = npz.find("header.npy", "|u1", (None,))
    if member.data_size > _MOST_HEADER:
        raise npz.corrupt(f"header.npy: expected at most {_MOST_HEADER} bytes, got {member.data_size}")
    try:
        about = parse_json(npz.read(member, verify=True).tobytes(), "header.npy")
    except InvalidValueError as exc:
        raise npz.corrupt(str(exc)) from None
    if not isinstance(about, dict):
        raise npz.corrupt("header.npy: not the header of an export")
    return about


def _kinds(place: str, kinds: object) -> list[str]:
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise CorruptFileError(f"{place}: kinds: expected a list of strings")
    return kinds


def _tags(place: str, raw: bytes) -> tuple[str, ...]:
    if not raw:
        return ()
    try:
        tags = parse_json(raw, "tags") if len(raw) <= _MOST_TAGS else None
    except InvalidValueError:
        tags = None
    if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
        raise CorruptFileError(f"{place}: tags: expected a JSON list of strings")
    return tuple(tags)


def _time(value: np.float64) -> float | None:
    return None if math.isnan(value) else float(value)


def _times(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values], "<f8")


def _joined(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    offsets = np.zeros(len(parts) + 1, "<i8")
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return _bytes_of(parts), offsets


def _bytes_of(parts: Sequence[bytes]) -> NDArray[Any]:
    return np.frombuffer(b"".join(parts), np.uint8)


def _digests(values: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, 16)
