"""The loosest threshold that labels can vouch for.

Thresholds are tried from strict to loose, in steps that were fixed before any label was seen. At each, the
upper Clopper-Pearson bound of the share of wrong answers is held against the budget; the walk ends at the
first that exceeds it, and the threshold before is the one. Since the walk ends at its first failure, trying
many thresholds costs no confidence: if later answers are drawn as the labels were, the share of wrong ones
exceeds the budget in at most `1 - confidence` of all calibrations.
Source: Bauer 1991, Multiple testing in clinical trials (tests in a fixed order); Angelopoulos, Bates, Candes,
Jordan and Lei 2021, Learn then test (fixed sequence testing).

Where the share is one of hits, strict thresholds have few of them, and nothing could be said there. The walk
begins where there are enough to bear two wrong ones if that is in the stricter half of all hits, or else
one, or none: that depends on how many hits there are, never on what they are.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.proof.asking import ALWAYS, Asked
from binary_semantic_cache.proof.bounds import labels_needed, upper_bound
from binary_semantic_cache.proof.curve import thresholds

__all__ = ["Calibration", "Judged", "Of", "Step", "calibrated", "judged_of"]

Of = Literal["hits", "traps", "pairs"]
"""Of what the wrong answers are a share: of the answers served by meaning, of the pairs that must not be
served, or of all pairs."""

_BORNE = 2
"""With none borne one bad label at the top ends the walk; with many it begins where thresholds are loose."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One label: the loosest threshold that serves the answer, and whether it is right."""

    score: float
    right: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One threshold of the walk."""

    threshold: float
    wrong: int
    n: int
    served: int
    """Answers served, right ones too."""
    bound: float
    """The upper bound of the share of wrong ones."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the walk came to."""

    of: Of
    budget: float
    confidence: float
    labels: int
    steps: Sequence[Step]
    """Strict ones first; the last may be the one that failed."""
    chosen: Step | None
    """`None` where nothing can be promised."""
    missing: int | None
    """How many more labels, none of them wrong, the first step would need; `None` if it needs none."""
    needed: int
    """How many labels without a wrong one prove the budget."""

    @property
    def failed(self) -> Step | None:
        """The step that ended the walk, if one did."""
        return self.steps[-1] if self.steps and self.steps[-1].bound > self.budget else None

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "threshold": None if self.chosen is None else self.chosen.threshold,
            "of": self.of,
            "budget": self.budget,
            "confidence": self.confidence,
            "labels": self.labels,
            "wrong": None if self.chosen is None else self.chosen.wrong,
            "n": None if self.chosen is None else self.chosen.n,
            "bound": None if self.chosen is None else round(self.chosen.bound, 6),
            "labels_missing": self.missing,
            "steps": [
                {
                    "threshold": step.threshold,
                    "wrong": step.wrong,
                    "n": step.n,
                    "served": step.served,
                    "bound": round(step.bound, 6),
                }
                for step in self.steps
            ],
        }


def judged_of(asked: Sequence[Asked]) -> list[Judged]:
    """The labels of pairs that a cache was asked about.

    Exact repeats are left out: no threshold decides on them, and they would make the rest look better.
    """
    return [
        Judged(one.score, one.pair.same) for one in asked if one.pair.same is not None and one.score < ALWAYS
    ]


def calibrated(
    judged: Sequence[Judged],
    *,
    budget: float,
    confidence: float = 0.95,
    of: Of = "hits",
    least: float = 0.5,
    step: float = 0.01,
) -> Calibration:
    """Walks from strict to loose, and chooses the last threshold before the first that fails.

    Args:
        judged: the labels.
        budget: the greatest share of wrong answers, between 0 and 1.
        confidence: how sure that shall be, between 0 and 1.
        of: of what it is a share.
        least: the loosest threshold that may be chosen.
        step: the distance of two thresholds, which are its multiples.

    Raises:
        InvalidValueError: an argument is out of range.
    """
    if of not in get_args(Of):
        raise InvalidValueError(f"expected a share of {', '.join(get_args(Of))}, got {of!r}")
    if not 0.0001 <= step <= 0.5:
        raise InvalidValueError(f"expected a step of 0.0001 to 0.5, got {step}")
    if not -1.0 <= least < 1.0:
        raise InvalidValueError(f"expected a least threshold of -1 or more and below 1, got {least}")
    needed = labels_needed(0, budget, confidence)
    tried = thresholds(least, step)
    right, wrong = (sorted(-one.score for one in judged if one.right is kind) for kind in (True, False))
    served = [(bisect_right(right, -at), bisect_right(wrong, -at)) for at in tried]
    n_all = {"traps": len(wrong), "pairs": len(judged)}.get(of)
    most = n_all if n_all is not None else sum(served[-1]) if served else 0
    bearing = (labels_needed(k, budget, confidence) for k in range(_BORNE, 0, -1))
    start = next((n for n in bearing if 2 * n <= most), needed)
    steps: list[Step] = []
    for at, (n_right, n_wrong) in zip(tried, served, strict=True):
        n = n_right + n_wrong if n_all is None else n_all
        if n < start:
            continue
        steps.append(Step(at, n_wrong, n, n_right + n_wrong, upper_bound(n_wrong, n, confidence)))
        if steps[-1].bound > budget:
            break
    passed = [one for one in steps if one.bound <= budget]
    missing = None
    if not passed:
        k, n = (steps[0].wrong, steps[0].n) if steps else (0, most)
        missing = labels_needed(k, budget, confidence) - n
    return Calibration(
        of=of,
        budget=budget,
        confidence=confidence,
        labels=len(judged),
        steps=steps,
        chosen=passed[-1] if passed else None,
        missing=missing,
        needed=needed,
    )
