"""From an embedded text to the entry whose answer may be served, or to the reason why there is none."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import cosines
from binary_semantic_cache.stores import Store, Stored
from binary_semantic_cache.text.credence import Credence
from binary_semantic_cache.text.deadline import Guarded, UnavailableError
from binary_semantic_cache.text.judge import Judge
from binary_semantic_cache.text.mirror import Mirror, Neighbours
from binary_semantic_cache.text.vectors import radius
from binary_semantic_cache.text.verdict import Candidate, MissReason, Veto

__all__ = ["CANDIDATES", "Decision", "Judgement", "PairGuards", "Query", "Verifier"]

_logger = logging.getLogger(__name__)

CANDIDATES = 64
"""Entries re-scored for one lookup; those beyond are counted as an overflow."""
_EXPLAINED = 10
_READ = 8
"""Entries above the threshold whose prompts are read: with eight refused, a ninth is hardly the right one."""

Verifier = Callable[[str, str], object]
"""Called with a prompt and a candidate's prompt; true if the candidate's answer answers the prompt."""


class PairGuards(Protocol):
    """Sees whether two prompts ask for different things."""

    def check(self, prompt: str, candidates: Sequence[str]) -> list[list[Veto]]:
        """The objections to serving each candidate's answer to `prompt`; empty where there are none."""


class Query(NamedTuple):
    """A text as the decision takes it."""

    text: str
    scope: bytes
    key: bytes
    embedding: NDArray[np.float32]
    """Of length 1."""
    code: bytes


class Judgement(NamedTuple):
    """What the decision came to."""

    served: Stored | None
    candidates: tuple[Candidate, ...]
    """Most similar first; the one served has no `refused`."""
    reason: MissReason | None
    detail: str = ""
    pair: bytes = b""
    overflow: bool = False


