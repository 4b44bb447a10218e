"""From a miss to an answer: computed once for all who ask at the same time, stored, and given to each."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from binary_semantic_cache.errors import InvalidTypeError
from binary_semantic_cache.text.computing import Computed, Shared, share, with_prompt
from binary_semantic_cache.text.counters import Counters
from binary_semantic_cache.text.flight import Flights
from binary_semantic_cache.text.keeping import Keeper
from binary_semantic_cache.text.lookup import Asked, Lookup
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.verdict import Hit
from binary_semantic_cache.text.workers import Workers

__all__ = ["Answering"]

_logger = logging.getLogger(__name__)


class Answering:
    """Runs the callers' computations; no failure but their own reaches them.

    Args:
        lookup: asked once more when a computation is to begin: another may just have ended.
        keeper: stores the answers.
        flights: who computes and who waits.
        workers: the threads of asynchronous calls.
        counters: count those who waited.
        timeout_seconds: the longest that asking once more may take.
    """

    def __init__(
        self,
        *,
        lookup: Lookup,
        keeper: Keeper,
        flights: Flights[Computed, Shared],
        workers: Workers,
        counters: Counters,
        timeout_seconds: float,
    ) -> None:
        self._lookup = lookup
        self._keeper = keeper
        self._flights = flights
        self._workers = workers
        self._counters = counters
        self._timeout_seconds = timeout_seconds

    def computed(
        self,
        prompt: str | Request,
        compute: Callable[..., Any],
        asked: Asked | None,
        ttl: float | None,
        tags: tuple[str, ...],
    ) -> Any:
        """What `compute` returns, or what another's computation of the same did.

        Args:
            prompt: given to `compute` if it takes an argument.
            compute: the caller's.
            asked: the request, `None` for one that cannot be read: then nothing is shared or kept.
            ttl: seconds that the answer is served, `None` for ever.
            tags: names to invalidate by.

        Raises:
            InvalidTypeError: `compute` is a coroutine function. And what `compute` raises.
        """
        if inspect.iscoroutinefunction(compute):
            raise InvalidTypeError("expected a function, got a coroutine function; aget_or_compute awaits it")
        work = with_prompt(compute, prompt)
        if asked is None:
            return work()

        def fly() -> tuple[Computed, Shared]:
            landed = self._landed(asked)
            if landed is None:
                began = monotonic()
                computed = Computed(work(), monotonic() - began)
            else:
                computed = Computed(landed.response, 0.0, is_new=False)
            return computed, self._shared(asked, computed)

        def keep(computed: Computed) -> None:
            if computed.is_new:
                self._keeper.keep(asked, computed.answer, computed.seconds, ttl, tags)

        result = self._flights.run(asked.fingerprint.key, fly, keep)
        if isinstance(result, Computed):
            return result.answer
        if result.packed is None:
            return work()
        self._counters.joined(result.saving)
        return result.answer()

    async def acomputed(
        self,
        prompt: str | Request,
        compute: Callable[..., Awaitable[Any] | Any],
        asked: Asked | None,
        ttl: float | None,
        tags: tuple[str, ...],
    ) -> Any:
        """As `computed`; what `compute` returns is awaited if it can be. The event loop goes on."""
        work = with_prompt(compute, prompt)

        async def awaited() -> Any:
            answer = work()
            return await answer if inspect.isawaitable(answer) else answer

        if asked is None:
            return await awaited()

        async def fly() -> tuple[Computed, Shared]:
            landed = await self._workers.run(self._landed, asked)
            if landed is None:
                began = monotonic()
                computed = Computed(await awaited(), monotonic() - began)
            else:
                computed = Computed(landed.response, 0.0, is_new=False)
            return computed, self._shared(asked, computed)

        async def keep(computed: Computed) -> None:
            if computed.is_new:
                await self._workers.run(
                    self._keeper.keep, asked, computed.answer, computed.seconds, ttl, tags
                )

        result = await self._flights.arun(asked.fingerprint.key, fly, keep)
        if isinstance(result, Computed):
            return result.answer
        if result.packed is None:
            return await awaited()
        self._counters.joined(result.saving)
        return result.answer()

    def _shared(self, asked: Asked, computed: Computed) -> Shared:
        return share(computed, self._keeper.saving(asked, computed.answer, computed.seconds))

    def _landed(self, asked: Asked) -> Hit | None:
        """The answer of a computation that ended between the lookup and now."""
        try:
            return self._lookup.exact(asked, monotonic() + self._timeout_seconds)
        except Exception as exc:  # nothing but the computation's own may reach its caller
            _logger.warning("a look for an answer that landed failed: %s", type(exc).__name__)
            return None
