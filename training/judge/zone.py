"""Where a second model should decide, and from which of its probabilities on: chosen on domains left out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.judge.examples import Examples
from training.judge.measuring import area, least_score, upper_bound

__all__ = ["LEAST_COSINE", "Choice", "choose", "drawn", "report", "scored"]

LEAST_COSINE = 0.50
"""Candidates further away are not looked at."""
_LOWS = (0.05, 0.10, 0.20, 0.30, 0.45, 0.60, 0.70, 0.80, 0.85, 0.90)
_HIGHS = (0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0)
_MOST_TRAPS = 0.05
_REFUSED = -1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to share the work, and what it does on the training pairs."""

    low: float
    high: float
    least_probability: float
    """Of the second model, between the two."""
    served: float
    """Share of the near pairs with one answer."""
    traps: float
    """Share of the near pairs with two."""
    bound: float
    """The upper 95 % bound of that."""
    asked: float
    """Share of all near pairs that the second model is asked about."""


def drawn(
    examples: Examples, probabilities: NDArray[np.float64], most: int
) -> tuple[Examples, NDArray[np.float64]]:
    """Some of the pairs, the same each time, since a second model is slow; all if there are no more."""
    if len(examples.pairs) <= most:
        return examples, probabilities
    chosen = np.zeros(len(examples.pairs), bool)
    chosen[Random("zone").sample(range(len(examples.pairs)), most)] = True
    return examples.where(chosen), probabilities[chosen]


def scored(
    examples: Examples, probabilities: NDArray[np.float64], score: Callable[[str, str], float]
) -> NDArray[np.float64]:
    """The second model's score where any of the zones asks for it; -1.0 elsewhere.

    Args:
        examples: the training pairs.
        probabilities: of judges that never saw a pair's domain.
        score: of the second model, called with the prompt asked and the one stored.
    """
    found = np.full(len(examples.pairs), _REFUSED)
    rows = np.flatnonzero(_looked_at(examples) & (probabilities >= _LOWS[0]))
    for row in tqdm(rows.tolist(), "second model", unit=" pairs"):
        found[row] = score(examples.pairs[row].b, examples.pairs[row].a)
    return found


def choose(
    examples: Examples, probabilities: NDArray[np.float64], second: NDArray[np.float64]
) -> Choice | None:
    """The choice that serves most, of those that keep the bound of traps served; `None` if none does.

    The bound holds for near traps and, by itself, for texts of other families that happen to lie near.

    Args:
        examples: the training pairs.
        probabilities: of judges that never saw a pair's domain.
        second: what `scored` gave.
    """
    kept = [one for one in _choices(examples, probabilities, second) if one.bound <= _MOST_TRAPS]
    return max(kept, key=lambda one: (one.served, -one.asked), default=None)


def report(examples: Examples, probabilities: NDArray[np.float64], second: NDArray[np.float64]) -> str:
    """The best choice of each zone as a table in Markdown, and the choice itself."""
    asked = second != _REFUSED
    labels = examples.labels[asked]
    near = _near(examples)[asked]
    lines = [
        f"{asked.sum():,} pairs scored; area under the curve, near pairs: second model "
        f"{area(second[asked][near], labels[near]):.3f}, "
        f"judge {area(probabilities[asked][near], labels[near]):.3f}",
        f"judge alone: {_alone(examples, probabilities)}",
        "",
        "| zone | least probability | asked | served / traps (<= bound) |",
        "|---|--:|--:|--:|",
    ]
    lines += [
        f"| {one.low:.2f} to {one.high:.2f} | {one.least_probability:.3f} | {100 * one.asked:.1f} | "
        f"{100 * one.served:.1f} / {100 * one.traps:.1f} (<= {100 * one.bound:.1f}) |"
        for one in _choices(examples, probabilities, second)
    ]
    return "\n".join([*lines, "", f"chosen: {choose(examples, probabilities, second)}"])


def _alone(examples: Examples, probabilities: NDArray[np.float64]) -> str:
    """What the judge serves within the same bound."""
    near = _near(examples)
    scores, labels = np.where(examples.passed, probabilities, _REFUSED)[near], examples.labels[near]
    least = least_score(scores, labels, _MOST_TRAPS)
    served = scores >= least
    return f"from {least:.3f}, {100 * served[labels].mean():.1f} / {100 * served[~labels].mean():.1f}"


def _choices(
    examples: Examples, probabilities: NDArray[np.float64], second: NDArray[np.float64]
) -> Iterator[Choice]:
    """For each zone, the lowest least probability that keeps both bounds."""
    passed, near = _looked_at(examples), _near(examples)
    kinds = [rows for rows in (near, ~near) if (rows & ~examples.labels).any()]
    for low in _LOWS:
        for high in _HIGHS:
            sure = passed & (probabilities >= high)
            zone = passed & (probabilities >= low) & ~sure
            # What is sure is served whatever the second model says, what is below the zone never.
            scores = np.where(sure, 2.0, np.where(zone, second, _REFUSED))
            least = max(least_score(scores[rows], examples.labels[rows], _MOST_TRAPS) for rows in kinds)
            if least > 1.0:
                continue
            # A step that can be written down, on the safe side.
            least = float(np.ceil(max(least, 0.0) * 1000) / 1000)
            served = scores >= least
            right, wrong = (served[near & (examples.labels == same)] for same in (True, False))
            bound = upper_bound(int(wrong.sum()), len(wrong))
            asked = float(zone[near].mean())
            yield Choice(low, high, least, float(right.mean()), float(wrong.mean()), bound, asked)


def _looked_at(examples: Examples) -> NDArray[np.bool_]:
    cosines = (examples.asked.astype(np.float64) * examples.stored).sum(axis=1)
    return np.asarray(examples.passed & (cosines >= LEAST_COSINE))


def _near(examples: Examples) -> NDArray[np.bool_]:
    return np.array([pair.category != "elsewhere" for pair in examples.pairs])
