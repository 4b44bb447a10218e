"""Gradient-boosted trees of depth 3, for two classes, in NumPy; the same bits on every machine.

Features are cut into bins. Gradients are rounded to whole numbers, so that sums of them are exact and cannot
depend on the order in which a machine adds; `exp` is computed from basic operations, as the judge does in
Rust. What is left are single additions, products and comparisons, which IEEE 754 fixes.

Source: Friedman 2001, "Greedy function approximation: a gradient boosting machine"; second-order leaf values
and gains as in Chen, Guestrin 2016, "XGBoost", section 2; monotone constraints by bounds on both sides of a
split.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEPTH", "Model", "Settings", "Tree", "logistic", "train"]

DEPTH = 3
_SPLITS, _LEAVES = 2**DEPTH - 1, 2**DEPTH
_STEPS = float(2**20)
"""Steps of a rounded gradient in 1.0: sums of a million stay exact in float64."""
_NO_SPLIT = np.float32(3.0e38)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train."""

    rounds: int = 150
    rate: float = 0.09
    least_weight: float = 12.0
    """Of the second derivatives in a leaf."""
    l2: float = 4.0
    bins: int = 32
    share_of_features: float = 0.5
    """Looked at for one tree."""
    seed: int = 7
    monotone: Sequence[int] = field(default_factory=tuple)
    """For each feature 1 if the probability may only rise with it, -1 if only fall, 0 for either."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree: splits level by level, leaves left to right."""

    features: tuple[int, ...]
    thresholds: tuple[float, ...]
    leaves: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A bias and trees; the sum is the logarithm of the odds."""

    bias: float
    trees: Sequence[Tree]

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sums for rows of features, `(n,)`."""
        total = np.full(len(features), float(np.float32(self.bias)))
        rows = np.arange(len(features))
        for tree in self.trees:
            at = np.zeros(len(features), np.int64)
            split_features = np.array(tree.features)
            thresholds = np.array(tree.thresholds, np.float32)
            for _ in range(DEPTH):
                at = 2 * at + 1 + (features[rows, split_features[at]] > thresholds[at])
            total += np.array(tree.leaves, np.float32)[at - _SPLITS]
        return total

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of one answer, for rows of features, `(n,)`."""
        return logistic(self.scores(features))


def logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """`1 / (1 + exp(-x))`, by the formula of the judge in Rust."""
    step = -np.clip(x, -40.0, 40.0) / 64.0
    series = np.ones_like(step)
    for n in range(14, 0, -1):
        series = 1.0 + step * series / float(n)
    for _ in range(6):
        series = series * series
    return np.asarray(1.0 / (1.0 + series))


def train(
    features: NDArray[np.float32],
    labels: NDArray[np.bool_],
    weights: NDArray[np.float64],
    settings: Settings,
) -> Model:
    """Trees that tell rows with `labels` from others.

    Args:
        features: `(n, n_features)`.
        labels: `(n,)`.
        weights: `(n,)`, positive.
        settings: how.
    """
    edges = [_edges(features[:, column], settings.bins) for column in range(features.shape[1])]
    binned = np.stack(
        [np.searchsorted(cut, features[:, column], side="left") for column, cut in enumerate(edges)], axis=1
    )
    draw = Random(settings.seed)
    columns = range(features.shape[1])
    looked_at = max(1, round(settings.share_of_features * features.shape[1]))
    total = np.zeros(len(features))
    trees = []
    for _ in range(settings.rounds):
        probability = logistic(total)
        gradient = np.rint((labels - probability) * weights * _STEPS)
        curvature = np.rint(probability * (1.0 - probability) * weights * _STEPS)
        chosen = sorted(draw.sample(columns, looked_at))
        tree, leaf = _grow(binned, edges, gradient, curvature, chosen, settings)
        total += np.array(tree.leaves, np.float32)[leaf]
        trees.append(tree)
    return Model(0.0, trees)


def _edges(column: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Where a column is cut: halfway between neighbouring values, at most `bins - 1` places."""
    values, counts = np.unique(column, return_counts=True)
    middles = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
    if len(middles) < bins:
        return middles
    below = np.cumsum(counts)[:-1]
    wanted = len(column) * np.arange(1, bins) // bins
    return np.asarray(middles[np.unique(np.minimum(np.searchsorted(below, wanted), len(middles) - 1))])


