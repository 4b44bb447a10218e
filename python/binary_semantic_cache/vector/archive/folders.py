"""Folders of the published package, its formats 2 and 3: columns in plain files, responses in a pickle.

    2   header.json, codes.bin uint64 (n, n_words), created_at.bin float64 (n,), access_count.bin,
        responses.pkl
    3   header.json, entries.bin (n records: code, created_at and last_accessed as uint32 seconds since
        2020-01-01 UTC, access count), responses.pkl

All numbers are little-endian. The header names a SHA-256 of each file. The pickle, a list of plain data, is
read as those of Phase 1 are: see `phase1.py`.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from binary_semantic_cache.errors import CorruptFileError, FormatVersionError, MissingFileError, StoreError
from binary_semantic_cache.vector.archive.phase1 import read_list
from binary_semantic_cache.vector.archive.responses import NotPlainError

__all__ = ["Answer", "read_folder"]

_MOST_HEADER = 64 * 1024
_MOST_ENTRIES = 2**31 - 1
_MOST_WORDS = 1 << 16
_EPOCH_3 = 1_577_836_800


class Answer(NamedTuple):
    """A response, and when it was stored."""

    created_at: float
    """Seconds since 1970."""
    response: object
    """Plain data."""


def read_folder(folder: Path) -> list[Answer]:
    """The answers of a folder, oldest first as they lie there; their codes are left where they are.

    Raises:
        MissingFileError: a file of it is not there.
        CorruptFileError: a file is damaged, hostile, or not what the header says.
        FormatVersionError: of another version than 2 and 3.
        StoreError: a file could not be read.
    """
    header = _header(folder)
    version, n = header.get("version"), header.get("n_entries")
    if type(version) is not int:
        raise _corrupt(folder, "version: expected a whole number")
    if version not in (2, 3):
        raise FormatVersionError(f"{folder}: version: expected 2 or 3, got {str(version)[:20]}")
    if type(n) is not int or not 0 <= n <= _MOST_ENTRIES:
        raise _corrupt(folder, f"n_entries: expected 0 to {_MOST_ENTRIES}")
    times = _times_2(folder, header, n) if version == 2 else _times_3(folder, header, n)
    if not (np.isfinite(times).all() and (times >= 0).all()):
        raise CorruptFileError(f"{folder}: expected times that are finite and not negative")
    sums = header.get("checksums") if version == 2 else {"responses": header.get("responses_checksum")}
    data = _read(folder, "responses.pkl", None, _named(sums, "responses"))
    try:
        responses = read_list(data, n)
    except NotPlainError as exc:
        raise CorruptFileError(f"{folder / 'responses.pkl'}: expected plain data, got {exc}") from exc
    return [Answer(float(at), response) for at, response in zip(times, responses, strict=True)]


def _times_2(folder: Path, header: Mapping[str, Any], n: int) -> Any:
    sums = header.get("checksums")
    return np.frombuffer(_read(folder, "created_at.bin", 8 * n, _named(sums, "created_at")), "<f8")


def _times_3(folder: Path, header: Mapping[str, Any], n: int) -> Any:
    bits = header.get("code_bits")
    if type(bits) is not int or not 1 <= bits <= 64 * _MOST_WORDS or header.get("endian") != "little":
        raise _corrupt(folder, "code_bits or endian: not as the package writes them")
    code = ("code", "<u8", ((bits + 63) // 64,))
    record = np.dtype([code, ("created_at", "<u4"), ("last_accessed", "<u4"), ("access_count", "<u4")])
    if header.get("entry_size") != record.itemsize:
        raise _corrupt(folder, f"entry_size: expected {record.itemsize}")
    raw = _read(folder, "entries.bin", record.itemsize * n, header.get("entries_checksum"))
    return np.frombuffer(raw, record)["created_at"] + np.float64(_EPOCH_3)


def _header(folder: Path) -> Mapping[str, Any]:
    raw = _read(folder, "header.json", None, None, most=_MOST_HEADER)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise _corrupt(folder, "expected a JSON object")
    return header


def _named(sums: object, name: str) -> object:
    return sums.get(name) if isinstance(sums, dict) else None


def _read(folder: Path, name: str, size: int | None, digest: object, most: int | None = None) -> bytes:
    path = folder / name
    try:
        if not path.is_file():
            raise MissingFileError(f"expected a file at {path}, got none")
        got = path.stat().st_size
        if (size is not None and got != size) or (most is not None and got > most):
            raise CorruptFileError(f"{path}: expected {size if most is None else most} bytes, got {got}")
        raw = path.read_bytes()
    except OSError as exc:
        if isinstance(exc, StoreError):
            raise
        raise StoreError(f"{path} could not be read: {exc.strerror}") from exc
    if most is None and sha256(raw).hexdigest() != digest:
        raise CorruptFileError(f"{path}: not the checksum that the header names")
    return raw


def _corrupt(folder: Path, reason: str) -> CorruptFileError:
    return CorruptFileError(f"{folder / 'header.json'}: {reason}")