class Decision:
    """Candidates by Hamming distance, exact re-scoring, guards, judge, verifier: each can only veto.

    Args:
        store: holds vectors and bodies.
        store_calls: how to call it.
        mirror: the index of it.
        guards: `None` for none.
        judge: `None` for none.
        verifier: `None` for none.
        credence: whether to believe the store.
        pair: the keyed hash of two keys, for pairs that were reported.
        code_bits: bits of a code.
        now: the time.
    """

    def __init__(
        self,
        *,
        store: Store,
        store_calls: Guarded[Any],
        mirror: Mirror,
        guards: PairGuards | None,
        judge: Judge | None,
        verifier: Verifier | None,
        credence: Credence,
        pair: Callable[[bytes, bytes], bytes],
        code_bits: int,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._store_calls = store_calls
        self._mirror = mirror
        self._guards = guards
        self._judge = judge
        self._verifier = verifier
        self._verifier_calls: Guarded[object] = Guarded("verifier", bounded=False)
        self._credence = credence
        self._pair = pair
        self._code_bits = code_bits
        self._now = now
        self._radii: dict[float, int] = {}

    def judge(
        self, query: Query, threshold: float, deadline: float, *, look_at_all: bool = False
    ) -> Judgement:
        """Finds the most similar entry that nothing speaks against.

        Args:
            query: the text, with scope, key, embedding and code.
            threshold: least cosine of a hit.
            deadline: by `time.monotonic`.
            look_at_all: judge every candidate in full, those below the threshold too, for an explanation.

        Raises:
            UnavailableError: the store failed or was too slow.
        """
        near, packed, ranked = self._ranked(query, threshold, deadline, all_within=look_at_all)
        overflow = near.more and not look_at_all
        judged: list[Candidate] = []
        served: Stored | None = None
        pair, first_reason, detail = b"", None, ""
        for similarity, at in ranked[: CANDIDATES if look_at_all else _READ]:
            far = similarity < threshold
            if far and judged and not look_at_all:
                break
            stored = self._read(query, near.ids[at], near.code(at), packed[at], deadline)
            if stored is None:
                continue  # expired or removed since the index saw it
            candidate = Candidate(stored.id, near.distances[at], similarity, stored.entry.prompt)
            if far and not look_at_all:
                # For the reader of the miss alone.
                judged.append(replace(candidate, refused=MissReason.BELOW_THRESHOLD))
                break
            this_pair = self._pair(query.key, stored.entry.key)
            candidate, why = self._judged(query, candidate, packed[at], this_pair, deadline)
            if far:
                candidate = replace(candidate, refused=MissReason.BELOW_THRESHOLD)
            judged.append(candidate)
            if candidate.refused is None and served is None:
                served, pair = stored, this_pair
                if not look_at_all:
                    break
            elif candidate.refused is not None and not far and first_reason is None:
                first_reason, detail = candidate.refused, why
        if served is not None:
            return Judgement(served, tuple(judged), None, pair=pair, overflow=overflow)
        if first_reason is None:
            first_reason = MissReason.BELOW_THRESHOLD if judged else MissReason.NO_CANDIDATE
        return Judgement(None, tuple(judged), first_reason, detail, overflow=overflow)

    def _ranked(
        self, query: Query, threshold: float, deadline: float, *, all_within: bool
    ) -> tuple[Neighbours, list[bytes], list[tuple[float, int]]]:
        """Candidates, their vectors, and `(cosine, place)`, most similar first; newest first among equals."""
        self._store_calls.call(self._mirror.sync, deadline)
        within = self._code_bits if all_within else self._radius(threshold)
        limit = _EXPLAINED if all_within else CANDIDATES
        near = self._mirror.within(query.scope, query.code, within, limit)
        if not near.ids:
            near = self._mirror.nearest(query.scope, query.code)
            if not near.ids:
                return near, [], []
        packed: list[bytes] = self._store_calls.call(lambda: self._mirror.vectors(near.ids), deadline)
        ranked = [
            # Without vectors: the cosine at which so many bits differ on average.
            (math.cos(math.pi * near.distances[at] / self._code_bits) if score is None else score, at)
            for at, score in enumerate(cosines(query.embedding, packed))
            if score is None or not math.isnan(score)  # one that is damaged is nobody's neighbour
        ]
        ranked.sort(key=lambda found: (-found[0], near.distances[found[1]], -near.ids[found[1]]))
        return near, packed, ranked

    def _radius(self, threshold: float) -> int:
        found = self._radii.get(threshold)
        if found is None:
            if len(self._radii) > 256:
                self._radii.clear()
            found = self._radii[threshold] = radius(threshold, self._code_bits)
        return found

    def _read(
        self, query: Query, entry_id: int, code: bytes, vector: bytes, deadline: float
    ) -> Stored | None:
        now = self._now()
        stored = self._store_calls.call(lambda: self._store.get(entry_id, query.scope, code, now), deadline)
        assert stored is None or isinstance(stored, Stored)
        return self._credence.near(stored, entry_id, query.scope, code, vector, now)

    def _judged(
        self, query: Query, candidate: Candidate, vector: bytes, pair: bytes, deadline: float
    ) -> tuple[Candidate, str]:
        prompt = candidate.prompt
        assert prompt is not None
        if self._mirror.is_forbidden(pair):
            return replace(candidate, refused=MissReason.REPORTED), ""
        if self._guards is not None:
            try:
                (vetoes,) = self._guards.check(query.text, [prompt])
            except Exception as exc:  # guards of the caller's own; what they do not clear is not served
                _logger.warning("the guards failed: %s", type(exc).__name__)
                return replace(candidate, refused=MissReason.GUARD), f"failed: {type(exc).__name__}"
            if vetoes:
                named = ", ".join(dict.fromkeys(veto.guard for veto in vetoes))
                return replace(candidate, vetoes=tuple(vetoes), refused=MissReason.GUARD), named
        if self._judge is not None:
            # A vector that is kept may be damaged: what cannot be judged is not served.
            (probability,) = self._judge.score(query.text, query.embedding, [prompt], [vector])
            candidate = replace(candidate, probability=probability)
            if probability is None or not self._judge.may_serve(probability):
                why = "no vector" if probability is None else f"{probability:.3f}"
                return replace(candidate, refused=MissReason.JUDGE), why
            if self._judge.is_sure(probability):
                return candidate, ""
        if self._verifier is not None:
            verifier = self._verifier
            try:
                agreed = self._verifier_calls.call(lambda: verifier(query.text, prompt), deadline)
            except UnavailableError as exc:
                reason = MissReason.VERIFIER_TIMEOUT if exc.timed_out else MissReason.VERIFIER_FAILED
                return replace(candidate, refused=reason), exc.why
            if not agreed:
                return replace(candidate, refused=MissReason.VERIFIER), ""
        return candidate, ""
