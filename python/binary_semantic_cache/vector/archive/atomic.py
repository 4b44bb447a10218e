"""Replacing a file whole: readers see the old file or the new one, never a part of either."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from binary_semantic_cache.errors import StoreError

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A new file, open for writing, that takes the place of `path` when the block ends well.

    It is written in the same folder (a rename works inside one file system only), readable by its owner
    alone, and on disk before the rename; the rename is on disk before this returns. A map of the old file
    stays intact, since that file is never written to. On any failure the new file is removed and the old one
    stays.

    Raises:
        StoreError: the operating system refused (disk full, folder missing or read-only); `errno` says why.
    """
    target = Path(os.fsdecode(path))
    try:
        descriptor, name = tempfile.mkstemp(prefix=".bsc-", suffix=".tmp", dir=target.parent)
    except OSError as exc:
        raise StoreError(exc.errno, exc.strerror, str(target)) from exc
    temporary = Path(name)
    file = os.fdopen(descriptor, "wb")
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.close()
        temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException as exc:
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            file.close()
        temporary.unlink(missing_ok=True)
        if isinstance(exc, OSError) and not isinstance(exc, StoreError):
            raise StoreError(exc.errno, exc.strerror, str(target)) from exc
        raise


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders; NTFS journals the rename by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
