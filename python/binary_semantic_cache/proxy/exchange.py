"""One request and its reply, as far as they have come: what the record is made of."""

import time
from dataclasses import dataclass, field
from time import perf_counter

from binary_semantic_cache.proxy.callers import Caller
from binary_semantic_cache.proxy.headers import Headers, value_of
from binary_semantic_cache.proxy.observe import Outcome, Record
from binary_semantic_cache.proxy.replies import Sent
from binary_semantic_cache.proxy.verdicts import Asked
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.verdict import Hit, Miss, Verdict

__all__ = ["Exchange"]

_LONGEST_MODEL = 200
"""A name may be as long as a body; records are kept, and a page of them has to stay small."""


@dataclass(slots=True)
class Exchange:
    """What is known of one request."""

    api: str
    method: str
    path: str
    began: float = field(default_factory=perf_counter)
    began_at: float = field(default_factory=time.time)
    sent: Sent = field(default_factory=Sent)
    caller: Caller | None = None
    asked: Asked | None = None
    outcome: Outcome = "bypass"
    reason: str = ""
    saved: Saving | None = None
    lookup_seconds: float = 0.0
    upstream_seconds: float | None = None
    stored: str = ""
    traceparent: str = ""
    tracestate: str = ""
    request_bytes: int = 0
    ended: float | None = None
    is_remembered: bool = True
    """Whether the page may show what was asked: not where the caller wanted nothing kept."""

    def read_from(self, headers: Headers) -> None:
        """Notes what the request's headers say of its trace."""
        self.traceparent = (value_of(headers, b"traceparent") or b"").decode("latin-1")
        self.tracestate = (value_of(headers, b"tracestate") or b"").decode("latin-1")

    def end(self) -> None:
        """Notes that the reply has ended."""
        if self.ended is None:
            self.ended = perf_counter()

    @property
    def verdict(self) -> Verdict | None:
        """What the cache said."""
        return None if self.asked is None else self.asked.verdict

    def record(self) -> Record:
        """All of it."""
        self.end()
        assert self.ended is not None
        verdict, caller, asked = self.verdict, self.caller, self.asked
        is_shadow = self.reason == "shadow"
        served = self.outcome in ("exact", "semantic")
        hit = verdict if isinstance(verdict, Hit) and (served or is_shadow) else None
        nearest = verdict.nearest if isinstance(verdict, Miss) else None
        similarity = hit.similarity if hit else nearest.similarity if nearest else None
        first = self.sent.first_byte_at or self.ended
        request = None if asked is None else asked.request
        content = request if self.is_remembered else None
        return Record(
            began_at=self.began_at,
            api=self.api,
            method=self.method,
            path=self.path,
            status=self.sent.status,
            outcome=self.outcome,
            reason=self.reason,
            detail=verdict.detail if isinstance(verdict, Miss) else "",
            would_be=hit.kind if hit is not None and is_shadow else "",
            tenant="" if caller is None else caller.name,
            model=(request.model or "")[:_LONGEST_MODEL] if request else "",
            stream=asked is not None and asked.is_stream,
            similarity=similarity,
            entry_id=hit.entry_id if hit else None,
            hit_id=hit.id if hit else None,
            age_seconds=hit.age_seconds if hit else None,
            saved=self.saved,
            total_seconds=self.ended - self.began,
            first_byte_seconds=first - self.began,
            lookup_seconds=self.lookup_seconds,
            upstream_seconds=self.upstream_seconds,
            stored=self.stored,
            guards=tuple(sorted({veto.guard for veto in nearest.vetoes})) if nearest else (),
            request_bytes=self.request_bytes,
            response_bytes=self.sent.n_bytes,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
            request=content,
            scope=None if caller is None else caller.scope,
            prompt=hit.prompt if hit and self.is_remembered else None,
        )

    def headers(self) -> Headers:
        """The `x-bsc-` headers of the reply."""
        headers: Headers = [(b"x-bsc-cache", self.outcome.encode())]
        if self.reason:
            headers.append((b"x-bsc-reason", self.reason.encode()))
        verdict = self.verdict
        if isinstance(verdict, Hit) and self.outcome in ("exact", "semantic"):
            headers += [
                (b"x-bsc-similarity", b"%.4f" % verdict.similarity),
                (b"x-bsc-entry", b"%d" % verdict.entry_id),
                (b"x-bsc-hit", verdict.id.encode()),
                (b"x-bsc-age", b"%.1f" % verdict.age_seconds),
            ]
        elif isinstance(verdict, Miss) and verdict.nearest is not None:
            headers.append((b"x-bsc-similarity", b"%.4f" % verdict.nearest.similarity))
        if self.saved is not None:
            headers += [
                (b"x-bsc-saved-tokens", b"%d" % (self.saved.input_tokens + self.saved.output_tokens)),
                (b"x-bsc-saved-cost", b"%.6f" % self.saved.cost),
                (b"x-bsc-saved-seconds", b"%.3f" % self.saved.seconds),
            ]
        return headers
