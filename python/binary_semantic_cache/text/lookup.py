"""The way of a request through the cache, up to its verdict."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from binary_semantic_cache.errors import EmbedderError, StoreError
from binary_semantic_cache.stores import Store, Stored
from binary_semantic_cache.text.canonical import JSON
from binary_semantic_cache.text.clock import Clock
from binary_semantic_cache.text.coding import CodedText, Coder, Missed
from binary_semantic_cache.text.counters import Counters
from binary_semantic_cache.text.credence import Credence
from binary_semantic_cache.text.deadline import Guarded, UnavailableError
from binary_semantic_cache.text.decision import Decision, Judgement, Query
from binary_semantic_cache.text.explanation import Explanation
from binary_semantic_cache.text.fingerprint import Fingerprint, Fingerprinter
from binary_semantic_cache.text.mirror import Mirror
from binary_semantic_cache.text.oversight import Oversight, Question
from binary_semantic_cache.text.payload import decode_response
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.vectors import radius
from binary_semantic_cache.text.verdict import Candidate, Hit, Miss, MissReason, Verdict

__all__ = ["NO_PAIR", "Asked", "Lookup"]

_logger = logging.getLogger(__name__)

NO_PAIR = bytes(16)
"""Stands in the id of an exact hit, where no two prompts were matched."""


@dataclass(slots=True)
class Asked:
    """A request on its way: what was found out about it is kept for the put that may follow."""

    fingerprint: Fingerprint
    model: str | None
    exact_only: tuple[MissReason, str] | None
    """Why it is not matched by meaning, as far as that is known."""
    question: Question
    coded: CodedText | None = None
    will_put: bool = True
    """Whether an answer may be put after a miss."""


class Lookup:
    """Exact tier, embedding, decision; a failure on the way is a miss that names it."""

    def __init__(
        self,
        *,
        store: Store,
        store_calls: Guarded[Any],
        store_writes: Guarded[Any],
        mirror: Mirror,
        decision: Decision,
        coder: Coder,
        fingerprinter: Fingerprinter,
        credence: Credence,
        policy: Policy,
        oversight: Oversight,
        counters: Counters,
        clock: Clock,
        timeout_seconds: float,
        code_bits: int,
    ) -> None:
        self._store = store
        self._store_calls = store_calls
        self._store_writes = store_writes
        self._mirror = mirror
        self._decision = decision
        self._coder = coder
        self._fingerprinter = fingerprinter
        self._credence = credence
        self._policy = policy
        self._oversight = oversight
        self._counters = counters
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._code_bits = code_bits
        self._missed = Missed()

    def asked(
        self, prompt: str | Request, scope: JSON, *, exact_only: bool = False, will_put: bool = True
    ) -> Asked:
        """The request with its fingerprint. Raises as `Fingerprinter.of`."""
        fingerprint = self._fingerprinter.of(prompt, scope)
        why: tuple[MissReason, str] | None = None
        model = None
        if exact_only or not self._coder.embeds:
            why = MissReason.EXACT_ONLY, "as asked" if exact_only else "no_embedder"
        if isinstance(prompt, Request):
            model = prompt.model
            if prompt.exact_only is not None:
                why = MissReason.EXACT_ONLY, prompt.exact_only.value
        elif not fingerprint.text:
            why = MissReason.EXACT_ONLY, "no_text"
        question = Question(fingerprint.key, fingerprint.text, prompt, scope)
        return Asked(fingerprint, model, why, question, will_put=will_put)

    def exact(self, asked: Asked, deadline: float) -> Hit | None:
        """The answer to the very same request, if it may be served. Raises `UnavailableError`."""
        return None if self._oversight.is_shadow else self._exact(asked, deadline)

    def verdict(self, asked: Asked, threshold: float, deadline: float) -> Verdict:
        """Hit or miss, counted."""
        try:
            verdict = self._verdict(asked, threshold, deadline)
        except Exception as exc:  # a part of the cache, perhaps the caller's own, did what it must not
            _logger.exception("a lookup failed: %s", type(exc).__name__, exc_info=False)
            self._counters.add_named("failures", "lookup")
            verdict = Miss(MissReason.FAILED, None, type(exc).__name__)
        verdict = self._oversight.shadowed(verdict)
        if asked.coded is not None and asked.will_put and not verdict:
            self._missed.remember(asked.fingerprint.key, asked.coded)
        self._counters.verdict(verdict)
        if _logger.isEnabledFor(logging.DEBUG):
            _log(verdict)
        return verdict

    def classify(self, asked: Asked) -> None:
        """Looks whether length or policy keeps the text from being matched by meaning."""
        if asked.exact_only is None and self._coder.is_hopeless(asked.fingerprint.text):
            asked.exact_only = self._too_long()
        if asked.exact_only is None:
            found = self._policy.classify(asked.fingerprint.text)
            if found:
                asked.exact_only = MissReason.POLICY, ", ".join(sorted(found))

    def code(self, asked: Asked, deadline: float) -> None:
        """Embeds the text, or notes that it is too long. Raises `UnavailableError`."""
        if asked.coded is None:
            asked.coded = self._coder.code(asked.fingerprint.text, deadline)
            if asked.coded is None:
                asked.exact_only = self._too_long()

    def code_for_put(self, asked: Asked, deadline: float) -> None:
        """As `code`; what the lookup before the put has embedded is not embedded again."""
        if asked.coded is None:
            asked.coded = self._missed.take(asked.fingerprint.key)
        self.code(asked, deadline)

    def explain(self, prompt: str | Request, scope: JSON, threshold: float) -> Explanation:
        """Every step of the decision; no entry is used by it. Raises `StoreError`, `EmbedderError`."""
        asked, deadline = self.asked(prompt, scope), monotonic() + self._timeout_seconds
        self.classify(asked)
        why = asked.exact_only
        try:
            stored = self._found(asked, self._clock.now(), deadline)
        except UnavailableError as exc:
            raise StoreError(str(exc)) from exc
        judgement = None
        if why is None or why[0] is MissReason.POLICY:
            try:
                self.code(asked, deadline)
            except UnavailableError as exc:
                raise EmbedderError(str(exc)) from exc
            why = asked.exact_only
        if asked.coded is not None:
            try:
                judgement = self._decision.judge(
                    self._query(asked, asked.coded), threshold, deadline, look_at_all=True
                )
            except UnavailableError as exc:
                raise StoreError(str(exc)) from exc
        outcome = self._outcome(asked, stored, why, judgement)
        outlook = self._oversight.outlook(outcome)
        candidates = () if judgement is None else judgement.candidates
        nearest = candidates[0] if candidates else None
        return Explanation(
            text=asked.fingerprint.text,
            scope=asked.fingerprint.scope.hex(),
            exact_key=asked.fingerprint.key.hex(),
            exact_match=stored is not None,
            policy=why[1] if why is not None and why[0] is MissReason.POLICY else None,
            exact_only=why[1] if why is not None and why[0] is not MissReason.POLICY else None,
            threshold=threshold,
            radius=radius(threshold, self._code_bits),
            candidates=candidates,
            learned=outlook,
            verdict=self._oversight.explained(asked.question, outcome, outlook, nearest),
        )

    def near(self, asked: Asked, bits: int, limit: int) -> list[Stored]:
        """The entries of the request's scope inside a radius. Raises `StoreError`, `EmbedderError`."""
        try:
            self.code(asked, monotonic() + self._timeout_seconds)
        except UnavailableError as exc:
            raise EmbedderError(str(exc)) from exc
        if asked.coded is None:
            return []
        self._mirror.sync()
        scope, now = asked.fingerprint.scope, self._clock.now()
        near = self._mirror.within(scope, asked.coded.code, bits, limit)
        read = (self._store.get(entry_id, scope, near.code(at), now) for at, entry_id in enumerate(near.ids))
        return [stored for stored in read if stored is not None]

    def _exact(self, asked: Asked, deadline: float) -> Hit | None:
        now = self._clock.now()
        stored = self._found(asked, now, deadline)
        if stored is None:
            return None
        hit = self._hit(stored, "exact", 1.0, NO_PAIR)
        self._used(stored, now)
        return hit

    def _found(self, asked: Asked, now: float, deadline: float) -> Stored | None:
        fingerprint = asked.fingerprint
        stored = self._store_calls.call(lambda: self._store.find(fingerprint.key, now), deadline)
        return self._credence.exact(stored, fingerprint, now)

    def _verdict(self, asked: Asked, threshold: float, deadline: float) -> Verdict:
        try:
            hit = self._exact(asked, deadline)
        except UnavailableError as exc:
            return self._store_miss(exc)
        if hit is not None:
            return hit
        self.classify(asked)
        if asked.exact_only is None and (stopped := self._oversight.stopped(asked.question)) is not None:
            return stopped
        if asked.exact_only is None:
            try:
                self.code(asked, deadline)
            except UnavailableError as exc:
                self._counters.add_named("failures", "embedder")
                reason = MissReason.EMBEDDER_TIMEOUT if exc.timed_out else MissReason.EMBEDDER_FAILED
                return Miss(reason, None, exc.why)
        if asked.exact_only is not None:
            reason, detail = asked.exact_only
            return Miss(reason, None, detail)
        assert asked.coded is not None
        try:
            judgement = self._decision.judge(self._query(asked, asked.coded), threshold, deadline)
            self._counters.judgement(judgement)
            verdict = self._outcome(asked, None, None, judgement)
        except UnavailableError as exc:
            return self._store_miss(exc)
        if isinstance(verdict, Hit) and verdict.kind == "semantic":
            held_back = self._oversight.held_back(
                asked.question, verdict, judgement.candidates[-1], will_put=asked.will_put
            )
            if held_back is not None:
                return held_back
        if judgement.served is not None:
            self._used(judgement.served, self._clock.now())
        return verdict

    def _outcome(
        self,
        asked: Asked,
        exact: Stored | None,
        why: tuple[MissReason, str] | None,
        judgement: Judgement | None,
    ) -> Verdict:
        served = None if judgement is None else judgement.served
        if served is not None and served.entry.key == asked.fingerprint.key:
            exact = served  # it was put after the exact tier had been asked
        if exact is not None:
            return self._hit(exact, "exact", 1.0, NO_PAIR)
        candidates: tuple[Candidate, ...] = () if judgement is None else judgement.candidates
        nearest = candidates[0] if candidates else None
        if why is not None:
            return Miss(why[0], nearest, why[1])
        assert judgement is not None
        if judgement.served is None:
            assert judgement.reason is not None
            return Miss(judgement.reason, nearest, judgement.detail)
        chosen = next(candidate for candidate in candidates if candidate.refused is None)
        return self._hit(judgement.served, "semantic", chosen.similarity, judgement.pair, chosen.probability)

    def _hit(
        self,
        stored: Stored,
        kind: Literal["exact", "semantic"],
        similarity: float,
        pair: bytes,
        probability: float | None = None,
    ) -> Hit:
        entry = stored.entry
        try:
            response = decode_response(entry.kind, entry.payload)
        except Exception as exc:
            raise UnavailableError("store", "holds an answer that is damaged", timed_out=False) from exc
        return Hit(
            response=response,
            kind=kind,
            similarity=similarity,
            entry_id=stored.id,
            prompt=entry.prompt,
            age_seconds=max(0.0, self._clock.now() - entry.created_at),
            saved=entry.saving,
            id=self._fingerprinter.hit_id(stored.id, pair),
            probability=probability,
        )

    def _used(self, stored: Stored, now: float) -> None:
        """Makes the entry the most recently used, and moves its expiry if it slides."""
        self._mirror.touch(stored.id, now)
        ttl = stored.entry.ttl_seconds
        if ttl is not None:
            with suppress(UnavailableError):
                self._store_writes.call(
                    lambda: self._store.prolong(stored.id, now + ttl), monotonic() + self._timeout_seconds
                )

    def _too_long(self) -> tuple[MissReason, str]:
        return MissReason.TOO_LONG, f"more than {self._coder.window} tokens"

    def _store_miss(self, exc: UnavailableError) -> Miss:
        self._counters.add_named("failures", "store")
        reason = MissReason.STORE_TIMEOUT if exc.timed_out else MissReason.STORE_FAILED
        return Miss(reason, None, exc.why)

    @staticmethod
    def _query(asked: Asked, coded: CodedText) -> Query:
        fingerprint = asked.fingerprint
        return Query(fingerprint.text, fingerprint.scope, fingerprint.key, coded.embedding, coded.code)


def _log(verdict: Verdict) -> None:
    if isinstance(verdict, Hit):
        _logger.debug("%s hit, entry %d, similarity %.3f", verdict.kind, verdict.entry_id, verdict.similarity)
    else:
        _logger.debug("miss: %s", verdict.reason.value)
        if verdict.would_serve is not None:
            _log(verdict.would_serve)
