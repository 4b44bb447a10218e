"""What made a store fail, in a word that a log may hold: never a message, which could repeat content."""

import errno
import sqlite3

__all__ = ["told"]

_DEEPEST = 8


def told(exc: BaseException) -> str:
    """`StoreError (SQLITE_FULL)`: the class of an error, and what SQLite or the system calls its cause."""
    name = type(exc).__name__
    cause: BaseException | None = exc
    for _ in range(_DEEPEST):
        if cause is None:
            break
        code = _code_of(cause)
        if code:
            return f"{name} ({code})"
        cause = cause.__cause__
    return name


def _code_of(exc: BaseException) -> str | None:
    if isinstance(exc, sqlite3.Error):
        return getattr(exc, "sqlite_errorname", None)
    return errno.errorcode.get(exc.errno or 0) if isinstance(exc, OSError) else None
