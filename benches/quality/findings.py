"""Everything that is measured on one set of pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benches.quality.ablation import GreyZone, ablated, in_doubt
from benches.quality.contenders import ask_contenders
from benches.quality.evidence import DECISIONS, Evidence, Examiner, judged_outcome, least_cosine, outcome
from benches.quality.inputs import AS_WRITTEN, INPUTS, typed
from benches.quality.pairs import PairSet
from benches.quality.shares import THRESHOLDS, curve, measured
from benches.quality.shipped import WITH_JUDGE, Verdicts, ask_cache, ask_judged_cache
from binary_semantic_cache.proof.remembering import RememberingEmbedder
from binary_semantic_cache.proof.shares import Point, Share
from binary_semantic_cache.text.guards import GUARDS

__all__ = ["NEAR_THRESHOLDS", "Finding", "find"]

NEAR_THRESHOLDS = (0.70, 0.74, 0.78, 0.80, 0.82, 0.84, 0.86, 0.90)
"""Where the shipped threshold is compared with its neighbours."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came out for one set."""

    pair_set: PairSet
    evidence: Sequence[Evidence]
    verdicts: Verdicts
    decisions: Mapping[str, Point]
    """Each decision at its shipped threshold; `as shipped` is what the cache itself said."""
    contenders: Mapping[str, Point]
    categories: Mapping[str, Mapping[str, Point]]
    """By category, each decision and contender."""
    curves: Mapping[str, Sequence[Point]]
    alone: Mapping[str, Point]
    """Exact cosine with one guard."""
    without: Mapping[str, Point]
    """Exact cosine with all guards but one."""
    near: Mapping[float, Point]
    """The whole decision at `NEAR_THRESHOLDS`."""
    ablation: Mapping[str, Point]
    """The decision put together step by step, from bare codes to the judge."""
    grey_zone: GreyZone
    inputs: Mapping[str, Mapping[str, Point]]
    """By how all texts are typed (`INPUTS`): the whole decision, without and with the judge."""

    @property
    def name(self) -> str:
        """The set's name."""
        return self.pair_set.name

    def plain(self) -> dict[str, Any]:
        """As JSON; counts, no texts."""
        return {
            "set": self.name,
            "rows": self.pair_set.rows,
            "pairs": len(self.evidence),
            "sources": list(self.pair_set.sources),
            "threshold": self.verdicts.threshold,
            "decisions": _points(self.decisions),
            "contenders": _points(self.contenders),
            "categories": {name: _points(points) for name, points in self.categories.items()},
            "outcomes": {
                label: dict(self.verdicts.reasons(self.evidence, same=same))
                for label, same in (("should_hit", True), ("traps", False))
            },
            "guard_alone": _points(self.alone),
            "guard_left_out": _points(self.without),
            "thresholds": _points({f"{at:.2f}": point for at, point in self.near.items()}),
            "ablation": _points(self.ablation),
            "grey_zone": {
                "asked": {"count": self.grey_zone.asked.count, "n": self.grey_zone.asked.n},
                **_points({"always_right": self.grey_zone.best, "always_yes": self.grey_zone.worst}),
            },
            "inputs": {name: _points(points) for name, points in self.inputs.items()},
            "curves": {
                name: {
                    "served": [point.served.count for point in points],
                    "traps": [point.traps.count for point in points],
                }
                for name, points in self.curves.items()
            },
            "curve_thresholds": list(THRESHOLDS),
        }


def find(pair_set: PairSet, embeddings: RememberingEmbedder, examiner: Examiner) -> Finding:
    """Measures all there is to measure.

    Raises:
        UnequalResultsError: the cache did not do what its parts say.
    """
    evidence = examiner.examine(pair_set.pairs)
    verdicts = ask_cache(embeddings, evidence)
    others = ask_contenders(embeddings, evidence)
    others_typed = {
        name: examiner.examine(typed(pair_set.pairs, name)) for name in INPUTS if name != AS_WRITTEN
    }
    at = verdicts.threshold
    served = {
        name: [decide(one, least_cosine(name, at)) for one in evidence] for name, decide in DECISIONS.items()
    }
    served["as shipped"] = [said in ("exact", "semantic") for said in verdicts.outcomes]
    served[WITH_JUDGE] = ask_judged_cache(embeddings, evidence)
    return Finding(
        pair_set=pair_set,
        evidence=evidence,
        verdicts=verdicts,
        decisions={name: _counted(evidence, outcomes) for name, outcomes in served.items()},
        contenders={name: _counted(evidence, outcomes) for name, outcomes in others.items()},
        categories={
            category: {
                name: _counted(evidence, outcomes, category)
                for name, outcomes in {**served, **others}.items()
            }
            for category in sorted({one.pair.category for one in evidence})
        },
        curves={name: curve(evidence, decide) for name, decide in DECISIONS.items()},
        alone={guard: measured(evidence, partial(_with_only, {guard}, at)) for guard in GUARDS},
        without={guard: measured(evidence, partial(_with_only, {*GUARDS} - {guard}, at)) for guard in GUARDS},
        near={least: measured(evidence, partial(_at, least)) for least in NEAR_THRESHOLDS},
        ablation=ablated(evidence, at),
        grey_zone=in_doubt(evidence),
        inputs={name: _both_ways(one, at) for name, one in {AS_WRITTEN: evidence, **others_typed}.items()},
    )


def _both_ways(pairs: Sequence[Evidence], threshold: float) -> dict[str, Point]:
    """The whole decision without and with the judge."""
    return {
        "as shipped": measured(pairs, partial(_at, threshold)),
        WITH_JUDGE: measured(pairs, lambda one: judged_outcome(one) in ("exact", "semantic")),
    }


def _with_only(guards: set[str], threshold: float, evidence: Evidence) -> bool:
    return outcome(evidence, threshold, evidence.vetoes & guards) in ("exact", "semantic")


def _at(threshold: float, evidence: Evidence) -> bool:
    return DECISIONS["as shipped"](evidence, threshold)


def _counted(evidence: Sequence[Evidence], outcomes: Sequence[bool], category: str | None = None) -> Point:
    chosen = [
        (one.pair.same, served)
        for one, served in zip(evidence, outcomes, strict=True)
        if category in (None, one.pair.category)
    ]
    return Point(
        Share.of(served for same, served in chosen if same),
        Share.of(served for same, served in chosen if not same),
    )


def _points(points: Mapping[str, Point]) -> dict[str, Any]:
    return {name: _plain(point) for name, point in points.items()}


def _plain(point: Point) -> dict[str, Any]:
    return {
        name: {
            "count": share.count,
            "n": share.n,
            "share": round(share.value, 4),
            "interval": [round(end, 4) for end in share.interval],
        }
        for name, share in (("served", point.served), ("traps", point.traps))
        if share.n
    }
