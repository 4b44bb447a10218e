"""What the proxy says about itself: warnings and errors on standard error, never a request's content."""

import logging
import sys
from asyncio import CancelledError

__all__ = ["log_to_stderr"]

_QUIET = ("httpx", "httpcore", "asyncio")
"""They log URLs of requests and the like at the level info."""

_OFFERS = ("Unsupported upgrade request", "No supported WebSocket library")
"""Said of requests that offer another protocol, as Java's client offers HTTP/2 each time.

They are answered all the same, and need nothing installed."""


def log_to_stderr(level: str) -> None:
    """Sends the log of this process from `level` on to standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    server = logging.getLogger("uvicorn.error")
    # Requests that are cut at the end are meant to be: no traceback for each.
    server.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], CancelledError)))
    server.addFilter(lambda record: not record.getMessage().startswith(_OFFERS))
    # It announces what the start banner says better.
    server.setLevel(logging.WARNING if level != "debug" else logging.DEBUG)
