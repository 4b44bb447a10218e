"""Logs as rows, one at a time: JSON lines or one JSON array, plain or gzip, files or the standard input."""

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from binary_semantic_cache.errors import CorruptFileError, MissingFileError, StoreError

__all__ = ["Line", "lines", "total_bytes"]

_PIECE = 1 << 18
_LONGEST_ROW = 64 * 2**20
_GZIP = b"\x1f\x8b"


class Line(NamedTuple):
    """One row of a log."""

    path: str
    number: int
    """Of the line, or of the element of an array, from 1."""
    row: object
    """What the JSON says; `None` where it is none."""


def total_bytes(paths: list[Path]) -> int | None:
    """Bytes of all files together, as they lie on the disk; `None` with the standard input among them."""
    if any(str(path) == "-" for path in paths):
        return None
    return sum(path.stat().st_size for path in paths if path.is_file())


def lines(path: Path, progress: Callable[[int], object] = lambda n: None) -> Iterator[Line]:
    """The rows of a log in its order; a row that is no JSON is given as `None`.

    Args:
        path: the file; `-` for the standard input.
        progress: called with the bytes read since the last call.

    Raises:
        MissingFileError: there is no file.
        CorruptFileError: it says that it is gzip and is not whole, or a row is longer than 64 MiB.
        StoreError: it cannot be read.
    """
    try:
        if str(path) == "-":
            yield from _rows("-", sys.stdin.buffer, progress)
            return
        with path.open("rb") as file:
            yield from _rows(str(path), file, progress)
    except CorruptFileError:
        raise  # it is an `OSError` too
    except FileNotFoundError as exc:
        raise MissingFileError(f"expected a log, got nothing at {path}") from exc
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise CorruptFileError(f"{path}: not a whole gzip file: {exc}") from exc
    except OSError as exc:
        raise StoreError(f"{path}: {exc.strerror or exc}") from exc


class _Counted:
    """A stream of bytes that tells how many were read."""

    def __init__(self, file: IO[bytes], head: bytes, progress: Callable[[int], object]) -> None:
        self._file, self._head, self._progress = file, head, progress

    def read(self, n: int = -1) -> bytes:
        if self._head:
            found, self._head = self._head, b""
        else:
            found = self._file.read(n)
        self._progress(len(found))
        return found


def _rows(path: str, file: IO[bytes], progress: Callable[[int], object]) -> Iterator[Line]:
    head = file.read(_PIECE)
    counted = cast(IO[bytes], _Counted(file, head, progress))
    # `zlib` rather than `GzipFile`, which wants to go back in what may be a pipe.
    packed = head.startswith(_GZIP)
    pieces = _unpacked(counted) if packed else iter(lambda: counted.read(_PIECE), b"")
    first = next(pieces, b"").removeprefix(b"\xef\xbb\xbf")
    while first and not first.strip():
        first = next(pieces, b"")
    if first.lstrip()[:1] == b"[":
        yield from _elements(path, first, pieces)
        return
    for number, line in enumerate(_split(path, first, pieces), 1):
        if line.strip():
            yield Line(path, number, _parsed(line))


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    unpacker, fed = zlib.decompressobj(31), False
    while piece := file.read(_PIECE):
        while piece:
            fed = True
            while piece:
                yield unpacker.decompress(piece, 4 * _PIECE)
                piece = unpacker.unconsumed_tail
            if unpacker.eof:
                # Several members, one after the other, are one file.
                piece, unpacker, fed = unpacker.unused_data, zlib.decompressobj(31), False
    if fed:
        raise EOFError("it ends too soon")


def _split(path: str, rest: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        rest += piece
        *whole, rest = rest.split(b"\n")
        yield from whole
        if len(rest) > _LONGEST_ROW:
            raise CorruptFileError(
                f"{path}: expected lines of at most {_LONGEST_ROW} bytes, got a longer one"
            )
    yield from rest.split(b"\n")


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _elements(path: str, first: bytes, pieces: Iterator[bytes]) -> Iterator[Line]:
    """The elements of an array, without ever holding more than one and a piece."""
    decoder, number = json.JSONDecoder(), 0
    text, undecoded = _characters(first)
    at = len(text) - len(text.lstrip()) + 1
    # No try before the text is so long: an element over many pieces would else be read again for each.
    wanted = 0
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if text[at : at + 1] == "]":
            return
        end = -1
        row: object = None
        if len(text) - at > wanted:
            try:
                row, end = decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                end = -1
        # A number at the very end may go on in the next piece.
        if -1 < end < len(text):
            number += 1
            yield Line(path, number, row)
            at, wanted = end, 0
            continue
        piece = next(pieces, None)
        if piece is None and wanted:
            wanted = 0
            continue
        if piece is None or len(text) - at > _LONGEST_ROW:
            raise CorruptFileError(f"{path}: expected a whole array, got no end of its element {number + 1}")
        wanted = 2 * (len(text) - at) if end < 0 and len(text) - at > _PIECE else 0
        more, undecoded = _characters(undecoded + piece)
        text, at = text[at:] + more, 0


def _characters(piece: bytes) -> tuple[str, bytes]:
    """The whole characters of a piece, and the bytes of the one that it cuts."""
    for cut in range(min(4, len(piece)) + 1):
        try:
            return piece[: len(piece) - cut].decode(), piece[len(piece) - cut :]
        except UnicodeDecodeError:
            continue
    return piece.decode("utf-8", "replace"), b""
