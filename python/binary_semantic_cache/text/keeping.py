"""Answers on their way into the store, and what has to leave it."""

import logging
from time import monotonic
from typing import Any

from binary_semantic_cache.stores import Entry, Saving, Store
from binary_semantic_cache.text.admission import Refusal, cost_of, refusal_to_store, usage_of
from binary_semantic_cache.text.clock import Clock
from binary_semantic_cache.text.counters import Counters
from binary_semantic_cache.text.deadline import Guarded, UnavailableError
from binary_semantic_cache.text.eviction import SAMPLE, Resident
from binary_semantic_cache.text.lookup import Asked, Lookup
from binary_semantic_cache.text.mirror import Mirror
from binary_semantic_cache.text.payload import encode_response
from binary_semantic_cache.text.settings import Settings
from binary_semantic_cache.text.vectors import pack

__all__ = ["Keeper"]

_logger = logging.getLogger(__name__)

_SWEEP_SECONDS = 30.0
_SWEPT = 1000


class Keeper:
    """Admits complete answers only, and keeps the store within its limits."""

    def __init__(
        self,
        *,
        store: Store,
        store_calls: Guarded[Any],
        mirror: Mirror,
        lookup: Lookup,
        counters: Counters,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._store = store
        self._store_calls = store_calls
        self._mirror = mirror
        self._lookup = lookup
        self._counters = counters
        self._clock = clock
        self._settings = settings
        self._last_sweep = monotonic()

    def keep(
        self, asked: Asked, answer: object, seconds: float, ttl: float | None, tags: tuple[str, ...]
    ) -> Saving:
        """Stores a computed answer if that can be done; a failure of the cache is counted, not raised."""
        try:
            return self.put(asked, answer, seconds, ttl, tags)[1]
        except UnavailableError:
            self._counters.add_named("failures", "store")
        except (TypeError, ValueError) as exc:
            _logger.warning("an answer could not be stored: %s", type(exc).__name__)
            self._counters.add_named("refusals", "unsavable")
        return Saving(seconds=seconds)

    def put(
        self, asked: Asked, answer: object, seconds: float, ttl: float | None, tags: tuple[str, ...]
    ) -> tuple[int | None, Saving]:
        """Stores an answer; returns its id, `None` if it is refused, and what it cost to make.

        Raises:
            UnsavableResponseError: the answer is of a type that cannot be kept.
            UnavailableError: the store failed or was too slow.
        """
        settings, deadline = self._settings, monotonic() + self._settings.timeout_seconds
        usage, saving = usage_of(answer), Saving(seconds=seconds)
        if usage is not None:
            cost = cost_of(usage, asked.model, settings.prices) or 0.0
            saving = Saving(usage.input_tokens, usage.output_tokens, cost, seconds)
        kind, payload = encode_response(answer)
        refusal = refusal_to_store(
            answer, max_response_bytes=settings.max_response_bytes, tool_calls=settings.tool_calls
        )
        if refusal is None:
            entry = self._entry(asked, kind, payload, ttl, tags, saving, deadline)
            if settings.max_bytes is not None and entry.n_bytes > settings.max_bytes:
                refusal = Refusal.TOO_LARGE
        if refusal is not None:
            self._counters.add_named("refusals", refusal.value)
            _logger.debug("an answer was not stored: %s", refusal.value)
            return None, saving
        (entry_id,) = self._store_calls.call(lambda: self._store.put_many([entry]), deadline)
        self._counters.add("puts")
        self._store_calls.call(lambda: self._tidy(entry_id), deadline)
        return entry_id, saving

    def _entry(
        self,
        asked: Asked,
        kind: str,
        payload: bytes,
        ttl: float | None,
        tags: tuple[str, ...],
        saving: Saving,
        deadline: float,
    ) -> Entry:
        self._lookup.classify(asked)
        if asked.exact_only is None:
            try:
                self._lookup.code(asked, deadline)
            except UnavailableError:
                # The answer is still good for the very same prompt.
                self._counters.add_named("failures", "embedder")
        fingerprint, now = asked.fingerprint, self._clock.now()
        coded = asked.coded if asked.exact_only is None else None
        return Entry(
            key=fingerprint.key,
            scope=fingerprint.scope,
            owner=fingerprint.owner,
            code=b"" if coded is None else coded.code,
            vector=b"" if coded is None else pack(coded.embedding, self._settings.vectors),
            prompt=fingerprint.text,
            kind=kind,
            payload=payload,
            created_at=now,
            expires_at=None if ttl is None else now + ttl,
            ttl_seconds=ttl if self._settings.sliding_ttl else None,
            tags=tags,
            saving=saving,
        )

    def _tidy(self, newest: int) -> None:
        """Folds the log, and removes what has expired or has to leave; not what has just come."""
        self._mirror.sync()
        self._evict(self._mirror.take_evicted())
        while self._is_full() and (victims := self._victims(newest)):
            self._evict(victims)
        if monotonic() - self._last_sweep > _SWEEP_SECONDS:
            self._last_sweep = monotonic()
            if self._store.sweep(self._clock.now(), _SWEPT):
                self._mirror.sync()

    def _is_full(self) -> bool:
        limit = self._settings.max_bytes
        return len(self._mirror) > self._settings.max_entries or (
            limit is not None and self._store.stats().n_bytes > limit
        )

    def _victims(self, newest: int) -> list[int]:
        """The entry that the policy lets go; none if there is no other than the newest."""
        eviction = self._settings.eviction
        oldest = [found for found in self._mirror.oldest(SAMPLE) if found[0] != newest]
        if not oldest:
            return []
        ids = [entry_id for entry_id, _ in oldest]
        weights = self._store.weights(ids) if eviction.weighs else [(Saving(), 0)] * len(ids)
        residents = [
            Resident(entry_id, rank, uses, *weight)
            for rank, ((entry_id, uses), weight) in enumerate(zip(oldest, weights, strict=True))
        ]
        return [eviction.choose(residents)]

    def _evict(self, ids: list[int]) -> None:
        if ids:
            self._counters.add("evictions", self._store.delete(ids))
            self._mirror.sync()
