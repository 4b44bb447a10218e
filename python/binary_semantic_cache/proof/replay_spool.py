"""What a replay may need again of what was put: on the disk, so that memory holds the index alone."""

import mmap
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgpack

__all__ = ["Put", "Spool", "VectorRows"]

_MOST_ANSWER = 4000
"""Characters of an answer that are compared with another; of a longer one, its beginning."""


class Put(NamedTuple):
    """What is known of a stored answer."""

    text: str
    """The prompt's text."""
    answer: str | None
    truth: str | None
    time: float


class Spool:
    """Records in a file that is only appended to; its offsets grow, so they also tell which is newer.

    Args:
        folder: where the file lies; it has no name and is gone when the process is.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        self._end = 0
        self._unwritten: dict[int, bytes] = {}
        self._n_unwritten = 0

    def add(self, put: Put) -> int:
        """Appends; returns the offset."""
        answer = None if put.answer is None else put.answer[:_MOST_ANSWER]
        packed = msgpack.packb((put.text, answer, put.truth, put.time))
        offset, framed = self._end, len(packed).to_bytes(4, "little") + packed
        self._unwritten[offset] = framed
        self._end += len(framed)
        self._n_unwritten += len(framed)
        if self._n_unwritten > 1 << 20:
            self._file.seek(next(iter(self._unwritten)))
            self._file.write(b"".join(self._unwritten.values()))
            self._file.flush()
            self._unwritten.clear()
            self._n_unwritten = 0
        return offset

    def read(self, offset: int) -> Put:
        """What was appended at `offset`."""
        framed = self._unwritten.get(offset)
        if framed is None:
            self._file.seek(offset)
            n = int.from_bytes(self._file.read(4), "little")
            return Put(*msgpack.unpackb(self._file.read(n)))
        return Put(*msgpack.unpackb(framed[4:]))

    def close(self) -> None:
        """Lets the file go."""
        self._file.close()


class VectorRows:
    """Packed vectors by row, mapped from a file: the system keeps in memory what it has room for.

    Args:
        folder: where the file lies; it has no name.
        n_bytes: of one vector.
    """

    def __init__(self, folder: Path, n_bytes: int) -> None:
        self._n = n_bytes
        self._rows = 1024
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        self._file.truncate(self._rows * n_bytes)
        self._map = mmap.mmap(self._file.fileno(), self._rows * n_bytes)

    def __getitem__(self, row: int) -> bytes:
        return self._map[row * self._n : (row + 1) * self._n]

    def __setitem__(self, row: int, vector: bytes) -> None:
        if row >= self._rows:
            self._map.close()
            self._rows = 2 * max(row, self._rows)
            self._file.truncate(self._rows * self._n)
            self._map = mmap.mmap(self._file.fileno(), self._rows * self._n)
        self._map[row * self._n : (row + 1) * self._n] = vector

    def close(self) -> None:
        """Lets the file go."""
        self._map.close()
        self._file.close()
