"""Reading `.npz` files without trusting a word of them, or mapping them.

A `.npz` is a zip of `.npy` members. NumPy's own reader cannot map members, allocates what a header asks for,
and its header parser evaluates Python literals. This one reads stored members only, so nothing can unfold,
and compares every size with the file before it allocates.

Source: PKWARE APPNOTE 6.3.9 (zip); NumPy enhancement proposal 1 (npy).
"""

import mmap
import os
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import crc32
from binary_semantic_cache.errors import CorruptFileError, MissingFileError, StoreError

__all__ = ["Member", "NpzReader", "open_npz"]

_ZIP64_FIELD: Final = 0x0001

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")

_MAX_DIRECTORY: Final = 64 * 1024
"""Bytes of central directory; ours takes under 1,500."""

_NPY_PREFIX: Final = struct.Struct("<6s2BH")
# NumPy writes no other form for plain arrays, so no literal parser is needed. Twelve digits: 8 TB of uint64.
_NPY_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|=][a-zA-Z]\d{0,3})', 'fortran_order': (True|False), "
    rb"'shape': \((|\d{1,12},|\d{1,12}(?:, \d{1,12})+)\), \} *\n"
)


@dataclass(frozen=True, slots=True)
class Member:
    """Where one array lies in the file; its place, type and size are checked, its bytes are not."""

    name: str
    start: int
    header: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    crc: int

    @property
    def data_start(self) -> int:
        """Where the array's own bytes start, in bytes from the start of the file."""
        return self.start + len(self.header)

    @property
    def data_size(self) -> int:
        """The array's size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


class NpzReader:
    """The members of one open file. Made by `open_npz`."""

    def __init__(self, file: BinaryIO, path: str, *, map_file: bool) -> None:
        self.path = path
        self._file = file
        size = file.seek(0, os.SEEK_END)
        self._directory_start = self._check_end_record(size)
        try:
            with zipfile.ZipFile(file) as directory:
                infos = directory.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as exc:
            raise self.corrupt(f"unreadable zip directory: {exc}") from exc
        self._infos = {info.orig_filename: info for info in infos}
        if len(self._infos) != len(infos):
            raise self.corrupt("two members of one name")
        self._claimed: list[range] = []
        self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) if map_file else None

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def corrupt(self, reason: str) -> CorruptFileError:
        """The error that says this file is damaged, to be raised by the caller."""
        return CorruptFileError(f"{self.path}: {reason}")

    def find(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> Member:
        """The member `name`, after checking all that can be checked without reading its data.

        Args:
            name: with the `.npy`.
            dtype: as NumPy writes it, such as `<u8`; no other is admitted.
            shape: `None` where any length is admitted.

        Raises:
            CorruptFileError: there is no such member, or the zip or npy headers contradict the file, each
                other, or what was asked for.
        """
        if name not in self._infos:
            raise self.corrupt(f"no member {name}")
        info = self._infos[name]
        start = self._data_start(info)
        header, found, found_shape = self._npy_header(name, start, info.file_size)
        if found != dtype:
            raise self.corrupt(f"{name}: expected dtype {dtype}, got {found}")
        if len(found_shape) != len(shape) or any(
            want not in (None, got) for want, got in zip(shape, found_shape, strict=True)
        ):
            wanted = tuple("any" if length is None else length for length in shape)
            raise self.corrupt(f"{name}: expected shape {wanted}, got {found_shape}")
        kind = np.dtype(dtype)
        # The size of an object array says nothing: its data is a pickle of any length.
        if not kind.hasobject and len(header) + prod(found_shape) * kind.itemsize != info.file_size:
            raise self.corrupt(f"{name}: shape {found_shape} does not fill {info.file_size} bytes exactly")
        return Member(name, start, header, kind, found_shape, info.CRC)

    def read(self, member: Member, *, verify: bool) -> NDArray[Any]:
        """The array, writable: a private map of the file if it was opened so, else a copy in memory.

        Raises:
            CorruptFileError: `verify` is set and the member's CRC-32 does not match.
        """
        if self._map is not None and member.data_start % member.dtype.itemsize == 0:
            raw = np.frombuffer(self._map, np.uint8, member.data_size, member.data_start)
        else:
            raw = self._read_bytes(member.name, member.data_start, member.data_size)
        if verify:
            self._verify(member, raw)
        return raw.view(member.dtype).reshape(member.shape)

    def read_pickle(self, member: Member, *, verify: bool) -> NDArray[np.uint8]:
        """The bytes of an object array's pickle, not interpreted."""
        size = self._infos[member.name].file_size - len(member.header)
        raw = self._read_bytes(member.name, member.data_start, size)
        if verify:
            self._verify(member, raw)
        return raw

    def _verify(self, member: Member, raw: NDArray[np.uint8]) -> None:
        got = crc32(raw, crc32(np.frombuffer(member.header, np.uint8)))
        if got != member.crc:
            raise self.corrupt(f"{member.name}: checksum: expected {member.crc:08x}, got {got:08x}")

    def _read_bytes(self, name: str, start: int, size: int) -> NDArray[np.uint8]:
        raw = np.empty(size, np.uint8)
        self._file.seek(start)
        if self._file.readinto(raw.data) != size:  # type: ignore[attr-defined]
            raise self.corrupt(f"{name}: the file became shorter while it was read")
        return raw

    def _check_end_record(self, size: int) -> int:
        """Where the central directory starts; its size is checked before zipfile reads it whole."""
        tail_size = min(size, _END64.size + _LOCATOR64.size + _END.size)
        self._file.seek(size - tail_size)
        tail = self._file.read(tail_size)
        end = tail[-_END.size :]
        # Neither NumPy nor this module writes a comment, so the end record is the end.
        if len(end) < _END.size or end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
            raise self.corrupt("no zip end record at its end: truncated, or not an archive")
        *_, directory_size, directory_start, _ = _END.unpack(end)
        directory_end = size - _END.size
        if tail[-_END.size - _LOCATOR64.size :][:4] == b"PK\6\7":
            if tail[:4] != b"PK\6\6" or len(tail) < _END64.size + _LOCATOR64.size + _END.size:
                raise self.corrupt("zip64 end record is missing")
            *_, directory_size, directory_start = _END64.unpack(tail[: _END64.size])
            directory_end -= _END64.size + _LOCATOR64.size
        if directory_size > _MAX_DIRECTORY or directory_start + directory_size != directory_end:
            raise self.corrupt(
                f"zip directory: {directory_size} bytes at {directory_start} do not end at {directory_end}"
            )
        return int(directory_start)

    def _data_start(self, info: zipfile.ZipInfo) -> int:
        """Where the member's bytes start, once its local header agrees with the directory."""
        name = info.orig_filename
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise self.corrupt(f"{name}: is compressed; only stored members are read")
        if info.flag_bits & ~0x800:
            raise self.corrupt(f"{name}: zip flags {info.flag_bits:#x} mean encrypted or streamed")
        local = self._read_small(name, info.header_offset, _LOCAL.size)
        magic, _, flags, method, _, _, crc, packed, unpacked, name_size, extra_size = _LOCAL.unpack(local)
        if magic != b"PK\3\4":
            raise self.corrupt(f"{name}: no local header at {info.header_offset}")
        names = self._read_small(name, info.header_offset + _LOCAL.size, name_size + extra_size)
        if packed == unpacked == 0xFFFFFFFF:
            unpacked, packed = _zip64_sizes(names[name_size:])
        sizes = (info.file_size, info.file_size)
        expected = (name.encode(), info.flag_bits, info.compress_type, info.CRC, *sizes)
        if (names[:name_size], flags, method, crc, packed, unpacked) != expected:
            raise self.corrupt(f"{name}: local header and directory disagree")
        start: int = info.header_offset + _LOCAL.size + name_size + extra_size
        span = range(info.header_offset, start + info.file_size)
        if span.stop > self._directory_start:
            raise self.corrupt(f"{name}: reaches beyond the end of the data")
        if any(span.start < other.stop and other.start < span.stop for other in self._claimed):
            raise self.corrupt(f"{name}: overlaps another member")
        self._claimed.append(span)
        return start

    def _npy_header(self, name: str, start: int, size: int) -> tuple[bytes, str, tuple[int, ...]]:
        prefix = self._read_small(name, start, min(size, _NPY_PREFIX.size))
        if len(prefix) < _NPY_PREFIX.size:
            raise self.corrupt(f"{name}: too short for an array")
        magic, major, minor, length = _NPY_PREFIX.unpack(prefix)
        if (magic, major, minor) != (b"\x93NUMPY", 1, 0) or _NPY_PREFIX.size + length > size:
            raise self.corrupt(f"{name}: no npy 1.0 array")
        text = self._read_small(name, start + _NPY_PREFIX.size, length)
        match = _NPY_HEADER.fullmatch(text)
        if match is None:
            raise self.corrupt(f"{name}: unknown npy header {text[:100]!r}")
        descr, fortran, shape = match.groups()
        if fortran == b"True":
            raise self.corrupt(f"{name}: expected C order, got Fortran order")
        return prefix + text, descr.decode(), tuple(int(part) for part in shape.split(b",") if part)

    def _read_small(self, name: str, start: int, size: int) -> bytes:
        if not 0 <= start <= start + size <= self._directory_start:
            raise self.corrupt(f"{name}: reaches beyond the end of the data")
        self._file.seek(start)
        data = self._file.read(size)
        if len(data) != size:
            raise self.corrupt(f"{name}: the file became shorter while it was read")
        return data


