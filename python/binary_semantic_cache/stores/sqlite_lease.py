"""Who does the upkeep of a SQLite file: one process at a time, by a lease that stands in the file."""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import msgpack

from binary_semantic_cache.errors import StoreError
from binary_semantic_cache.stores.sqlite_file import SQLiteFile

__all__ = ["LEASE_SECONDS", "Lease", "UpkeepTakenError", "held_by_another"]

LEASE_SECONDS = 10.0
"""From the last step of the holder on; a step takes a fraction of a second."""
_SKEW_SECONDS = 1.0
_LOOK_EVERY_SECONDS = 0.01
_FIND = "SELECT value FROM meta WHERE name = 'upkeep'"
_TAKE = "INSERT OR REPLACE INTO meta VALUES ('upkeep', ?)"
_RELEASE = "DELETE FROM meta WHERE name = 'upkeep'"


class UpkeepTakenError(StoreError):
    """Another process, or another thread, is at the upkeep."""


class Lease:
    """Held for one run of upkeep. Each of its steps is a transaction that begins with `step`.

    A lease protects from work done twice, not from damage: a step is right whoever runs it, so one that was
    taken from a holder that is only slow, by a clock that was set or after a long pause, costs nothing but
    the rest of that holder's run, which ends at its next step.

    Nothing is kept in the process: a thread, a forked child and another process are equals, and an exception
    at any place leaves at most a row that runs out.
    """

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file

    @contextmanager
    def held(self, wait_seconds: float) -> Iterator["Lease.Holding"]:
        """Takes the lease, waits for it if another has it, and gives it back at the end.

        Raises:
            UpkeepTakenError: another had it all the time.
        """
        give_up = monotonic() + wait_seconds
        holding = self.Holding(self._file)
        while not holding.take():
            if monotonic() >= give_up:
                raise UpkeepTakenError(
                    f"{self._file.path} is being packed by another process; try again later"
                )
            sleep(_LOOK_EVERY_SECONDS)
        try:
            yield holding
        finally:
            # What keeps the row from being deleted, a full disk say, has been raised by a step; it runs out.
            with suppress(StoreError):
                holding.release()

    class Holding:
        """One run of upkeep."""

        def __init__(self, file: SQLiteFile) -> None:
            self._file = file
            self._token = secrets.token_bytes(8)
            # In a child that a signal handler forked in the middle of a run, the run is not its own.
            self._process = os.getpid()

        def take(self) -> bool:
            """Takes the lease if nobody has it."""
            with self._file.lock, self._file.reading() as db:
                if held_by_another(db):
                    return False
            with self._file.lock, self._file.writing() as db:
                if held_by_another(db):
                    return False
                db.execute(_TAKE, (_row(self._token),))
                return True

        @contextmanager
        def step(self) -> Iterator[sqlite3.Connection]:
            """A transaction, with the file's lock held; the lease begins anew.

            Raises:
                UpkeepTakenError: another has taken the lease over.
            """
            with self._file.writing() as db:
                if not self._is_held(db):
                    raise UpkeepTakenError(f"{self._file.path} is being packed by another process meanwhile")
                db.execute(_TAKE, (_row(self._token),))
                yield db

        def release(self) -> None:
            """Gives the lease back, if it is still held."""
            with self._file.lock, self._file.writing() as db:
                if self._is_held(db):
                    db.execute(_RELEASE)

        def _is_held(self, db: sqlite3.Connection) -> bool:
            holder = _holder(db)
            return holder is not None and holder[0] == self._token and self._process == os.getpid()


def held_by_another(db: sqlite3.Connection) -> bool:
    """Whether somebody has the lease: it has not run out, and the process that took it is not known dead."""
    holder = _holder(db)
    if holder is None:
        return False
    _, until, place, process, began = holder
    # One that ends later than any that begins now was taken before the clock was set back: it has run out.
    if not 0.0 < until - time() <= LEASE_SECONDS + _SKEW_SECONDS:
        return False
    here = _place()
    return place != here or here == "" or _began(process) == began


def _row(token: bytes) -> bytes:
    process = os.getpid()
    row: bytes = msgpack.packb((token, time() + LEASE_SECONDS, _place(), process, _began(process)))
    return row


def _holder(db: sqlite3.Connection) -> tuple[bytes, float, str, int, str | None] | None:
    """What the row says; `None` for none, and for one that was damaged."""
    row = db.execute(_FIND).fetchone()
    if row is None or type(row[0]) is not bytes:
        return None
    try:
        values: Any = msgpack.unpackb(row[0])
    except (ValueError, msgpack.UnpackException):
        return None
    kinds = [type(value) for value in values] if type(values) is list else []
    if kinds not in ([bytes, float, str, int, str], [bytes, float, str, int, type(None)]):
        return None
    return tuple(values)


def _place() -> str:
    """Where numbers of processes mean the same; empty if that is not known.

    Containers that share a file each have numbers of their own. Source: pid_namespaces(7).
    """
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _began(process: int) -> str | None:
    """When a process began, which tells it from a later one of its number; `None` if it does not run.

    Source: proc_pid_stat(5), fields 3 (`Z` and `X` are dead) and 22.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    except (OSError, IndexError, UnicodeDecodeError):
        return None
