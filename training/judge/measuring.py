"""Shares, bounds and areas."""

from math import comb

import numpy as np
from numpy.typing import NDArray

__all__ = ["area", "least_score", "served_at", "upper_bound"]


def area(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The chance that a pair with one answer scores above one with two; ties count half.

    `nan` without pairs of both kinds.
    """
    right, wrong = np.sort(scores[labels]), np.sort(scores[~labels])
    if not len(right) or not len(wrong):
        return float("nan")
    below = np.searchsorted(wrong, right, side="left") + np.searchsorted(wrong, right, side="right")
    return float(below.sum() / 2 / (len(right) * len(wrong)))


def upper_bound(found: int, of: int, confidence: float = 0.95) -> float:
    """The greatest share that would still give so few with a chance of `1 - confidence`, one-sided.

    Source: Clopper, Pearson 1934, "The use of confidence or fiducial limits".
    """
    if found >= of:
        return 1.0
    low, high = found / of, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if _at_most(found, of, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(found: int, of: int, share: float) -> float:
    """The chance of at most `found` of `of`."""
    if of <= 1000:
        return sum(comb(of, k) * share**k * (1.0 - share) ** (of - k) for k in range(found + 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(of, of - found, -1) / np.arange(1, found + 1)))])
    k = np.arange(found + 1)
    return float(np.exp(logs + k * np.log(share) + (of - k) * np.log1p(-share)).sum())


def least_score(scores: NDArray[np.float64], labels: NDArray[np.bool_], most: float) -> float:
    """The lowest score at which the upper bound of the share of traps served is at most `most`.

    2.0 if there is none.
    """
    traps = np.sort(scores[~labels])[::-1]
    allowed = -1
    while allowed + 1 < len(traps) and upper_bound(allowed + 1, len(traps)) <= most:
        allowed += 1
    if allowed < 0:
        return 2.0
    # Just above the first trap that must not be served.
    return float(np.nextafter(traps[allowed], 2.0)) if allowed < len(traps) else 0.0


def served_at(scores: NDArray[np.float64], labels: NDArray[np.bool_], traps: float) -> float:
    """The share of pairs with one answer above the score that lets through `traps` of the others."""
    wrong = np.sort(scores[~labels])[::-1]
    cut = wrong[min(len(wrong) - 1, int(traps * len(wrong)))]
    return float((scores[labels] > cut).mean())