def _zip64_sizes(extra: bytes) -> tuple[int, int]:
    """The sizes, uncompressed and compressed, in a local header's extra fields; -1 when not there."""
    position = 0
    while position + 4 <= len(extra):
        field, length = struct.unpack_from("<2H", extra, position)
        if field == _ZIP64_FIELD and length >= 16 and position + 20 <= len(extra):
            unpacked, packed = struct.unpack_from("<2Q", extra, position + 4)
            return int(unpacked), int(packed)
        position += 4 + length
    return -1, -1


def _check_regular(name: str) -> None:
    # Asked before opening: that would wait for the writer of a pipe.
    if not stat.S_ISREG(Path(name).stat().st_mode):
        raise StoreError(f"{name}: expected a regular file, got a folder, pipe or device")


@contextmanager
def open_npz(path: str | os.PathLike[str], *, map_file: bool = False) -> Iterator[NpzReader]:
    """A reader of the file; arrays that it gave out stay valid after the block.

    Raises:
        MissingFileError: there is no such file.
        StoreError: the operating system refused (`errno` says why), or `path` is no regular file.
        CorruptFileError: it is no zip file, or a damaged one.
    """
    name = os.fsdecode(path)
    try:
        _check_regular(name)
        with Path(name).open("rb") as file:
            yield NpzReader(file, name, map_file=map_file)
    except StoreError:
        raise
    except FileNotFoundError as exc:
        raise MissingFileError(exc.errno, exc.strerror, name) from exc
    except OSError as exc:
        raise StoreError(exc.errno, exc.strerror, name) from exc
