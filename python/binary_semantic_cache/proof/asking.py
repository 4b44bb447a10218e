"""The cache itself, asked about pairs: what it says at its threshold, and from which threshold on it serves.

Each pair has a scope of its own: its first prompt is put, its second looked up. Beside the verdict, the cache
explains each decision with no threshold at all; what that comes to is one number a pair, the loosest
threshold that still serves, so that every other threshold is tried without asking or embedding again.
With a judge the number is its probability, and the threshold the least of those; its least cosine stays.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import EmbedderError, InvalidValueError, StoreError
from binary_semantic_cache.proof.pairs import Pair, requested
from binary_semantic_cache.text.decision import PairGuards, Verifier
from binary_semantic_cache.text.explanation import Explanation
from binary_semantic_cache.text.judge import Judge
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import Hit, MissReason, Verdict

__all__ = ["ALWAYS", "NEVER", "Asked", "ask", "texts_of"]

ALWAYS, NEVER = math.inf, -math.inf
"""Scores of pairs that every threshold serves (the very same prompt), and that none does."""

_ANSWER = "the answer to the first prompt"
_NO_THRESHOLD = -1.0
_ENTRIES = 1024
"""A pair is looked up right after it was put, so few need to be there at a time."""
_SECONDS = 600.0
_EMBEDDER = (MissReason.EMBEDDER_FAILED, MissReason.EMBEDDER_TIMEOUT)
_FAILED = (
    MissReason.FAILED,
    MissReason.STORE_FAILED,
    MissReason.STORE_TIMEOUT,
    MissReason.VERIFIER_FAILED,
    MissReason.VERIFIER_TIMEOUT,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One pair, and what the cache made of it."""

    pair: Pair
    outcome: str
    """At the cache's threshold: `exact`, `semantic`, or the reason of the miss."""
    score: float
    """Served at every threshold up to this one: a cosine, with a judge a probability, `ALWAYS` or `NEVER`."""
    similarity: float | None
    """Cosine of the two prompts; `None` where they were never compared."""
    guards: tuple[str, ...] = ()
    """The guards that object, whatever the threshold."""
    detail: str = ""
    """What they saw, or the class of the policy."""

    @property
    def served(self) -> bool:
        """Whether the cache served the answer."""
        return self.outcome in ("exact", "semantic")

    def served_at(self, threshold: float) -> bool:
        """Whether it would at another threshold."""
        return self.score >= threshold


def texts_of(pairs: Sequence[Pair]) -> set[str]:
    """The texts that asking about the pairs will embed."""
    sides = (requested(side) for pair in pairs for side in (pair.a, pair.b))
    return {request.text for request in sides if request.exact_only is None}


def ask(
    pairs: Sequence[Pair],
    embedder: Embedder,
    *,
    threshold: float | None = None,
    policy: Policy | None = None,
    guards: PairGuards | None = None,
    judge: Judge | None = None,
    verifier: Verifier | None = None,
    progress: Callable[[int], object] = lambda n: None,
) -> tuple[float, list[Asked]]:
    """Asks a cache, as it is shipped unless told otherwise, about each pair.

    Args:
        pairs: what is asked.
        embedder: the cache's; one that does not remember is asked several times for a text.
        threshold: least cosine of a semantic hit; `None` for the embedder's measured default, or the judge's.
        policy: see `SemanticCache`.
        guards: see `SemanticCache`.
        judge: see `SemanticCache`.
        verifier: see `SemanticCache`; not with a judge, since its word has no threshold.
        progress: called with the number of pairs done since the last call.

    Returns:
        The threshold, with a judge its least probability, and what came of each pair, in their order.

    Raises:
        EmbedderError: the embedder failed.
        InvalidValueError: a judge and a verifier, or a judge of another embedder.
        StoreError: another part of the cache failed; a failure is no miss that could be counted.
    """
    if judge is not None and verifier is not None:
        raise InvalidValueError("expected a judge or a verifier, got both")
    cache = SemanticCache(
        embedder=embedder,
        threshold=threshold,
        policy=policy,
        guards=guards,
        judge=judge,
        verifier=verifier,
        max_entries=_ENTRIES,
        timeout_seconds=_SECONDS,
    )
    with cache:
        asked = list(_asked_each(cache, pairs, progress, _NO_THRESHOLD if judge is None else cache.threshold))
        return cache.threshold if judge is None else judge.least_probability, asked


def _asked_each(
    cache: SemanticCache, pairs: Sequence[Pair], progress: Callable[[int], object], least_cosine: float
) -> Iterator[Asked]:
    for i, pair in enumerate(pairs):
        old, new, scope = requested(pair.a), requested(pair.b), {"pair": i}
        cache.put(old, _ANSWER, scope=scope)
        explained = cache.explain(new, scope=scope, threshold=least_cosine)
        verdict = cache.lookup(new, scope=scope)
        yield _asked(pair, explained, verdict)
        progress(1)


def _asked(pair: Pair, explained: Explanation, verdict: Verdict) -> Asked:
    if not isinstance(verdict, Hit):
        if verdict.reason in _EMBEDDER:
            raise EmbedderError(f"pair {pair.id}: the embedder failed: {verdict.detail or verdict.reason}")
        if verdict.reason in _FAILED:
            raise StoreError(f"pair {pair.id}: the cache failed: {verdict.detail or verdict.reason}")
    outcome = verdict.kind if isinstance(verdict, Hit) else verdict.reason.value
    freed = explained.verdict
    nearest = explained.candidates[0] if explained.candidates else None
    similarity = None if nearest is None else nearest.similarity
    if isinstance(freed, Hit):
        score = freed.similarity if freed.probability is None else freed.probability
        return Asked(pair, outcome, ALWAYS if freed.kind == "exact" else score, similarity)
    vetoes = () if nearest is None else nearest.vetoes
    detail = "; ".join(map(str, vetoes)) if freed.reason is MissReason.GUARD and vetoes else freed.detail
    guards = tuple(dict.fromkeys(veto.guard for veto in vetoes))
    score = NEVER
    if freed.reason is MissReason.JUDGE and nearest is not None and nearest.probability is not None:
        score = nearest.probability
    return Asked(pair, outcome, score, similarity, guards, detail)
