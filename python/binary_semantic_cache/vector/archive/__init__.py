"""A cache's content in one file: saved whole, loaded whole or mapped.

The file is a `.npz` that `numpy.load(path, allow_pickle=False)` reads. Its members are stored, not deflated,
and their data starts on 64-byte boundaries, so that they can be mapped. Rows go from least to most recently
used.

    codes             uint64 (n, n_words)   the three members that Phase 1 files have, too
    created_at        float64 (n,)          seconds since 1970
    access_count      int32 (n,)
    last_accessed     float64 (n,)
    lru_order         int32 (n,)            rows from least to most recently used: 0 .. n-1 as written here
    response_offsets  int64 (n + 1,)        response i is bytes offsets[i] .. offsets[i + 1] of
    responses         uint8 (any,)          msgpack, one after another
    header            uint8 (any,)          JSON: format, version, sizes, fingerprint of the encoder

A Phase 1 file has no `header`, and `responses` is a pickled object array (see `phase1.py`). It names no
dimension and no seed, so of its fingerprint only the number of words can be checked: the caller answers for
the encoder.
"""

import os
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.vector.archive.atomic import replacing
from binary_semantic_cache.vector.archive.contents import (
    Contents,
    check_values,
    count_rows,
    unsavable,
)
from binary_semantic_cache.vector.archive.header import check_header, write_header
from binary_semantic_cache.vector.archive.npz import NpzReader, open_npz
from binary_semantic_cache.vector.archive.phase1 import load_phase1, save_phase1
from binary_semantic_cache.vector.archive.responses import NotPlainError, Responses, pack
from binary_semantic_cache.vector.encoder import EncoderIdentity

__all__ = ["Contents", "load", "save", "save_phase1"]

_ALIGNMENT: Final = 64
"""A cache line, and the widest vector register."""

_ALIGNMENT_FIELD: Final = 0xD935
"""Extra field whose only content is padding. Source: Android's zipalign; unknown fields are skipped by every
reader."""

_LOCAL_HEADER_SIZE: Final = 30
_ZIP64_FROM: Final = 1 << 30
"""Members from this size on carry 64-bit sizes; zipfile needs them from 2 GiB."""

_SPOOL_BYTES: Final = 64 * 1024 * 1024
"""Packed responses beyond this wait in a temporary file, so that saving takes little memory."""


def save(
    path: str | os.PathLike[str],
    contents: Contents,
    encoder: EncoderIdentity,
    *,
    names: Sequence[int] | None = None,
) -> None:
    """Writes `contents` to `path`, which changes whole or not at all.

    Args:
        path: a file to make or replace; readable by its owner alone.
        contents: what to write. Borrowed.
        encoder: what made the codes; its fingerprint goes into the file.
        names: the entries' ids, for the message of `UnsavableResponseError`; rows are named otherwise.

    Raises:
        UnsavableResponseError: a response is no plain data (`None`, bool, int, float, str, bytes, lists and
            dicts of these). The file is as before.
        DimensionError: the columns disagree about the number of rows, or with the encoder.
        StoreError: the file could not be written; `errno` says why. The file is as before.
    """
    n = count_rows(contents, encoder)
    folder = str(Path(os.fsdecode(path)).parent)
    with replacing(path) as file, tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=folder) as spool:
        offsets = np.zeros(n + 1, np.int64)
        for row, response in enumerate(contents.responses):
            try:
                packed = pack(response)
            except NotPlainError as exc:
                raise unsavable(row, names, exc) from exc
            offsets[row + 1] = spool.write(packed)
        np.cumsum(offsets, out=offsets)
        spool.seek(0)
        header = np.frombuffer(write_header(n, encoder), np.uint8)
        with zipfile.ZipFile(file, "w") as archive:
            _write_array(archive, file, "codes.npy", contents.codes)
            _write_array(archive, file, "created_at.npy", contents.created_at)
            _write_array(archive, file, "access_count.npy", contents.access_count)
            _write_array(archive, file, "last_accessed.npy", contents.last_accessed)
            _write_array(archive, file, "lru_order.npy", np.arange(n, dtype=np.int32))
            _write_array(archive, file, "response_offsets.npy", offsets)
            blob_shape = (int(offsets[-1]),)
            _write_chunks(archive, file, "responses.npy", np.dtype(np.uint8), blob_shape, _chunks(spool))
            _write_array(archive, file, "header.npy", header)


