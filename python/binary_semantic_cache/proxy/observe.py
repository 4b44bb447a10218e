"""What is told of a request when its reply has ended; the only thing that metrics, logs and pages see."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.request import Request

__all__ = ["Outcome", "Record", "Watcher"]

Outcome = Literal["exact", "semantic", "miss", "bypass"]
"""What `x-bsc-cache` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request and what became of it. `request` and `prompt` are content: for the admin's page alone."""

    began_at: float
    """Seconds since the epoch."""
    api: str
    """`openai.chat`; `other` for what is passed through."""
    method: str
    path: str
    """The route's path, never the raw one where that is unknown."""
    status: int
    """The status sent; 499 where the client left before there was one."""
    outcome: Outcome
    reason: str
    """Why it was no hit: a `MissReason`, or `joined`, `key_unknown`, `mode`, `not_cacheable`, `shadow`, ...

    Empty on hits.
    """
    detail: str = ""
    would_be: Literal["", "exact", "semantic"] = ""
    """In shadow mode: the hit not served; `similarity`, `entry_id`, `hit_id` and `prompt` are its."""
    tenant: str = ""
    """Name of the tenant as configured, or a keyed digest of the key: 12 hex digits."""
    model: str = ""
    stream: bool = False
    similarity: float | None = None
    """Of the hit, or of the nearest candidate of a miss."""
    entry_id: int | None = None
    hit_id: str | None = None
    age_seconds: float | None = None
    saved: Saving | None = None
    """What a hit or a joined request saved."""
    total_seconds: float
    """From the request's head to the reply's last byte."""
    first_byte_seconds: float
    """To the first byte of the reply's body."""
    lookup_seconds: float = 0.0
    upstream_seconds: float | None = None
    """To the upstream's last byte; `None` where it was not asked."""
    stored: str = ""
    """`stored`, or why the answer was not: a `Refusal`, an `Assembler.failure`, `status`, `client_left`, ...

    Empty where nothing was to be stored.
    """
    guards: tuple[str, ...] = ()
    """Guards that vetoed the nearest candidate."""
    request_bytes: int = 0
    """Of the request's body."""
    response_bytes: int = 0
    """Of the reply's body, as far as it was sent."""
    traceparent: str = ""
    """The request's header of that name, which a trace goes on from; empty for none."""
    tracestate: str = ""
    request: Request | None = None
    scope: object = None
    """The cache's `scope` of this request: with `request` it is what `SemanticCache.explain` takes."""
    prompt: str | None = None
    """The prompt of the entry that was served."""


Watcher = Callable[[Record], None]
"""Called once a request, in the event loop; must not block and must not raise."""
