"""What the proxy says about itself: warnings and errors on standard error, never a request's content."""

import logging
import sys
import threading
from asyncio import CancelledError
from time import monotonic

__all__ = ["log_to_stderr"]

_QUIET = ("httpx", "httpcore", "asyncio")
"""They log URLs of requests and the like at the level info."""

_OFFERS = ("Unsupported upgrade request", "No supported WebSocket library")
"""Said of requests that offer another protocol, as Java's client offers HTTP/2 each time.

They are answered all the same, and need nothing installed."""

_WITHOUT_END = "ASGI callable returned without completing response"
"""What the server makes of a reply that an upstream broke off; the proxy says that itself, and why."""

_REPEAT_SECONDS = 10.0
_MOST_KNOWN = 256


class _Once(logging.Filter):
    """Lets a warning or an error through once in ten seconds, however many requests meet the same trouble.

    The next that passes says how many did not. Tracebacks, and what is no warning, pass each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        line, now = (record.name, record.getMessage()), monotonic()
        with self._lock:
            until, left_out = self._known.get(line, (now, 0))
            if now < until:
                self._known[line] = until, left_out + 1
                return False
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[line] = now + _REPEAT_SECONDS, 0
        if left_out:
            record.msg, record.args = f"{line[1]} ({left_out:,} more of the same before)", None
        return True


def log_to_stderr(level: str) -> None:
    """Sends the log of this process from `level` on to standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Once())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    server = logging.getLogger("uvicorn.error")
    # Requests that are cut at the end are meant to be: no traceback for each.
    server.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], CancelledError)))
    server.addFilter(lambda record: not record.getMessage().startswith((*_OFFERS, _WITHOUT_END)))
    # It announces what the start banner says better.
    server.setLevel(logging.WARNING if level != "debug" else logging.DEBUG)
