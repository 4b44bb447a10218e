"""Counts of judged answers by class, kept for all processes of a cache and for its next start."""

import logging
import os
import sqlite3
import threading
from dataclasses import dataclass
from os import PathLike, fspath
from time import monotonic

from binary_semantic_cache.errors import StoreError
from binary_semantic_cache.fork import keep_over_fork

__all__ = ["Ledger", "Tally"]

_logger = logging.getLogger(__name__)

_FRESH_SECONDS = 1.0
"""What another process wrote is seen after so long at most."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS judged (class TEXT PRIMARY KEY, n INTEGER NOT NULL, "
    "wrong INTEGER NOT NULL, stopped INTEGER NOT NULL) WITHOUT ROWID"
)


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of one class."""

    judged: int = 0
    wrong: int = 0
    stopped: bool = False


class Ledger:
    """Adds up in memory, or in an SQLite file that processes share.

    Each call opens the file anew: calls are few, and no connection has to outlive a fork. A file that cannot
    be written leaves the counts of this process, and says so in the log.

    Args:
        path: the file, made if missing; `None` for memory.

    Raises:
        StoreError: the file is there but is none of these.
    """

    def __init__(self, path: str | PathLike[str] | None) -> None:
        self._path = None if path is None else fspath(path)
        self.lock = threading.RLock()
        self._tallies: dict[str, Tally] = {}
        self._read_at = float("-inf")
        keep_over_fork(self)
        if self._path is not None:
            try:
                # Names of classes may tell of tenants: like the cache's own file, for its owner alone.
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
                self._load()
            except (OSError, sqlite3.Error) as exc:
                raise StoreError(f"{self._path}: expected a ledger of judged answers ({exc})") from exc

    def after_fork_in_child(self) -> None:
        """Nothing is under way: whoever wrote let the lock go before the fork."""

    def all(self) -> dict[str, Tally]:
        """The tallies by class."""
        with self.lock:
            if self._path is not None and monotonic() - self._read_at > _FRESH_SECONDS:
                try:
                    self._load()
                except sqlite3.Error as exc:
                    self._failed(exc)
            return dict(self._tallies)

    def add(self, name: str, *, wrong: bool) -> Tally:
        """Counts one answer; returns what is known of its class now."""
        with self.lock:
            old = self._tallies.get(name, Tally())
            self._tallies[name] = Tally(old.judged + 1, old.wrong + wrong, old.stopped)
            self._write(
                "INSERT INTO judged VALUES (?, 1, ?, 0) "
                "ON CONFLICT (class) DO UPDATE SET n = n + 1, wrong = wrong + excluded.wrong",
                (name, int(wrong)),
            )
            return self._tallies[name]

    def stop(self, name: str) -> None:
        """Notes that a class is served no longer."""
        with self.lock:
            old = self._tallies.get(name, Tally())
            self._tallies[name] = Tally(old.judged, old.wrong, stopped=True)
            self._write("UPDATE judged SET stopped = 1 WHERE class = ?", (name,))

    def reset(self, name: str) -> None:
        """Forgets a class: it is served again, and counted from nothing.

        Raises:
            StoreError: the file could not be written; the class stays as it was, in all processes.
        """
        with self.lock:
            if not self._write("DELETE FROM judged WHERE class = ?", (name,)):
                raise StoreError(f"{self._path}: class {name!r} could not be reset; the log says why")
            self._tallies.pop(name, None)

    def _write(self, statement: str, values: tuple[object, ...]) -> bool:
        """Changes the file, and reads what others have counted; whether that worked."""
        if self._path is None:
            return True
        try:
            connection = self._opened()
            try:
                with connection:
                    connection.execute(statement, values)
                self._read(connection)
            finally:
                connection.close()
        except sqlite3.Error as exc:
            self._failed(exc)
            return False
        return True

    def _load(self) -> None:
        connection = self._opened()
        try:
            self._read(connection)
        finally:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        assert self._path is not None
        connection = sqlite3.connect(self._path, timeout=1.0)
        connection.execute(_TABLE)
        return connection

    def _read(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT class, n, wrong, stopped FROM judged").fetchall()
        self._tallies = {name: Tally(n, wrong, bool(stopped)) for name, n, wrong, stopped in rows}
        self._read_at = monotonic()

    def _failed(self, exc: sqlite3.Error) -> None:
        self._read_at = monotonic()
        _logger.warning("the ledger of judged answers failed: %s", type(exc).__name__)
