"""What is known of a pair before anything is decided, and the decisions that can be made of it."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from unicodedata import normalize

import numpy as np

from binary_semantic_cache import (
    Guards,
    HammingSimilarity,
    Judge,
    MissReason,
    Policy,
    Request,
    RustBinaryEncoder,
)
from binary_semantic_cache.binary_semantic_cache_rs import cosines
from binary_semantic_cache.proof.pairs import Pair, requested
from binary_semantic_cache.proof.remembering import RememberingEmbedder
from binary_semantic_cache.text.vectors import pack, unit

__all__ = [
    "CODE_BITS",
    "CODE_SIMILARITY",
    "DECISIONS",
    "JUDGE",
    "Evidence",
    "Examiner",
    "judged_outcome",
    "least_cosine",
    "outcome",
]

CODE_BITS = 256

CODE_SIMILARITY = 0.80
"""`BinarySemanticCache`'s default threshold, a share of equal bits."""

JUDGE = Judge()
"""The shipped one, with its shipped limits."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One pair, examined."""

    pair: Pair
    distance: int
    """Bits in which the codes of the two texts differ."""
    cosine: float
    """Of the new text with the vector kept of the old one."""
    vetoes: frozenset[str]
    """Names of all guards that object."""
    probability: float
    """That the answer is the one, by the judge, whatever guards say."""
    equal: bool
    """The texts are the same."""
    one_scope: bool
    """All else of the two requests is the same: earlier turns above all."""
    refused: MissReason | None
    """Why the new text is not matched by meaning; `None` if it may be."""
    searchable: bool
    """Whether the old text may be found by meaning."""

    @property
    def code_cosine(self) -> float:
        """The cosine that the distance stands for, on average. Source: Charikar 2002, section 3."""
        return math.cos(math.pi * self.distance / CODE_BITS)


class Examiner:
    """Looks at pairs with the parts that the cache is made of."""

    def __init__(self, embeddings: RememberingEmbedder) -> None:
        self._embeddings = embeddings
        self._encoder = RustBinaryEncoder(embeddings.dimension, CODE_BITS)
        self._hamming = HammingSimilarity(CODE_BITS)
        self._guards, self._policy = Guards(), Policy()

    def examine(self, pairs: Iterable[Pair]) -> list[Evidence]:
        """The evidence of each pair, in their order."""
        return [self._examined(pair) for pair in pairs]

    def _examined(self, pair: Pair) -> Evidence:
        old, new = requested(pair.a), requested(pair.b)
        kept, asked = (unit(self._embeddings.of(request.text)) for request in (old, new))
        codes = self._encoder.encode(np.stack([kept, asked]))
        packed = [pack(kept, "int8")]
        (cosine,) = cosines(asked, packed)
        (probability,) = JUDGE.score(new.text, asked, [old.text], packed)
        assert cosine is not None
        assert probability is not None
        (vetoes,) = self._guards.check(new.text, [old.text])
        return Evidence(
            pair=pair,
            distance=int(self._hamming.distance(codes[0], codes[1])),
            cosine=cosine,
            vetoes=frozenset(veto.guard for veto in vetoes),
            probability=probability,
            equal=normalize("NFC", old.text) == normalize("NFC", new.text),
            one_scope=old.context == new.context and (old.exact_only is None) == (new.exact_only is None),
            refused=self._refused(new),
            searchable=self._refused(old) is None,
        )

    def _refused(self, request: Request) -> MissReason | None:
        if request.exact_only is not None:
            return MissReason.EXACT_ONLY
        if self._policy.classify(request.text):
            return MissReason.POLICY
        window = self._embeddings.max_tokens
        if window is not None and self._embeddings.count_tokens(request.text) > window:
            return MissReason.TOO_LONG
        return None


def outcome(evidence: Evidence, threshold: float, vetoes: frozenset[str] | None = None) -> str:
    """What the cache must do, composed of its parts: `exact`, `semantic`, or the reason of a miss.

    Args:
        evidence: the pair.
        threshold: least cosine.
        vetoes: the guards that object, if not all of them are on.
    """
    if evidence.equal and evidence.one_scope:
        return "exact"
    if evidence.refused is not None:
        return evidence.refused.value
    if not evidence.searchable or not evidence.one_scope:
        return MissReason.NO_CANDIDATE.value
    if evidence.cosine < threshold:
        return MissReason.BELOW_THRESHOLD.value
    if evidence.vetoes if vetoes is None else vetoes:
        return MissReason.GUARD.value
    return "semantic"


def judged_outcome(evidence: Evidence) -> str:
    """What a cache with the shipped judge must do, composed of its parts as `outcome` is."""
    found = outcome(evidence, JUDGE.least_cosine)
    if found == "semantic" and evidence.probability < JUDGE.least_probability:
        return MissReason.JUDGE.value
    return found


def _codes(evidence: Evidence, threshold: float) -> bool:
    return evidence.code_cosine >= threshold


def _cosine(evidence: Evidence, threshold: float) -> bool:
    return evidence.cosine >= threshold


def _guarded(evidence: Evidence, threshold: float) -> bool:
    return evidence.cosine >= threshold and not evidence.vetoes


def _whole(evidence: Evidence, threshold: float) -> bool:
    return outcome(evidence, threshold) in ("exact", "semantic")


DECISIONS: Mapping[str, Callable[[Evidence, float], bool]] = {
    "codes": _codes,
    "cosine": _cosine,
    "cosine + guards": _guarded,
    "as shipped": _whole,
}
"""Whether an answer is served at a least cosine; the first three see the last text alone."""


def least_cosine(decision: str, shipped: float) -> float:
    """The shipped threshold of a decision, as a cosine."""
    return math.cos(math.pi * (1 - CODE_SIMILARITY)) if decision == "codes" else shipped
