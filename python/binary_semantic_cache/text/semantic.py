"""`SemanticCache`: a prompt in, an answer that was given before out, or the reason why not."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from os import PathLike
from time import monotonic
from types import TracebackType
from typing import Any

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity, RustBinaryEncoder
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import InvalidValueError, StoreError
from binary_semantic_cache.stores import Store
from binary_semantic_cache.text.answering import Answering
from binary_semantic_cache.text.budget import Budget, LiveBudget, opened_ledger
from binary_semantic_cache.text.cached import KeyFunction, wrap
from binary_semantic_cache.text.canonical import JSON
from binary_semantic_cache.text.clock import Clock
from binary_semantic_cache.text.coding import Coder
from binary_semantic_cache.text.computing import Computed, Shared
from binary_semantic_cache.text.counters import Counters, SemanticCacheStats
from binary_semantic_cache.text.credence import Credence
from binary_semantic_cache.text.deadline import Guarded, UnavailableError
from binary_semantic_cache.text.decision import Decision, PairGuards, Verifier
from binary_semantic_cache.text.eviction import SAMPLE, eviction_named
from binary_semantic_cache.text.explanation import Explanation
from binary_semantic_cache.text.fingerprint import Fingerprinter
from binary_semantic_cache.text.flight import Flights
from binary_semantic_cache.text.identity import identity
from binary_semantic_cache.text.judge import Judge
from binary_semantic_cache.text.keeping import Keeper
from binary_semantic_cache.text.learned import LearnedPolicy
from binary_semantic_cache.text.lookup import Asked, Lookup
from binary_semantic_cache.text.mirror import Mirror
from binary_semantic_cache.text.opening import check_judge, opened_embedder, opened_store, shipped_guards
from binary_semantic_cache.text.oversight import Oversight
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.removal import ANY_SCOPE, AnyScope, Invalidated, Removal
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.settings import (
    Settings,
    checked_prices,
    seconds,
    tag_names,
    threshold_of,
    whole,
)
from binary_semantic_cache.text.thresholds import default_threshold
from binary_semantic_cache.text.vectors import checked_format
from binary_semantic_cache.text.verdict import Hit, Miss, MissReason, Verdict
from binary_semantic_cache.text.workers import Workers

__all__ = ["Invalidated", "SemanticCache"]

_MODES = ("on", "shadow")


class SemanticCache:
    """Answers found by what a prompt means, kept apart by everything else that shapes an answer.

    A lookup first asks for the very prompt; then for entries of the same scope whose embeddings are near,
    re-scored exactly, and serves the nearest against which no guard, no verifier and no report speaks. A
    failure of embedder, store or verifier is a miss that says so, within `timeout_seconds`.

    May be used by many threads and event loops, and a durable one by many processes.

    Args:
        path_or_store: a file (made if missing) for a durable cache, a `Store`, or `None` for memory.
        embedder: turns texts into embeddings; `None` for the local model.
        threshold: least cosine of a semantic hit, -1.0 to 1.0; `None` for the embedder's measured default.
        max_entries: beyond it entries leave.
        max_bytes: the same for the bytes of prompts, answers, codes and vectors; `None` for no limit.
        eviction: which of the least recently used leaves: `lru` the oldest, `lfu` the least used, `cost` the
            one that saves the least money a byte.
        ttl_seconds: how long an answer is served, from its put; `None` for ever.
        sliding_ttl: each hit starts the time anew.
        verifier: called with the prompt and a candidate's prompt before a semantic hit; false makes it a
            miss. With a judge that has `verify_between`, only where the judge is in doubt.
        policy: classes of questions that meaning must not answer; `None` for the shipped table.
        learned: serves only entries of which it has learned that they are right; `None` for the threshold
            alone.
        budget: has a share of the hits judged, and stops serving by meaning where too many are wrong.
        mode: `on`, or `shadow`: verdicts are counted and told, and nothing is served.
        guards: what sees that two prompts ask for different things; `None` for the shipped ones.
        judge: weighs what the guards let pass, and lets candidates in that are further away; `None` for none.
            `threshold` is then its `least_cosine` unless given.
        vectors: how embeddings are kept for re-scoring: int8, float16, float32 or none.
        vector_memory_bytes: how much of them stays in memory once fetched from the store; 0 for nothing.
        timeout_seconds: the longest a lookup may take.
        max_response_bytes: larger answers are not stored.
        tool_calls: also store answers that call tools.
        prices: money for a million input and output tokens, by model, to count what is saved.
        code_bits: bits of a code. seed: of the projection.

    Raises:
        InvalidTypeError, InvalidValueError: an argument has the wrong type or is out of range.
        FingerprintError: the file was filled with another embedder.
        StoreError: the file could not be opened, is damaged, or of a newer version.
        ModelNotFoundError, MissingExtraError: the local model is not installed.
    """

    def __init__(
        self,
        path_or_store: str | PathLike[str] | Store | None = None,
        *,
        embedder: Embedder | None = None,
        threshold: float | None = None,
        max_entries: int = 100_000,
        max_bytes: int | None = None,
        eviction: str = "lru",
        ttl_seconds: float | None = None,
        sliding_ttl: bool = False,
        verifier: Verifier | None = None,
        policy: Policy | None = None,
        learned: LearnedPolicy | None = None,
        budget: Budget | None = None,
        mode: str = "on",
        guards: PairGuards | None = None,
        judge: Judge | None = None,
        vectors: str = "int8",
        vector_memory_bytes: int = 64 * 2**20,
        timeout_seconds: float = 5.0,
        max_response_bytes: int = 4 * 2**20,
        tool_calls: bool = False,
        prices: Mapping[str, tuple[float, float]] | None = None,
        code_bits: int = 256,
        seed: int = 42,
    ) -> None:
        self._embedder = opened_embedder(embedder)
        check_judge(judge, self._embedder, vectors, verifier)
        self._settings = Settings(
            threshold=(
                default_threshold(self._embedder.fingerprint, judge)
                if threshold is None
                else threshold_of(threshold)
            ),
            max_entries=whole("max_entries", max_entries, 1, 2**31 - 2**20),
            max_bytes=None if max_bytes is None else whole("max_bytes", max_bytes, 1, 2**62),
            eviction=eviction_named(eviction),
            ttl_seconds=None if ttl_seconds is None else seconds("ttl_seconds", ttl_seconds),
            sliding_ttl=sliding_ttl,
            vectors=checked_format(vectors),
            timeout_seconds=seconds("timeout_seconds", timeout_seconds),
            max_response_bytes=whole("max_response_bytes", max_response_bytes, 1, 2**31 - 1),
            tool_calls=tool_calls,
            prices=checked_prices(prices or {}),
        )
        if mode not in _MODES:
            raise InvalidValueError(f"expected mode among {', '.join(_MODES)}, got {mode!r}")
        self._budget = None if budget is None else LiveBudget(budget, opened_ledger(budget, path_or_store))
        self._oversight = Oversight(shadow=mode == "shadow", budget=self._budget, learned=learned)
        encoder = RustBinaryEncoder(self._embedder.dimension, code_bits, seed)
        guards = shipped_guards() if guards is None else guards
        self._store, self._owns_store = opened_store(path_or_store)
        opened = self._store.open(identity(self._embedder.fingerprint, encoder))
        # Two: a disk that is full fails all writes, and what is there already is to be served all the same.
        reads, writes = (Guarded[Any]("store", bounded=self._store.bounded) for _ in range(2))
        self._fingerprinter = Fingerprinter(opened.secret)
        self._counters, clock, self._workers = Counters(), Clock(), Workers()
        self._flights: Flights[Computed, Shared] = Flights()
        # A little more than the limit: who leaves is for the policy to say, not for the index.
        most = self._settings.max_entries + SAMPLE
        self._mirror = Mirror(
            self._store,
            HammingSimilarity(code_bits),
            most,
            vector_memory_bytes=whole("vector_memory_bytes", vector_memory_bytes, 0, 2**62),
        )
        self._mirror.sync()
        credence = Credence(self._fingerprinter)
        decision = Decision(
            store=self._store,
            store_calls=reads,
            mirror=self._mirror,
            guards=guards,
            judge=judge,
            verifier=verifier,
            credence=credence,
            pair=self._fingerprinter.pair,
            code_bits=encoder.code_bits,
            now=clock.now,
        )
        self._lookup = Lookup(
            store=self._store,
            store_calls=reads,
            store_writes=writes,
            mirror=self._mirror,
            decision=decision,
            coder=Coder(self._embedder, encoder),
            fingerprinter=self._fingerprinter,
            credence=credence,
            policy=Policy() if policy is None else policy,
            oversight=self._oversight,
            counters=self._counters,
            clock=clock,
            timeout_seconds=self._settings.timeout_seconds,
            code_bits=encoder.code_bits,
        )
        self._keeper = Keeper(
            store=self._store,
            store_calls=writes,
            mirror=self._mirror,
            lookup=self._lookup,
            oversight=self._oversight,
            counters=self._counters,
            clock=clock,
            settings=self._settings,
        )
        self._answering = Answering(
            lookup=self._lookup,
            keeper=self._keeper,
            flights=self._flights,
            workers=self._workers,
            counters=self._counters,
            timeout_seconds=self._settings.timeout_seconds,
        )
        self._removal = Removal(
            store=self._store,
            mirror=self._mirror,
            lookup=self._lookup,
            fingerprinter=self._fingerprinter,
            counters=self._counters,
            code_bits=encoder.code_bits,
            most_entries=self._settings.max_entries,
        )

    @property
    def embedder(self) -> Embedder:
        """What turns texts into embeddings."""
        return self._embedder

    @property
    def threshold(self) -> float:
        """Least cosine of a semantic hit."""
        return self._settings.threshold

    @property
    def store(self) -> Store:
        """Where entries are kept."""
        return self._store

    @property
    def budget(self) -> LiveBudget | None:
        """What was judged, by class, and the way to serve a stopped class again; `None` without a budget."""
        return self._budget

    def settle(self, timeout_seconds: float = 5.0) -> bool:
        """Waits until every answer that is to be judged in the background has been; whether in time."""
        return self._oversight.settle(seconds("timeout_seconds", timeout_seconds))

    def pseudonym(self, name: bytes) -> str:
        """32 hex digits that stand for `name`: the same in all processes and for all the life of the store.

        Whoever has no access to the store cannot tell from it which name that is, not even by trying: good
        for scopes and log lines that must not hold a key or a user's name.
        """
        return self._fingerprinter.pseudonym(name)

    def __len__(self) -> int:
        return self._store.stats().entries

    def __repr__(self) -> str:
        return (
            f"SemanticCache(store={type(self._store).__name__}, embedder={type(self._embedder).__name__}, "
            f"threshold={self._settings.threshold:.3f}, max_entries={self._settings.max_entries})"
        )

    def __enter__(self) -> "SemanticCache":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Writes what is not written and lets go of the store, if the cache opened it."""
        self._oversight.close()
        self._workers.close()
        if self._owns_store:
            with suppress(StoreError):
                self._store.flush()
            self._store.close()

    # Lookups

    def lookup(
        self,
        prompt: str | Request,
        *,
        scope: JSON = None,
        threshold: float | None = None,
        exact_only: bool = False,
        timeout_seconds: float | None = None,
        will_put: bool = True,
    ) -> Verdict:
        """The answer that was given to this prompt, or to one that asks the same, or why there is none.

        Args:
            prompt: a string, or a `Request` of a model's API.
            scope: who may share answers: a tenant, a user, a mapping of several; any JSON-like value.
            threshold: least cosine for this lookup instead of the cache's.
            exact_only: no match by meaning.
            timeout_seconds: the longest this lookup may take instead of the cache's limit.
            will_put: whether an answer may be put after a miss. If not, nothing of the prompt is kept in mind
                for it, and no hit is held back by the budget, since no new answer would be judged.

        Raises:
            InvalidTypeError: an argument has the wrong type.
            InvalidValueError: `threshold` or `timeout_seconds` is out of range.
        """
        return self._look_up(prompt, scope, threshold, exact_only, timeout_seconds, will_put=will_put)[0]

    async def alookup(
        self,
        prompt: str | Request,
        *,
        scope: JSON = None,
        threshold: float | None = None,
        exact_only: bool = False,
        timeout_seconds: float | None = None,
        will_put: bool = True,
    ) -> Verdict:
        """As `lookup`, in a worker thread: the event loop goes on."""
        return await self._workers.run(
            self.lookup,
            prompt,
            scope=scope,
            threshold=threshold,
            exact_only=exact_only,
            timeout_seconds=timeout_seconds,
            will_put=will_put,
        )

    def get_or_compute(
        self,
        prompt: str | Request,
        compute: Callable[..., Any],
        *,
        scope: JSON = None,
        ttl_seconds: float | None = None,
        tags: Iterable[str] = (),
        threshold: float | None = None,
        exact_only: bool = False,
    ) -> Any:
        """The cached answer, or what `compute` returns, which is then stored.

        Those who ask the same at the same time, in any thread or event loop, share one computation. An answer
        that may not be stored (empty, cut off, an error, of a type that cannot be kept) is returned all the
        same.

        Args:
            prompt: a string, or a `Request`.
            compute: called with `prompt` if it takes an argument, else with nothing.
            scope: see `lookup`.
            ttl_seconds: how long the answer is served, instead of the cache's time.
            tags: names to invalidate by.
            threshold: see `lookup`.
            exact_only: see `lookup`.

        Raises:
            What `compute` raises, and `InvalidTypeError` and `InvalidValueError` for arguments; never for a
            failure of the cache.
        """
        ttl, listed = self._settings.ttl(ttl_seconds), tag_names(tags)
        verdict, asked = self._look_up(prompt, scope, threshold, exact_only, None)
        if isinstance(verdict, Hit):
            return verdict.response
        return self._answering.computed(prompt, compute, asked, ttl, listed)

    async def aget_or_compute(
        self,
        prompt: str | Request,
        compute: Callable[..., Awaitable[Any] | Any],
        *,
        scope: JSON = None,
        ttl_seconds: float | None = None,
        tags: Iterable[str] = (),
        threshold: float | None = None,
        exact_only: bool = False,
    ) -> Any:
        """As `get_or_compute`; what `compute` returns is awaited if it can be. The event loop goes on."""
        ttl, listed = self._settings.ttl(ttl_seconds), tag_names(tags)
        verdict, asked = await self._workers.run(self._look_up, prompt, scope, threshold, exact_only, None)
        if isinstance(verdict, Hit):
            return verdict.response
        return await self._answering.acomputed(prompt, compute, asked, ttl, listed)

    def cached(
        self,
        function: Callable[..., Any] | None = None,
        *,
        key: KeyFunction | None = None,
        scope: JSON = None,
        ttl_seconds: float | None = None,
        tags: Iterable[str] = (),
    ) -> Any:
        """Decorates a function, method or coroutine function, so that it is asked only for what is new.

        The first argument (after `self` or `cls`) is the prompt; all others, the function's name and, of a
        method, the instance belong to the scope. What is no JSON-like value needs `key`.

        Args:
            function: what to decorate; left out where there are arguments.
            key: called with the function's arguments; returns the prompt, or `(prompt, scope)`. With it
                neither instance nor other arguments count.
            scope: who may share answers, besides.
            ttl_seconds: how long an answer is served.
            tags: names to invalidate by.
        """
        ttl = self._settings.ttl(ttl_seconds)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            return wrap(self, function, key=key, scope=scope, ttl_seconds=ttl, tags=tag_names(tags))

        return decorate if function is None else decorate(function)

    def explain(
        self, prompt: str | Request, *, scope: JSON = None, threshold: float | None = None
    ) -> Explanation:
        """Every step of what a lookup would decide now; counts as no request and as no use of an entry.

        Raises:
            StoreError, EmbedderError: one of them failed.
        """
        least = self._settings.threshold if threshold is None else threshold_of(threshold)
        return self._lookup.explain(prompt, scope, least)

    # Changes

    def put(
        self,
        prompt: str | Request,
        answer: object,
        *,
        scope: JSON = None,
        ttl_seconds: float | None = None,
        tags: Iterable[str] = (),
        took_seconds: float = 0.0,
    ) -> int | None:
        """Stores `answer`; the entry of the very same prompt and scope is replaced.

        Args:
            prompt: a string, or a `Request`.
            answer: str, bytes, or JSON-like data. Not kept if it is empty, cut off, an error, or too large.
            scope: see `lookup`.
            ttl_seconds: how long it is served, instead of the cache's time.
            tags: names to invalidate by.
            took_seconds: how long the answer took to make, for the statistics.

        Returns:
            The entry's id, or `None` for an answer that is not to be kept; `stats().refusals` says why.

        Raises:
            UnsavableResponseError: `answer` is of another type.
            InvalidTypeError, InvalidValueError: another argument is wrong.
            StoreError: the store failed or was too slow.
        """
        ttl, listed = self._settings.ttl(ttl_seconds), tag_names(tags)
        took = 0.0 if took_seconds == 0 else seconds("took_seconds", took_seconds)
        asked = self._lookup.asked(prompt, scope)
        if _is_new_each_time(prompt):
            self._counters.add_named("refusals", MissReason.STATE.value)
            return None
        try:
            return self._keeper.put(asked, answer, took, ttl, listed)
        except UnavailableError as exc:
            raise StoreError(str(exc)) from exc

    async def aput(
        self,
        prompt: str | Request,
        answer: object,
        *,
        scope: JSON = None,
        ttl_seconds: float | None = None,
        tags: Iterable[str] = (),
        took_seconds: float = 0.0,
    ) -> int | None:
        """As `put`, in a worker thread."""
        return await self._workers.run(
            self.put,
            prompt,
            answer,
            scope=scope,
            ttl_seconds=ttl_seconds,
            tags=tags,
            took_seconds=took_seconds,
        )

    def report(self, hit: Hit | str) -> bool:
        """Says that a hit was wrong: its entry is removed, and the two prompts never match again.

        A new answer to the entry's own prompt may be stored, and will not be served for the other prompt
        either.

        Args:
            hit: the hit, or its `id`.

        Returns:
            Whether the entry was still there.

        Raises:
            InvalidValueError: not the id of a hit that a cache of this store gave.
            StoreError: the store failed.
        """
        return self._removal.report(hit)

    def invalidate(
        self,
        *,
        tag: str | None = None,
        prompt: str | Request | None = None,
        scope: JSON | AnyScope = ANY_SCOPE,
        radius: int | None = None,
        dry_run: bool = False,
    ) -> Invalidated:
        """Removes the entries that fit all that is given.

        Args:
            tag: entries that were put with this tag.
            prompt: the entry of this very prompt, in `scope`.
            scope: entries of this scope, whatever the rest of their requests; all scopes if left out. With
                `prompt`, left out means `None`.
            radius: with `prompt`: also entries of its scope whose codes differ in at most so many bits.
            dry_run: only say which they are.

        Raises:
            InvalidValueError: neither tag, prompt nor scope, or a radius out of range or without a prompt.
            EmbedderError: the prompt could not be embedded.
            StoreError: the store failed.
        """
        return self._removal.invalidate(tag, prompt, scope, radius, dry_run=dry_run)

    def clear(self, *, scope: JSON | AnyScope = ANY_SCOPE) -> int:
        """Removes all entries, or all of one scope; returns how many. Reports and counters stay."""
        return self._removal.clear(scope)

    def flush(self) -> None:
        """Returns when every put that returned will survive what the store promises to survive."""
        self._store.flush()

    def stats(self) -> SemanticCacheStats:
        """Counters of this cache in this process, and the size of the store."""
        size = self._store.stats()
        return self._counters.stats(
            entries=size.entries,
            n_bytes=size.n_bytes,
            index_bytes=self._mirror.nbytes,
            budget={} if self._budget is None else self._budget.classes(),
        )

    def _look_up(
        self,
        prompt: str | Request,
        scope: JSON,
        threshold: float | None,
        exact_only: bool,
        timeout_seconds: float | None,
        *,
        will_put: bool = True,
    ) -> tuple[Verdict, Asked | None]:
        """The verdict, and the request for a put that may follow; `None` where none may."""
        settings = self._settings
        least = settings.threshold if threshold is None else threshold_of(threshold)
        limit = (
            settings.timeout_seconds
            if timeout_seconds is None
            else seconds("timeout_seconds", timeout_seconds)
        )
        try:
            asked = self._lookup.asked(prompt, scope, exact_only=exact_only, will_put=will_put)
        except InvalidValueError as exc:
            miss = Miss(MissReason.UNUSABLE, None, str(exc))
            self._counters.verdict(miss)
            return miss, None
        if _is_new_each_time(prompt):
            self._counters.verdict(miss := Miss(MissReason.STATE, None))
            return miss, None
        return self._lookup.verdict(asked, least, monotonic() + limit), asked


def _is_new_each_time(prompt: str | Request) -> bool:
    return isinstance(prompt, Request) and not prompt.is_repeatable
