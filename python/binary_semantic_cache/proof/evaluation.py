"""Everything that `bsc evaluate` says of a set of pairs, as figures."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from binary_semantic_cache.proof.asking import NEVER, Asked
from binary_semantic_cache.proof.curve import Area, At, area, best_by_budget, best_by_f1, curve
from binary_semantic_cache.proof.pairs import Messages, Pair, last_text
from binary_semantic_cache.proof.shares import Point, Share

__all__ = ["Evaluation", "Stopped", "evaluated", "shown_side"]

_GUARD = "guard"


@dataclass(frozen=True, slots=True)
class Stopped:
    """What one guard did, among the pairs that the threshold let pass."""

    traps: int
    """Wrong answers that it objected to."""
    should_hit: int
    """Right answers that it objected to: hits that it cost."""
    alone: int
    """Those of both that no other guard objected to."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures."""

    embedder: str
    threshold: float
    """Least cosine of a semantic hit, with a judge its least probability."""
    least_cosine: float | None
    """With a judge, the least cosine of what it is asked about; `None` without one."""
    budget: float
    """The greatest share of wrong answers that is asked for."""
    asked: Sequence[Asked]
    whole: Point
    by_category: Mapping[str, Point]
    outcomes: Mapping[str, Mapping[str, int]]
    """For `should_hit`, `traps` and `unlabelled`: how often each outcome came."""
    guards: Mapping[str, Stopped]
    curve: Sequence[At]
    area: Area
    by_budget: At | None
    """The loosest threshold within the budget."""
    by_f1: At | None

    @property
    def threshold_said(self) -> str:
        """The threshold in words."""
        if self.least_cosine is None:
            return f"{self.threshold:.3f}"
        return (
            f"{self.threshold:.3f} of the judge's probability, asked from a cosine of {self.least_cosine:g}"
        )

    @property
    def unlabelled(self) -> Share:
        """Of the pairs without a label, those served."""
        return Share.of(one.served for one in self.asked if one.pair.same is None)

    @property
    def disagreeing(self) -> int:
        """Pairs with which the cache did not do what the curve says at its threshold; 0 if all is well."""
        return sum(one.served is not one.served_at(self.threshold) for one in self.asked)

    @property
    def wrong_serves(self) -> list[Asked]:
        """Traps that were served, the most similar first."""
        return sorted((one for one in self.asked if one.served and one.pair.same is False), key=_nearness)

    @property
    def lost_hits(self) -> list[Asked]:
        """Pairs that one answer serves and that were not served, the most similar first."""
        return sorted((one for one in self.asked if not one.served and one.pair.same is True), key=_nearness)

    def plain(self, *, show: int = 0, texts: bool = True) -> dict[str, Any]:
        """As JSON.

        Args:
            show: how many wrong serves and lost hits to list.
            texts: whether with their prompts.
        """
        whole, unlabelled = self.whole, self.unlabelled
        return {
            "pairs": len(self.asked),
            "served": _value(whole.served),
            "wrong": _value(whole.traps),
            "n_same": whole.served.n,
            "n_different": whole.traps.n,
            "served_interval": _interval(whole.served),
            "wrong_interval": _interval(whole.traps),
            "precision": _value(whole.precision),
            "hit_rate": _value(whole.hit_rate),
            "unlabelled": {"n": unlabelled.n, "served": _value(unlabelled)},
            "threshold": self.threshold,
            "threshold_of": "cosine" if self.least_cosine is None else "probability",
            "least_cosine": self.threshold if self.least_cosine is None else self.least_cosine,
            "embedder": self.embedder,
            "by_category": {name: _plain(point) for name, point in self.by_category.items()},
            "outcomes": self.outcomes,
            "guards": {
                name: {"traps": stopped.traps, "should_hit": stopped.should_hit, "alone": stopped.alone}
                for name, stopped in self.guards.items()
            },
            "p_chr_auc": round(self.area.area, 6),
            "greatest_hit_rate": round(self.area.hit_rate, 6),
            "best": {"budget": self.budget, "by_budget": _at(self.by_budget), "by_f1": _at(self.by_f1)},
            "curve_disagrees": self.disagreeing,
            "curve": [_at(at) for at in self.curve],
            "wrong_serves": [_mistake(one, texts=texts) for one in self.wrong_serves[:show]],
            "lost_hits": [_mistake(one, texts=texts) for one in self.lost_hits[:show]],
        }


