"""The cache, asked from an event loop: never in the loop's own thread, never for long, never raising."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, TypeVar

from binary_semantic_cache.errors import BinarySemanticCacheError, InvalidValueError
from binary_semantic_cache.proxy.apis import Answer, Api
from binary_semantic_cache.proxy.settings import CacheSettings, LimitSettings
from binary_semantic_cache.proxy.steering import Steering
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.stores.cause import told
from binary_semantic_cache.text.admission import cost_of, refusal_to_store, usage_of
from binary_semantic_cache.text.canonical import encode, parse_json
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import Miss, Verdict

__all__ = ["Asked", "Verdicts"]

_logger = logging.getLogger(__name__)

_THREADS = 8
_MOST_WAITING = 128
"""Beyond so many calls of the cache under way that stand still, a request goes without it."""
_STALLED_SECONDS = 0.25
"""A crowd whose calls end one after another is served sooner by the cache than by the upstream."""
_GRACE_SECONDS = 0.5
"""Over the cache's own limit of time, for threads that were busy."""

T = TypeVar("T")


@dataclass(slots=True)
class Asked:
    """A request as the cache takes it."""

    body: Mapping[str, Any]
    request: Request | None
    """`None`: the cache has no part in it; `reason` says why."""
    is_stream: bool
    verdict: Verdict | None = None
    """`None` where the cache was not asked; `reason` says why."""
    reason: str = ""


class Verdicts:
    """Lookups and puts in threads of their own.

    Args:
        cache: the cache.
        settings: `[cache]`.
        limits: `[limits]`.
    """

    def __init__(self, cache: SemanticCache, settings: CacheSettings, limits: LimitSettings) -> None:
        self._cache = cache
        self._settings = settings
        self._limits = limits
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="bsc proxy")
        self._waiting = 0
        self._moved_at = monotonic()
        """When a call last ended, or was begun with no other under way."""

    async def of(
        self, api: Api, raw: bytes, extra: Mapping[str, str], scope: str, steering: Steering, *, looks: bool
    ) -> Asked | None:
        """What is asked, and what the cache says to it; `None` for a body that is no JSON object.

        Args:
            api: whose body it is.
            raw: the body.
            extra: what shapes the answer and does not stand in the body.
            scope: the tenant.
            steering: what the caller asked for.
            looks: whether an answer may come from the cache.
        """

        def work() -> Asked | None:
            asked = self._read(api, raw, extra)
            if asked is not None and asked.request is not None and looks:
                exact_only = steering.mode == "exact" or not self._settings.semantic
                verdict = self._cache.lookup(
                    asked.request,
                    scope=scope,
                    threshold=steering.threshold,
                    exact_only=exact_only,
                    will_put=steering.stores,
                )
                # In shadow mode the hit that it would have been: the proxy tells of it and serves nothing.
                would_serve = verdict.would_serve if isinstance(verdict, Miss) else None
                asked.verdict = would_serve or verdict
            return asked

        try:
            return await self._run(work, self._settings.timeout_seconds + _GRACE_SECONDS)
        except _BusyError:
            # Not even read: that would be done in the loop's thread.
            return Asked({}, None, False, reason="cache_busy")
        except Exception as exc:  # a defect of the cache must not become the caller's error
            _logger.warning("a lookup failed: %s", told(exc))
            return Asked({}, None, False, reason="failed")

    async def keep(
        self, asked: Asked, answer: Answer, seconds: float, scope: str, ttl_seconds: float | None
    ) -> str:
        """Stores an answer; says what became of it, in one word."""

        def work() -> str:
            assert asked.request is not None
            refusal = refusal_to_store(
                answer,
                max_response_bytes=self._settings.max_response_bytes,
                tool_calls=self._settings.tool_calls,
            )
            if refusal is not None:
                return refusal.value
            kept = self._cache.put(
                asked.request, answer, scope=scope, ttl_seconds=ttl_seconds, took_seconds=seconds
            )
            return "refused" if kept is None else "stored"

        try:
            return await self._run(work, None)
        except _BusyError:
            return "cache_busy"
        except Exception as exc:  # the answer was given; that it is not kept harms nobody
            _logger.warning("an answer could not be stored: %s", told(exc))
            return "store_failed"

    def saving(self, asked: Asked, answer: Answer, seconds: float) -> Saving:
        """What having `answer` from another request saved."""
        assert asked.request is not None
        usage = usage_of(answer)
        if usage is None:
            return Saving(seconds=seconds)
        cost = cost_of(usage, asked.request.model, self._settings.prices) or 0.0
        return Saving(usage.input_tokens, usage.output_tokens, cost, seconds)

    def close(self) -> None:
        """Lets the threads go when they are done."""
        self._pool.shutdown(wait=False)

    async def _run(self, work: Callable[[], T], seconds: float | None) -> T:
        """What `work` returns; raises `_BusyError` if there is no thread for it in time."""
        if self._waiting >= _MOST_WAITING and monotonic() - self._moved_at > _STALLED_SECONDS:
            raise _BusyError
        if self._waiting == 0:
            self._moved_at = monotonic()
        self._waiting += 1
        waiting = asyncio.get_running_loop().run_in_executor(self._pool, self._ended, work)
        waiting.add_done_callback(self._done)
        # Not `wait_for`, which would wait for a call that cannot be cancelled.
        done, _ = await asyncio.wait({waiting}, timeout=seconds)
        if not done:
            waiting.cancel()
            raise _BusyError
        return waiting.result()

    def _ended(self, work: Callable[[], T]) -> T:
        """What `work` returns; its end is noted in its own thread, as the loop may have a crowd to greet."""
        try:
            return work()
        finally:
            self._moved_at = monotonic()

    def _done(self, waiting: "asyncio.Future[Any]") -> None:
        self._waiting -= 1
        if not waiting.cancelled():
            waiting.exception()

    def _read(self, api: Api, raw: bytes, extra: Mapping[str, str]) -> Asked | None:
        try:
            body = parse_json(raw, "body")
        except InvalidValueError:
            return None
        if not isinstance(body, dict):
            return None
        is_stream = api.wants_stream(body)
        try:
            request = api.request(body)
            # What only says how the answer travels is not in the request, and has to be sayable all the same.
            encode(body.get("stream_options"))
        except BinarySemanticCacheError:
            return Asked(body, None, is_stream, reason="unreadable")
        if not request.is_repeatable:
            return Asked(body, None, is_stream, reason="state")
        if len(request.text) > self._limits.max_prompt_chars:
            return Asked(body, None, is_stream, reason="too_long")
        if extra:
            request = replace(request, context=request.context + encode(dict(extra)))
        return Asked(body, request, is_stream)


class _BusyError(Exception):
    """The cache has more to do than it can."""
