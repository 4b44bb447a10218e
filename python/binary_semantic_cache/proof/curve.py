"""What a set of pairs comes to at other thresholds, and which of them are worth having."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from binary_semantic_cache.proof.asking import NEVER, Asked
from binary_semantic_cache.proof.shares import Point, Share

__all__ = ["Area", "At", "area", "best_by_budget", "best_by_f1", "curve", "measured", "thresholds"]


@dataclass(frozen=True, slots=True)
class At:
    """A threshold, and what it does."""

    threshold: float
    point: Point

    @property
    def f1(self) -> float:
        """Harmonic mean of the share served and the share of right answers; 0.0 where nothing is served."""
        both = self.point.served.count + self.point.traps.count + self.point.served.n
        return 2 * self.point.served.count / both if both else 0.0


@dataclass(frozen=True, slots=True)
class Area:
    """The area under precision against hit rate."""

    area: float
    """0.0 to 1.0: 1.0 if every pair were answered, and rightly. What is never answered adds nothing."""
    hit_rate: float
    """How far the curve goes: the share of pairs that are answered without any threshold."""

    @property
    def mean_precision(self) -> float:
        """The mean height of the curve, as far as it goes."""
        return self.area / self.hit_rate if self.hit_rate else 0.0


def thresholds(least: float, step: float) -> list[float]:
    """Multiples of `step` from below 1.0 down to `least`, strict ones first."""
    n = round(1.0 / step)
    return [round(i * step, 9) for i in range(n - 1, -n - 1, -1) if round(i * step, 9) >= least]


def measured(asked: Sequence[Asked], threshold: float) -> Point:
    """The shares of labelled pairs at one threshold."""
    return Point(
        Share.of(one.served_at(threshold) for one in asked if one.pair.same is True),
        Share.of(one.served_at(threshold) for one in asked if one.pair.same is False),
    )


def curve(asked: Sequence[Asked], least: float = 0.5, step: float = 0.01) -> list[At]:
    """The shares at each of `thresholds`, strict ones first."""
    return [At(threshold, measured(asked, threshold)) for threshold in thresholds(least, step)]


def area(asked: Sequence[Asked]) -> Area:
    """The area under precision against hit rate, each answer adding the precision at its own score.

    Source: the P-CHR AUC of arXiv 2606.19719, whose abstract names it; the steps, as average precision has
    them, are ours. Unlike that, it falls with every pair that is left unanswered.
    """
    labelled = sorted((one for one in asked if one.pair.same is not None), key=lambda one: -one.score)
    total, right, done = 0.0, 0, 0
    served = (one for one in labelled if one.score > NEVER)
    # Equal scores are served together.
    for _, group in groupby(served, key=lambda one: one.score):
        labels = [one.pair.same is True for one in group]
        done += len(labels)
        right += sum(labels)
        total += len(labels) * right / done
    n = len(labelled)
    return Area(total / n, done / n) if n else Area(0.0, 0.0)


def best_by_budget(points: Sequence[At], budget: float) -> At | None:
    """The loosest threshold up to which every upper bound of wrong answers stays within the budget.

    The bound is that of the 95 % interval of the share of traps that are served. `None` where even the
    strictest has a greater one, or where there are no traps.
    """
    best = None
    for at in points:
        if at.point.traps.n == 0 or at.point.traps.interval[1] > budget:
            break
        best = at
    return best


def best_by_f1(points: Sequence[At]) -> At | None:
    """The strictest of the thresholds with the greatest F1; it knows nothing of what a wrong answer costs."""
    best = max(points, key=lambda at: (at.f1, at.threshold), default=None)
    return best if best is not None and best.f1 > 0.0 else None