def evaluated(
    asked: Sequence[Asked],
    *,
    threshold: float,
    embedder: str,
    budget: float,
    least_cosine: float | None = None,
) -> Evaluation:
    """The figures of what a cache made of pairs.

    Args:
        asked: the pairs.
        threshold: the cache's.
        embedder: its embedder's fingerprint.
        budget: the greatest share of wrong answers that is asked for, 0.0 to 1.0.
        least_cosine: of a cache with a judge, whose `threshold` is a probability; `None` for one without.
    """
    points = curve(asked)
    return Evaluation(
        embedder=embedder,
        threshold=threshold,
        least_cosine=least_cosine,
        budget=budget,
        asked=asked,
        whole=_point(asked),
        by_category={
            name: _point([one for one in asked if one.pair.category == name])
            for name in sorted({one.pair.category for one in asked})
        },
        outcomes={
            name: dict(sorted(Counter(one.outcome for one in asked if one.pair.same is label).items()))
            for name, label in (("should_hit", True), ("traps", False), ("unlabelled", None))
        },
        guards=_stopped(asked),
        curve=points,
        area=area(asked),
        by_budget=best_by_budget(points, budget),
        by_f1=best_by_f1(points),
    )


def shown_side(side: str | Messages) -> str:
    """A prompt to show: the text, or a conversation's last message after the number of those before."""
    if isinstance(side, str):
        return side
    return f"[{len(side) - 1} messages before] {last_text(side)}" if len(side) > 1 else last_text(side)


def _point(asked: Sequence[Asked]) -> Point:
    return Point(
        Share.of(one.served for one in asked if one.pair.same is True),
        Share.of(one.served for one in asked if one.pair.same is False),
    )


def _stopped(asked: Sequence[Asked]) -> dict[str, Stopped]:
    refused = [one for one in asked if one.outcome == _GUARD]

    def count(guard: str, wanted: Callable[[Asked], bool]) -> int:
        return sum(guard in one.guards and wanted(one) for one in refused)

    names = Counter(guard for one in refused for guard in one.guards)
    return {
        guard: Stopped(
            traps=count(guard, lambda one: one.pair.same is False),
            should_hit=count(guard, lambda one: one.pair.same is True),
            alone=count(guard, lambda one: len(one.guards) == 1),
        )
        for guard, _ in names.most_common()
    }


def _nearness(one: Asked) -> tuple[float, str]:
    return -(NEVER if one.similarity is None else one.similarity), one.pair.id


def _value(share: Share) -> float | None:
    return round(share.value, 6) if share.n else None


def _interval(share: Share) -> list[float] | None:
    return [round(end, 6) for end in share.interval] if share.n else None


def _plain(point: Point) -> dict[str, Any]:
    return {
        "served": _value(point.served),
        "wrong": _value(point.traps),
        "n_same": point.served.n,
        "n_different": point.traps.n,
        "served_interval": _interval(point.served),
        "wrong_interval": _interval(point.traps),
    }


def _at(at: At | None) -> dict[str, Any] | None:
    if at is None:
        return None
    return {
        "threshold": at.threshold,
        "served": _value(at.point.served),
        "wrong": _value(at.point.traps),
        "precision": _value(at.point.precision),
        "hit_rate": _value(at.point.hit_rate),
    }


def _mistake(one: Asked, *, texts: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": one.pair.id,
        "category": one.pair.category,
        "similarity": None if one.similarity is None else round(one.similarity, 6),
        "outcome": one.outcome,
        "guards": list(one.guards),
    }
    return plain | _texts(one.pair) if texts else plain


def _texts(pair: Pair) -> dict[str, Any]:
    return {"a": pair.a, "b": pair.b}
