"""One line a request on a stream: when, whose, what became of it and how long it took; never what was asked.

Of what a caller can write, the path and the model's name are in a line: quoted, and cut at 100 characters.
"""

import json
import logging
import math
import queue
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

from binary_semantic_cache.proxy.observe import Record

__all__ = ["FIELDS", "AccessLog", "fields_of"]

_logger = logging.getLogger(__name__)

_MOST_WAITING = 10_000
_LONGEST = 100
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+@{}")

FIELDS: Mapping[str, str] = {
    "time": "when the request came, UTC, with milliseconds",
    "method": "of the request",
    "path": "the route's path",
    "api": "`openai.chat`, ...; `other` for what is passed through",
    "tenant": "the tenant's name, or a digest of the key",
    "model": "the model asked",
    "stream": "whether a stream was asked for",
    "status": "the status sent; 499 where the client had left",
    "outcome": "`exact`, `semantic`, `miss` or `bypass`",
    "reason": "why it was no hit",
    "would_be": "in shadow mode: the kind of the hit that was not served",
    "detail": "more about the reason: the guard, the policy class, the class of an error",
    "guards": "guards that vetoed the nearest candidate",
    "similarity": "of the hit or of the nearest candidate",
    "entry": "id of the entry that was served, or in shadow mode would have been",
    "hit": "id of the hit, for reports",
    "age_s": "age of the answer that was served, in seconds",
    "total_ms": "from the request's head to the reply's last byte",
    "first_byte_ms": "to the first byte of the reply's body",
    "lookup_ms": "the cache's verdict",
    "upstream_ms": "to the upstream's last byte",
    "saved_tokens": "tokens that were not spent",
    "saved_cost": "money that was not spent",
    "saved_s": "seconds of the upstream that nobody waited for",
    "stored": "`stored`, or why the answer was not",
    "request_bytes": "of the request's body",
    "response_bytes": "of the reply's body",
}
"""The fields of a line in their order, and what they mean; one that has nothing to say is left out."""


class AccessLog:
    """Writes lines in a thread of its own, so that a stream that is slow holds up no request.

    A `Watcher` by its method `watch`. When 10,000 lines wait, further ones are dropped and counted.

    Args:
        stream: where lines go, standard output as a rule; not closed.
        form: `text` for `field=value`, `json` for an object a line.
    """

    def __init__(self, stream: TextIO, *, form: Literal["text", "json"] = "text") -> None:
        self._stream = stream
        self._as_line = _as_json if form == "json" else _as_text
        self._waiting: queue.Queue[dict[str, object] | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Lines that were not written."""

    def watch(self, record: Record) -> None:
        """Has one line written; never raises, never waits."""
        try:
            if self._thread is None:
                # Not before the first request: a thread would not survive the fork into workers.
                self._thread = threading.Thread(target=self._write, name="bsc-access-log", daemon=True)
                self._thread.start()
            # Not the record, whose content may be megabytes: thousands may wait.
            self._waiting.put_nowait(fields_of(record))
        except Exception as exc:  # the request was answered: what is told of it may not fail it
            self.dropped += 1
            if self.dropped == 1:
                _logger.warning("the access log drops lines: %s", type(exc).__name__)

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Returns when all lines so far are written, or the time is over."""
        if self._thread is not None and self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=timeout_seconds)
            except queue.Full:
                return
            self._thread.join(timeout_seconds)
        self._thread = None

    def _write(self) -> None:
        while (fields := self._waiting.get()) is not None:
            try:
                self._stream.write(self._as_line(fields) + "\n")
                if self._waiting.empty():
                    self._stream.flush()
            except Exception as exc:  # a reader that left, a full disk: the next line may go through
                self.dropped += 1
                if self.dropped == 1:
                    _logger.warning("the access log drops lines: %s", type(exc).__name__)


def fields_of(record: Record) -> dict[str, object]:
    """What a line tells of `record`, under the names of `FIELDS`; nothing that was asked or answered."""
    saved = record.saved
    told: dict[str, object] = {
        "time": datetime.fromtimestamp(record.began_at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "method": record.method,
        "path": record.path,
        "api": record.api,
        "tenant": record.tenant or None,
        "model": record.model or None,
        "stream": record.stream,
        "status": record.status,
        "outcome": record.outcome,
        "reason": record.reason or None,
        "would_be": record.would_be or None,
        "detail": record.detail or None,
        "guards": ",".join(record.guards) or None,
        "similarity": None if record.similarity is None else _rounded(record.similarity, 4),
        "entry": record.entry_id,
        "hit": record.hit_id,
        "age_s": None if record.age_seconds is None else _rounded(record.age_seconds, 1),
        "total_ms": _rounded(1e3 * record.total_seconds, 3),
        "first_byte_ms": _rounded(1e3 * record.first_byte_seconds, 3),
        "lookup_ms": _rounded(1e3 * record.lookup_seconds, 3),
        "upstream_ms": (
            None if record.upstream_seconds is None else _rounded(1e3 * record.upstream_seconds, 3)
        ),
        "saved_tokens": None if saved is None else saved.input_tokens + saved.output_tokens,
        "saved_cost": None if saved is None else _rounded(saved.cost, 8),
        "saved_s": None if saved is None else _rounded(saved.seconds, 3),
        "stored": record.stored or None,
        "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes,
    }
    return {name: _cut(value) for name, value in told.items() if value is not None}


def _cut(value: object) -> object:
    return value[:_LONGEST] if isinstance(value, str) else value


def _rounded(value: float, digits: int) -> float | None:
    """JSON has no word for infinity nor for what is no number."""
    return round(value, digits) if math.isfinite(value) else None


def _as_json(fields: dict[str, object]) -> str:
    return json.dumps(fields, separators=(",", ":"))


def _as_text(fields: dict[str, object]) -> str:
    return " ".join(f"{name}={_word(value)}" for name, value in fields.items())


def _word(value: object) -> str:
    """`value` without spaces, quotes or line ends, unless quoted as in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text)
