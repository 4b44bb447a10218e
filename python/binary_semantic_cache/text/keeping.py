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
from binary_semantic_cache.text.oversight import Oversight
from binary_semantic_cache.text.payload import encode_response
from binary_semantic_cache.text.settings import Settings
from binary_semantic_cache.text.vectors import pack

__all__ = ["Keeper"]

_logger = logging.getLogger(__name__)

_SWEEP_SECONDS = 30.0
_SWEPT = 1000
# Evicted in one go where much has to leave, and rounds of it in one put: the rest leaves with the next.
_HANDFUL = SAMPLE // 2
_ROUNDS = 64


class Keeper:
    """Admits complete answers only, and keeps the store within its limits."""

    def __init__(
        self,
        *,
        store: Store,
        store_calls: Guarded[Any],
        mirror: Mirror,
        lookup: Lookup,
        oversight: Oversight,
        counters: Counters,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._store = store
        self._store_calls = store_calls
        self._mirror = mirror
        self._lookup = lookup
        self._oversight = oversight
        self._counters = counters
        self._clock = clock
        self._settings = settings
        self._last_sweep = monotonic()

    def keep(
        self, asked: Asked, answer: object, seconds: float, ttl: float | None, tags: tuple[str, ...]
    ) -> None:
        """Stores a computed answer if that can be done; a failure of the cache is counted, not raised."""
        try:
            self.put(asked, answer, seconds, ttl, tags)
        except UnavailableError:
            self._counters.add_named("failures", "store")
        except Exception as exc:  # the answer may be any object, and it has to reach its caller
            _logger.warning("an answer could not be stored: %s", type(exc).__name__)
            self._counters.add_named("refusals", "unsavable")

    def saving(self, asked: Asked, answer: object, seconds: float) -> Saving:
        """What serving `answer` again would save; nothing but time where its usage cannot be read."""
        try:
            usage = usage_of(answer)
            if usage is None:
                return Saving(seconds=seconds)
            cost = cost_of(usage, asked.model, self._settings.prices) or 0.0
        except Exception:  # an object of the caller's may do anything when it is looked into
            return Saving(seconds=seconds)
        return Saving(usage.input_tokens, usage.output_tokens, cost, seconds)

    def put(
        self, asked: Asked, answer: object, seconds: float, ttl: float | None, tags: tuple[str, ...]
    ) -> int | None:
        """Stores an answer; returns its id, `None` if it is refused.

        Raises:
            UnsavableResponseError: the answer is of a type that cannot be kept.
            UnavailableError: the store failed or was too slow.
        """
        settings, deadline = self._settings, monotonic() + self._settings.timeout_seconds
        saving = self.saving(asked, answer, seconds)
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
            return None
        (entry_id,) = self._store_calls.call(lambda: self._store.put_many([entry]), deadline)
        self._counters.add("puts")
        self._oversight.answered(asked.question, answer)
        self._store_calls.call(lambda: self._tidy(entry_id), deadline)
        return int(entry_id)

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
                self._lookup.code_for_put(asked, deadline)
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
        for _ in range(_ROUNDS):
            if not (excess := self._excess()) or not (victims := self._victims(newest, excess)):
                break
            self._evict(victims)
        if monotonic() - self._last_sweep > _SWEEP_SECONDS:
            self._last_sweep = monotonic()
            if self._store.sweep(self._clock.now(), _SWEPT):
                self._mirror.sync()

    def _excess(self) -> int:
        """About how many entries are too many; 0 if none is."""
        excess = max(0, len(self._mirror) - self._settings.max_entries)
        limit = self._settings.max_bytes
        if limit is not None:
            size = self._store.stats()
            if size.n_bytes > limit:
                excess = max(excess, 1, size.entries * (size.n_bytes - limit) // size.n_bytes)
        return excess

    def _victims(self, newest: int, excess: int) -> list[int]:
        """The entry that the policy lets go, or a handful where much has to leave; never the newest."""
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
        return eviction.choose(residents, min(excess, _HANDFUL))

    def _evict(self, ids: list[int]) -> None:
        if ids:
            self._counters.add("evictions", self._store.delete(ids))
            self._mirror.sync()