def _grow(
    binned: NDArray[np.int64],
    edges: Sequence[NDArray[np.float32]],
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
    chosen: Sequence[int],
    settings: Settings,
) -> tuple[Tree, NDArray[np.int64]]:
    """One tree, and the leaf of each row."""
    features, thresholds = [0] * _SPLITS, [float(_NO_SPLIT)] * _SPLITS
    bounds = {0: (-np.inf, np.inf)}
    node = np.zeros(len(binned), np.int64)
    picked = binned[:, chosen]
    for level in range(DEPTH):
        first, width = 2**level - 1, 2**level
        sums = _histograms(picked, node - first, width, settings.bins, gradient, curvature)
        for place in range(width):
            number = first + place
            low, high = bounds[number]
            found = _best(sums[0][place], sums[1][place], (low, high), chosen, edges, settings)
            left = right = (low, high)
            if found is not None:
                column, cut, middle = found
                features[number], thresholds[number] = column, float(edges[column][cut])
                sign = settings.monotone[column] if settings.monotone else 0
                left = (low, middle) if sign > 0 else (middle, high) if sign < 0 else left
                right = (middle, high) if sign > 0 else (low, middle) if sign < 0 else right
            bounds[2 * number + 1], bounds[2 * number + 2] = left, right
        column_of, cut_of = np.array(features), np.array(thresholds, np.float32)
        cut_bin = np.array(
            [
                np.searchsorted(edges[column], cut, side="left")
                for column, cut in zip(column_of, cut_of, strict=True)
            ]
        )
        node = 2 * node + 1 + (binned[np.arange(len(binned)), column_of[node]] > cut_bin[node])
    leaf = node - _SPLITS
    slopes = np.bincount(leaf, gradient, _LEAVES).astype(np.float64)
    curves = np.bincount(leaf, curvature, _LEAVES).astype(np.float64)
    values = _values(slopes, curves, settings)
    leaves = [
        float(np.float32(settings.rate * np.clip(value, *bounds[_SPLITS + place])))
        for place, value in enumerate(values)
    ]
    return Tree(tuple(features), tuple(thresholds), tuple(leaves)), leaf


def _histograms(
    picked: NDArray[np.int64],
    place: NDArray[np.int64],
    width: int,
    bins: int,
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of the derivatives, each `(width, n_columns, bins)`."""
    columns = picked.shape[1]
    found = np.empty((2, columns, width * bins))
    start = place * bins
    for column in range(columns):
        slot = start + picked[:, column]
        found[0, column] = np.bincount(slot, gradient, width * bins)
        found[1, column] = np.bincount(slot, curvature, width * bins)
    shaped = found.reshape(2, columns, width, bins).transpose(0, 2, 1, 3)
    return shaped[0], shaped[1]


def _best(
    gradients: NDArray[np.float64],
    curvatures: NDArray[np.float64],
    bounds: tuple[float, float],
    chosen: Sequence[int],
    edges: Sequence[NDArray[np.float32]],
    settings: Settings,
) -> tuple[int, int, float] | None:
    """Column, edge and the value between both sides of the split that gains most; `None` if none gains."""
    left = np.cumsum(gradients, axis=1)[:, :-1], np.cumsum(curvatures, axis=1)[:, :-1]
    whole = gradients[0].sum(), curvatures[0].sum()
    right = whole[0] - left[0], whole[1] - left[1]
    value_left = np.clip(_values(*left, settings), *bounds)
    value_right = np.clip(_values(*right, settings), *bounds)
    gain = _gain(*left, value_left, settings) + _gain(*right, value_right, settings)
    value = np.clip(_values(np.float64(whole[0]), np.float64(whole[1]), settings), *bounds)
    gain = gain - _gain(np.float64(whole[0]), np.float64(whole[1]), value, settings)
    least = settings.least_weight * _STEPS
    fits = (left[1] >= least) & (right[1] >= least)
    if settings.monotone:
        signs = np.array([settings.monotone[column] for column in chosen])[:, np.newaxis]
        fits &= signs * (value_right - value_left) >= 0
    gain = np.where(fits, gain, -np.inf)
    best = int(np.argmax(gain))
    row, cut = divmod(best, gain.shape[1])
    if gain[row, cut] <= 1e-9 or cut >= len(edges[chosen[row]]):
        return None
    return chosen[row], cut, float((value_left[row, cut] + value_right[row, cut]) / 2)


def _values(
    gradient: NDArray[np.float64] | np.float64,
    curvature: NDArray[np.float64] | np.float64,
    settings: Settings,
) -> NDArray[np.float64]:
    return np.asarray(gradient / (curvature + settings.l2 * _STEPS))


def _gain(
    gradient: NDArray[np.float64] | np.float64,
    curvature: NDArray[np.float64] | np.float64,
    value: NDArray[np.float64],
    settings: Settings,
) -> NDArray[np.float64]:
    """How much a leaf of that value lowers the loss, times two."""
    return np.asarray((2.0 * gradient - (curvature + settings.l2 * _STEPS) * value) * value / _STEPS)
