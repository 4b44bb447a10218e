"""The decision put together step by step: what each part adds to those before it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from benches.quality.evidence import DECISIONS, JUDGE, Evidence, judged_outcome, least_cosine, outcome
from benches.quality.shares import measured
from benches.quality.shipped import WITH_JUDGE
from binary_semantic_cache import Judge
from binary_semantic_cache.proof.shares import Point, Share
from binary_semantic_cache.text.guards import GUARDS

__all__ = ["DOUBTING", "GreyZone", "ablated", "in_doubt", "is_asked", "served_in_doubt"]

DOUBTING = Judge(least_cosine=0.50, verify_between=(0.45, 0.95))
"""A judge that leaves to a verifier what it is not sure of, and so looks further: that of `docs/judge.md`."""

Serves = Callable[[Evidence], bool]


def ablated(pairs: Sequence[Evidence], threshold: float) -> dict[str, Point]:
    """The shares at each step, in their order.

    Up to the guards the last text alone counts; from `as shipped` on everything does: exact tier, earlier
    turns, policy, window.

    Args:
        pairs: what is asked.
        threshold: least cosine; of the judge, its own.
    """
    return {name: measured(pairs, serves) for name, serves in _steps(threshold).items()}


@dataclass(frozen=True, slots=True)
class GreyZone:
    """What a verifier in the judge's grey zone would have to do, and the best and the worst that it could."""

    asked: Share
    """Of all pairs."""
    best: Point
    """It is always right."""
    worst: Point
    """It agrees to everything."""


def is_asked(judge: Judge, evidence: Evidence) -> bool:
    """Whether a judge with a grey zone leaves this pair to the verifier."""
    return _may_pass(judge, evidence) and not judge.is_sure(evidence.probability)


def served_in_doubt(judge: Judge, evidence: Evidence, *, agrees: bool) -> bool:
    """Whether the pair is served if the verifier, where it is asked, says so."""
    if outcome(evidence, judge.least_cosine) == "exact":
        return True
    return _may_pass(judge, evidence) and (agrees or not is_asked(judge, evidence))


def in_doubt(pairs: Sequence[Evidence], judge: Judge = DOUBTING) -> GreyZone:
    """What a verifier behind `judge` would be asked."""
    return GreyZone(
        Share.of(is_asked(judge, one) for one in pairs),
        measured(pairs, lambda one: served_in_doubt(judge, one, agrees=one.pair.same is True)),
        measured(pairs, lambda one: served_in_doubt(judge, one, agrees=True)),
    )


def _may_pass(judge: Judge, evidence: Evidence) -> bool:
    return outcome(evidence, judge.least_cosine) == "semantic" and judge.may_serve(evidence.probability)


def _steps(threshold: float) -> Mapping[str, Serves]:
    codes, whole = DECISIONS["codes"], DECISIONS["as shipped"]
    steps: dict[str, Serves] = {
        "codes": lambda one: codes(one, least_cosine("codes", threshold)),
        "cosine": lambda one: one.cosine >= threshold,
    }
    for guards in accumulate([guard] for guard in GUARDS):
        steps[f"+ {guards[-1]}"] = _guarded(frozenset(guards), threshold)
    steps["as shipped"] = lambda one: whole(one, threshold)
    steps[WITH_JUDGE] = lambda one: judged_outcome(one) in ("exact", "semantic")
    steps["judge, no guard"] = lambda one: (
        one.cosine >= JUDGE.least_cosine and one.probability >= JUDGE.least_probability
    )
    return steps


def _guarded(guards: frozenset[str], threshold: float) -> Serves:
    return lambda one: one.cosine >= threshold and not one.vetoes & guards
