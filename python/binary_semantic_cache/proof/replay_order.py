"""Requests in the order of their times, though a log may keep them in another."""

import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from binary_semantic_cache.proof.replay_formats import Logged
from binary_semantic_cache.proof.replay_lines import Line

__all__ = ["WINDOW", "Ordered", "SortedLines", "in_order"]

WINDOW = 1024
"""Requests that wait for earlier ones: most logs write a request when its answer is there, so that those that
ran at the same time are out of order."""


@dataclass(slots=True)
class Ordered:
    """What was found out on the way."""

    late: int = 0
    """Requests that came after one that they precede by time, too late to be put before it."""
    timeless: int = 0
    """Requests without a time: they keep their place in the log."""


def in_order(
    requests: Iterable[Logged], found: Ordered, window: int = WINDOW
) -> Iterator[tuple[float, Logged]]:
    """The requests with the time each counts as made, which never goes back.

    Args:
        requests: in the log's order.
        found: counts what could not be put in order.
        window: how many are held back.
    """
    waiting: list[tuple[float, int, Logged]] = []
    latest_read = latest = float("-inf")
    for number, request in enumerate(requests):
        if request.time is None:
            found.timeless += 1
        # Without a time it stays behind the one before it.
        time = request.time if request.time is not None else max(latest_read, 0.0)
        latest_read = max(latest_read, time) if request.time is None else time
        heapq.heappush(waiting, (time, number, request))
        if len(waiting) > window:
            time, _, first = heapq.heappop(waiting)
            found.late += time < latest
            latest = max(latest, time)
            yield latest, first
    while waiting:
        time, _, first = heapq.heappop(waiting)
        found.late += time < latest
        latest = max(latest, time)
        yield latest, first


class SortedLines:
    """Rows sorted by time on the disk, for logs that run backwards or lie in several files.

    Args:
        folder: where to keep them meanwhile; as much room as the logs take.
    """

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "sorted.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE line (time REAL, path TEXT, number INTEGER, row TEXT)")
        self._db.execute("BEGIN")
        self._last = 0.0

    def add(self, line: Line, time: float | None) -> None:
        """Takes a row; one without a time goes behind the one before it."""
        self._last = self._last if time is None else time
        self._db.execute(
            "INSERT INTO line VALUES (?, ?, ?, ?)", (self._last, line.path, line.number, json.dumps(line.row))
        )

    def __iter__(self) -> Iterator[Line]:
        """The rows by time, those of one time as they came."""
        for path, number, row in self._db.execute("SELECT path, number, row FROM line ORDER BY time, rowid"):
            yield Line(path, number, json.loads(row))

    def close(self) -> None:
        """Lets the file go."""
        self._db.close()
