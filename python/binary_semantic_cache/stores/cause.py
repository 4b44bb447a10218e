"""What made a store fail, in a word that a log may hold: never a message, which could repeat content."""

import errno
import sqlite3

__all__ = ["told"]


def told(exc: BaseException) -> str:
    """`StoreError (SQLITE_FULL)`: the class of an error, and what SQLite or the system calls its cause."""
    name, seen = type(exc).__name__, 0
    cause: BaseException | None = exc.__cause__ or exc
    while cause is not None and seen < 8:
        if isinstance(cause, sqlite3.Error) and (code := getattr(cause, "sqlite_errorname", None)):
            return f"{name} ({code})"
        if isinstance(cause, OSError) and (code := errno.errorcode.get(cause.errno or 0)):
            return f"{name} ({code})"
        cause, seen = cause.__cause__, seen + 1
    return name