def load(
    path: str | os.PathLike[str],
    encoder: EncoderIdentity,
    *,
    mmap: bool = False,
    verify: bool = True,
    max_entries: int | None = None,
) -> Contents:
    """The content of a file that `save`, `save_phase1` or Phase 1 wrote.

    Sizes, types and the fingerprint are always checked, before anything large is allocated.

    Args:
        path: the file.
        encoder: what the cache makes codes with; must be the one that made the file's.
        mmap: map the arrays copy-on-write instead of reading them. The file may be replaced meanwhile, as
            `save` does, but must not be truncated in place: the operating system ends a process that reads
            what is gone. Phase 1 files are read into memory all the same, as their arrays are not aligned.
        verify: check every checksum and the range of every value. Without, damage inside the data shows as
            wrong values, or as a `CorruptFileError` when a response is decoded, never as a crash.
        max_entries: keep this many of the most recently used entries; all when `None`.

    Raises:
        MissingFileError: there is no such file.
        StoreError: it is no regular file, or could not be read.
        CorruptFileError: the file is damaged, hostile or no archive.
        FormatVersionError: it was written in a format that this version does not read.
        FingerprintError: its codes were made with another dimension, number of bits, seed or projection.
    """
    if max_entries is not None and max_entries < 0:
        raise InvalidValueError(f"max_entries: expected 0 or more, got {max_entries}")
    with open_npz(path, map_file=mmap) as npz:
        if "header.npy" in npz:
            return _load(npz, encoder, verify=verify, max_entries=max_entries)
        return load_phase1(npz, encoder, verify=verify, max_entries=max_entries)


def _load(npz: NpzReader, encoder: EncoderIdentity, *, verify: bool, max_entries: int | None) -> Contents:
    n = check_header(npz, encoder)
    members = (
        npz.find("codes.npy", "<u8", (n, encoder.n_words)),
        npz.find("created_at.npy", "<f8", (n,)),
        npz.find("access_count.npy", "<i4", (n,)),
        npz.find("last_accessed.npy", "<f8", (n,)),
        npz.find("lru_order.npy", "<i4", (n,)),
        npz.find("response_offsets.npy", "<i8", (n + 1,)),
        npz.find("responses.npy", "|u1", (None,)),
    )
    codes, created_at, access_count, last_accessed, order, offsets, blob = (
        npz.read(member, verify=verify) for member in members
    )
    if offsets[0] != 0 or offsets[-1] != len(blob):
        raise npz.corrupt(
            f"response_offsets.npy: expected 0 to {len(blob)}, got {int(offsets[0])} to {int(offsets[-1])}"
        )
    if verify:
        check_values(npz, encoder, codes, (created_at, last_accessed), access_count)
        if (offsets[1:] < offsets[:-1]).any():
            raise npz.corrupt("response_offsets.npy: offsets go backwards")
    first = 0 if max_entries is None else max(0, n - max_entries)
    rows = _permutation(npz, order)
    if rows is None:
        responses = Responses(npz.path, offsets[first:], blob)
        kept: slice | NDArray[np.int32] = slice(first, None)
    else:
        kept = rows[first:]
        responses = Responses(npz.path, offsets, blob, kept)
    return Contents(codes[kept], created_at[kept], last_accessed[kept], access_count[kept], responses)


def _write_array(archive: zipfile.ZipFile, file: BinaryIO, name: str, array: NDArray[Any]) -> None:
    """Appends `array` to `archive`, which writes to `file`; little-endian, C order, aligned."""
    dtype = array.dtype.newbyteorder("<")
    raw = np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8)
    _write_chunks(archive, file, name, dtype, array.shape, [raw.data])


def _write_chunks(
    archive: zipfile.ZipFile,
    file: BinaryIO,
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    chunks: Iterable[bytes | memoryview],
) -> None:
    """As `_write_array`, of data that comes in pieces; together they must fill `shape`."""
    size = prod(shape) * dtype.itemsize
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o600 << 16
    zip64 = size >= _ZIP64_FROM
    # NumPy pads its header to a multiple of 64 bytes, so the data is aligned when the member is.
    unpadded = file.tell() + _LOCAL_HEADER_SIZE + len(name.encode()) + 6 + (20 if zip64 else 0)
    padding = -unpadded % _ALIGNMENT
    info.extra = struct.pack("<3H", _ALIGNMENT_FIELD, 2 + padding, _ALIGNMENT) + bytes(padding)
    with archive.open(info, "w", force_zip64=zip64) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for chunk in chunks:
            member.write(chunk)


def _permutation(npz: NpzReader, order: NDArray[np.int32]) -> NDArray[np.int32] | None:
    """`order`, checked to hold each row once; `None` when it is 0, 1, 2 ..., as `save` writes it."""
    n = len(order)
    if np.array_equal(order, np.arange(n, dtype=np.int32)):
        return None
    seen = np.zeros(n, bool)
    if order.min() >= 0 and order.max() < n:
        seen[order] = True
    if not seen.all():
        raise npz.corrupt(f"lru_order.npy: expected each of {n} rows once")
    return order


def _chunks(file: IO[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    while chunk := file.read(size):
        yield chunk
