"""What was changed on the admin's port, by whom: log lines without content, the last of them for the page."""

import json
import logging
import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time

__all__ = ["Audit", "Deed"]

_logger = logging.getLogger(__name__)

_KEPT = 200
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Deed:
    """One change, or one attempt."""

    at: float
    """Seconds since the epoch."""
    who: str
    """`bearer`, or `session:` and the beginning of a digest of the session's id."""
    action: str
    target: str
    """What it was aimed at, in words of the API: `tag:docs`, `entries`, `prompt`."""
    outcome: str
    """How many entries went, or why none did."""


class Audit:
    """Writes each deed to the logger of this module, level INFO, and keeps the last 200."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deeds: deque[Deed] = deque(maxlen=_KEPT)

    def note(self, who: str, action: str, target: str, outcome: str) -> None:
        """Writes a deed down."""
        deed = Deed(time(), who, action, target[:_LONGEST], outcome)
        with self._lock:
            self._deeds.append(deed)
        at = datetime.fromtimestamp(deed.at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        # Names come from outside: quoted, so that none can pass for a line of its own.
        _logger.info(
            "audit time=%s who=%s action=%s target=%s outcome=%s",
            at, deed.who, deed.action, json.dumps(deed.target), json.dumps(deed.outcome),
        )  # fmt: skip

    def listed(self, limit: int) -> list[Deed]:
        """The last deeds, the newest first."""
        with self._lock:
            return list(reversed(self._deeds))[:limit]
