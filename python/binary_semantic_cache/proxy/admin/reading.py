"""What the admin may look at: figures, requests, entries, explanations, metrics. Nothing here is changed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from binary_semantic_cache import __version__
from binary_semantic_cache.proxy.admin.answers import Fault, json_answer, json_body
from binary_semantic_cache.proxy.admin.audit import Audit
from binary_semantic_cache.proxy.admin.shown import budget_json, entry_json, explanation_json, record_json
from binary_semantic_cache.proxy.settings import ProxySettings
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.proxy.watching.recents import EntryUse, Recents
from binary_semantic_cache.stores.cause import told
from binary_semantic_cache.text.request import Request as Asked
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["Reading", "recent_of", "store_answers"]

_POINTS = {15: 15, 60: 60, 360: 72, 1440: 96}
"""Minutes looked back to, and points of the curve over them."""
_ORDERS: dict[str, Callable[[EntryUse], float]] = {
    "hits": lambda use: use.hits,
    "cost": lambda use: use.saved.cost,
    "seconds": lambda use: use.saved.seconds,
    "tokens": lambda use: use.saved.input_tokens + use.saved.output_tokens,
    "recent": lambda use: use.last_used,
}
_OUTCOMES = ("exact", "semantic", "miss", "bypass")
_MOST_LISTED = 500


@dataclass(frozen=True, slots=True)
class Reading:
    """The endpoints that read."""

    cache: SemanticCache
    settings: ProxySettings
    recents: Recents
    metrics: Metrics
    audit: Audit
    ready: Callable[[], str | None]
    """Why the proxy is not ready; `None` when it is."""

    async def summary(self, request: Request) -> Response:
        """Figures of the last minutes, and since the start."""
        minutes = _number(request, "minutes", 60, 1, 1440)
        if minutes not in _POINTS:
            raise Fault(400, "out_of_range", f"expected minutes among {[*_POINTS]}, got {minutes}")
        series = self.recents.series(minutes, _POINTS[minutes])
        settings = self.settings.cache
        return json_answer(
            {
                "version": __version__,
                "began_at": self.recents.began_at,
                "minutes": minutes,
                "window": self.recents.tally(minutes).as_json(),
                "since_start": self.recents.tally().as_json(),
                "series": [
                    {"at": at, **{outcome: tally.outcomes[outcome] for outcome in _OUTCOMES}}
                    for at, tally in series
                ],
                "cache": await run_in_threadpool(self._size),
                "mode": settings.mode,
                "semantic": settings.semantic,
                "threshold": self.cache.threshold,
                "max_entries": settings.max_entries,
                "has_prices": bool(settings.prices),
            }
        )

    def _size(self) -> dict[str, Any] | None:
        try:
            stats = self.cache.stats()
        except Exception:  # a store that is down is what this page is there to show
            return None
        return {"entries": stats.entries, "n_bytes": stats.n_bytes, "index_bytes": stats.index_bytes}

    async def recent(self, request: Request) -> Response:
        """The last requests, the newest first."""
        limit = _number(request, "limit", 50, 1, _MOST_LISTED)
        before = _number(request, "before", 0, 0, 2**53)
        outcome = _choice(request, "outcome", ("", *_OUTCOMES))
        found = self.recents.listed(limit, before=before or None, outcome=outcome or None)
        return json_answer({"requests": [record_json(number, record) for number, record in found]})

    async def entries(self, request: Request) -> Response:
        """The entries that were served most, or saved most, since the start."""
        limit = _number(request, "limit", 20, 1, _MOST_LISTED)
        order = _ORDERS[_choice(request, "by", tuple(_ORDERS))]
        used = self.recents.used_entries()
        # More than asked for: some may be gone from the store, and are not shown.
        first = sorted(used, key=lambda entry_id: order(used[entry_id]), reverse=True)[: 2 * limit]
        weights = await run_in_threadpool(self.cache.store.weights, first)
        shown = [
            entry_json(entry_id, used[entry_id], n_bytes)
            for entry_id, (_, n_bytes) in zip(first, weights, strict=True)
            if n_bytes
        ]
        return json_answer({"entries": shown[:limit]})

    async def explain(self, request: Request) -> Response:
        """Every step of what a lookup would decide now.

        Of a request seen lately, by its number, also as if it had asked for another `prompt`; or of a bare
        prompt as library users ask it, in a `scope`.
        """
        body = await json_body(request, "recent", "prompt", "scope")
        prompt = body.get("prompt")
        if prompt is not None and not isinstance(prompt, str):
            raise Fault(400, "malformed", f"prompt: expected a string, got {type(prompt).__name__}")
        asked: str | Asked
        scope: Any = body.get("scope")
        if "recent" in body:
            asked, scope = recent_of(self.recents, body["recent"])
            if prompt is not None:
                asked = replace(asked, text=prompt.strip())
        elif prompt is not None:
            asked = prompt
        else:
            raise Fault(400, "malformed", "expected recent or prompt, got neither")
        explanation = await run_in_threadpool(self.cache.explain, asked, scope=scope)
        return json_answer(explanation_json(explanation))

    async def audited(self, request: Request) -> Response:
        """The last changes."""
        deeds = self.audit.listed(_number(request, "limit", 50, 1, _MOST_LISTED))
        return json_answer(
            {
                "changes": [
                    {
                        "at": deed.at,
                        "who": deed.who,
                        "action": deed.action,
                        "target": deed.target,
                        "outcome": deed.outcome,
                    }
                    for deed in deeds
                ]
            }
        )

    async def budgeted(self, request: Request) -> Response:
        """What is known of wrong hits, class by class; null without a budget."""
        return json_answer({"budget": await run_in_threadpool(budget_json, self.cache.budget)})

    async def exposition(self, request: Request) -> Response:
        """Metrics for Prometheus."""
        text, content_type = await run_in_threadpool(
            self.metrics.exposition, request.headers.get("accept", "")
        )
        return Response(text, headers={"content-type": content_type})

    async def health(self, request: Request) -> Response:
        """That the process answers."""
        return json_answer({"status": "alive"})

    async def readiness(self, request: Request) -> Response:
        """Whether the proxy can serve, and why not."""
        why = await run_in_threadpool(self.ready)
        return json_answer({"status": why or "ready"}, status=503 if why else 200)


def store_answers(cache: SemanticCache) -> Callable[[], str | None]:
    """Says why the cache's store does not answer, `None` when it does."""

    def ready() -> str | None:
        try:
            cache.store.stats()
        except Exception as exc:  # whatever it is, the store is not ready
            return f"store: {told(exc)}"
        return None

    return ready


def recent_of(recents: Recents, number: object) -> tuple[Asked, object]:
    """The request of a number, and its scope.

    Raises:
        Fault: it is not remembered any more.
    """
    record = recents.find(number) if isinstance(number, int) else None
    if record is None:
        raise Fault(404, "not_found", "expected the id of a recent request, got one that is not remembered")
    if record.request is None:
        raise Fault(
            409, "no_content", "the content of this request is not remembered; newer ones have theirs"
        )
    return record.request, record.scope


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal() and len(given) <= 16 and least <= int(given) <= most):
        raise Fault(400, "out_of_range", f"{name}: expected {least} to {most}, got {given[:20]!r}")
    return int(given)


def _choice(request: Request, name: str, choices: tuple[str, ...]) -> str:
    given = request.query_params.get(name, choices[0])
    if given not in choices:
        listed = ", ".join(filter(None, choices))
        raise Fault(400, "out_of_range", f"{name}: expected one of {listed}, got {given[:20]!r}")
    return given
