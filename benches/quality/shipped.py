"""The cache as it is shipped, asked about each pair, and held against what its parts say."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benches.harness import check_equal
from benches.quality.evidence import JUDGE, Evidence, judged_outcome, outcome
from binary_semantic_cache import Hit, Request, SemanticCache
from binary_semantic_cache.proof.pairs import Messages, requested
from binary_semantic_cache.proof.remembering import RememberingEmbedder

__all__ = ["ANSWER", "WITH_JUDGE", "Verdicts", "ask_cache", "ask_judged_cache", "given"]

WITH_JUDGE = "with judge"
"""The name of a cache that has the shipped judge, too."""

ANSWER = "the answer to the first prompt"
"""What is put."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the cache said."""

    threshold: float
    """The one that it chose for the embedder."""
    outcomes: Sequence[str]
    """For each pair `exact`, `semantic`, or the reason of the miss."""

    def reasons(self, pairs: Sequence[Evidence], *, same: bool) -> Counter[str]:
        """How often each outcome came, over the pairs with this label."""
        return Counter(
            said for said, evidence in zip(self.outcomes, pairs, strict=True) if evidence.pair.same is same
        )


def ask_cache(embeddings: RememberingEmbedder, pairs: Sequence[Evidence]) -> Verdicts:
    """Puts the first prompt of each pair and looks up the second, each pair in a scope of its own.

    Raises:
        UnequalResultsError: the cache did not do what its parts say.
    """
    outcomes = []
    with SemanticCache(embedder=embeddings) as cache:
        for i, evidence in enumerate(pairs):
            scope = {"pair": i}
            cache.put(given(evidence.pair.a), ANSWER, scope=scope)
            verdict = cache.lookup(given(evidence.pair.b), scope=scope)
            said = verdict.kind if isinstance(verdict, Hit) else verdict.reason.value
            check_equal(evidence.pair.id, "SemanticCache", outcome(evidence, cache.threshold), said)
            if isinstance(verdict, Hit):
                check_equal(evidence.pair.id, "SemanticCache", ANSWER, verdict.response)
            outcomes.append(said)
        return Verdicts(cache.threshold, outcomes)


def ask_judged_cache(embeddings: RememberingEmbedder, pairs: Sequence[Evidence]) -> list[bool]:
    """Whether a cache with the shipped judge answers the second prompt of each pair, put and asked as above.

    Raises:
        UnequalResultsError: the cache did not do what its parts say.
    """
    served = []
    with SemanticCache(embedder=embeddings, judge=JUDGE) as cache:
        for i, evidence in enumerate(pairs):
            scope = {"pair": i}
            cache.put(given(evidence.pair.a), ANSWER, scope=scope)
            verdict = cache.lookup(given(evidence.pair.b), scope=scope)
            said = verdict.kind if isinstance(verdict, Hit) else verdict.reason.value
            check_equal(evidence.pair.id, f"SemanticCache {WITH_JUDGE}", judged_outcome(evidence), said)
            served.append(bool(verdict))
    return served


def given(side: str | Messages) -> str | Request:
    """One side of a pair as the cache takes it."""
    return side if isinstance(side, str) else requested(side)
