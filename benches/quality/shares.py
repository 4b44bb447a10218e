"""Shares of a decision, and the curves that they draw over thresholds."""

from collections.abc import Callable, Sequence

from benches.quality.evidence import Evidence
from binary_semantic_cache.proof.shares import Point, Share

__all__ = ["THRESHOLDS", "curve", "measured"]

THRESHOLDS = tuple(round(0.60 + 0.01 * step, 2) for step in range(40))
"""0.60 to 0.99."""


def measured(pairs: Sequence[Evidence], serves: Callable[[Evidence], bool]) -> Point:
    """The shares of one decision."""
    return Point(
        Share.of(serves(evidence) for evidence in pairs if evidence.pair.same),
        Share.of(serves(evidence) for evidence in pairs if not evidence.pair.same),
    )


def curve(pairs: Sequence[Evidence], serves: Callable[[Evidence, float], bool]) -> list[Point]:
    """A point for each of `THRESHOLDS`."""

    def at(threshold: float) -> Callable[[Evidence], bool]:
        return lambda evidence: serves(evidence, threshold)

    return [measured(pairs, at(threshold)) for threshold in THRESHOLDS]
