"""From examples to a model, and the model as the text that the package ships."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import TextJudge
from binary_semantic_cache.text.guards import Guards
from training.judge.boosting import Model, Settings, Tree, logistic, train
from training.judge.directions import Directions, find_directions
from training.judge.examples import Examples

__all__ = ["FOR_COSINE", "Fitted", "calibrated", "fit", "folds", "out_of_fold", "text_of"]

_RISES = {
    "cosine",
    "style_share",
    "along_style",
    "jaccard",
    "cover_low",
    "cover_high",
    "frame",
    "frame_of_content",
}
"""The probability can only rise with these."""
_FALLS = {
    "along_matter", "left_low", "unrelated_low", "unrelated_high", "siblings", "opposites", "avoiding",
    "gaps", "longest_gap", "names_low", "frame_unrelated", "negation_differs", "numbers_low",
    "added_condition",
}  # fmt: skip
"""It can only fall with these: what training data hold by accident shall not turn a known sign round."""
_SETTINGS = Settings(
    monotone=tuple(1 if name in _RISES else -1 if name in _FALLS else 0 for name in TextJudge.feature_names)
)
FOR_COSINE = 12.0
"""Added to the logarithm of the odds for each whole of the cosine.

The families hold far more near neighbours with another answer than any traffic, so trees alone trust a high
cosine too little. The number was chosen on question pairs as people ask them (docs/judge.md).
"""
_SHARES = {"near": 0.1, "paraphrase": 2.0, "trap": 0.6, "elsewhere": 1.6}
"""What a family's pairs of each kind weigh together. Near repeats are easy and teach little."""
_FOLDS = 4


@dataclass(frozen=True, slots=True)
class Fitted:
    """A judge."""

    directions: Directions
    trees: Model
    for_cosine: float = FOR_COSINE

    def sums(self, examples: Examples, guards: Guards) -> NDArray[np.float64]:
        """The logarithm of the odds, a pair."""
        rows = examples.features(_measuring(self.directions, guards))
        return np.asarray(self.trees.scores(rows) + self.for_cosine * rows[:, 0].astype(np.float64))


def folds(examples: Examples) -> Iterator[NDArray[np.bool_]]:
    """Masks of the rows to leave out: whole domains."""
    domains = sorted({pair.domain for pair in examples.pairs})
    of_row = np.array([pair.domain for pair in examples.pairs])
    for first in range(_FOLDS):
        yield np.isin(of_row, domains[first::_FOLDS])


def fit(examples: Examples, guards: Guards, settings: Settings = _SETTINGS) -> Fitted:
    """A judge of what the guards let pass.

    What the trees learn of directions comes from directions that were found without the domain at hand; of
    those found with it they would expect too much.

    Args:
        examples: to learn from; those with a veto are left out.
        guards: give what is known of words.
        settings: of the trees.
    """
    examples = examples.where(examples.passed)
    weights = _weights(examples)
    rows = np.empty((len(examples.pairs), len(TextJudge.feature_names)), np.float32)
    for left_out in folds(examples):
        found = _directions(examples.where(~left_out), weights[~left_out])
        rows[left_out] = examples.where(left_out).features(_measuring(found, guards))
    trees = train(rows, examples.labels, weights, settings)
    return Fitted(_directions(examples, weights), trees)


def out_of_fold(examples: Examples, guards: Guards) -> NDArray[np.float64]:
    """For each pair, the logarithm of the odds by a judge that never saw its domain."""
    found = np.empty(len(examples.pairs))
    for left_out in folds(examples):
        fitted = fit(examples.where(~left_out), guards)
        found[left_out] = fitted.sums(examples.where(left_out), guards)
    return found


def calibrated(fitted: Fitted, sums: NDArray[np.float64], examples: Examples) -> Fitted:
    """The judge with its sums stretched and moved so that probabilities are right on domains it never saw.

    Args:
        fitted: a judge.
        sums: what `out_of_fold` gave for `examples`.
        examples: those it learned from; only what the guards let pass counts.

    Source: Platt 1999, "Probabilistic outputs for support vector machines".
    """
    passed = examples.passed
    x, y, weights = sums[passed], examples.labels[passed], _weights(examples.where(passed))
    # From nothing known, where Newton's steps for a logistic curve are safe.
    slope, start = 0.0, 0.0
    for _ in range(30):
        p = logistic(slope * x + start)
        error, curve = weights * (p - y), weights * p * (1.0 - p)
        first, second = (error * x).sum(), error.sum()
        xx, x1, one = (curve * x * x).sum(), (curve * x).sum(), curve.sum()
        determinant = xx * one - x1 * x1
        slope -= (one * first - x1 * second) / determinant
        start -= (xx * second - x1 * first) / determinant
    # Rounded, so that the order in which a machine sums has no effect.
    slope, start = round(float(slope), 2), round(float(start), 2)
    trees = [
        Tree(tree.features, tree.thresholds, tuple(float(np.float32(leaf * slope)) for leaf in tree.leaves))
        for tree in fitted.trees.trees
    ]
    return Fitted(fitted.directions, Model(start, trees), fitted.for_cosine * slope)


def text_of(fitted: Fitted, provenance: Sequence[str]) -> str:
    """The model in the format that `rust/core/src/judge/model.rs` reads.

    Args:
        fitted: the judge.
        provenance: lines for the head.
    """
    lines = [*_head(fitted.directions, fitted.trees.bias, fitted.for_cosine, provenance)]
    for tree in fitted.trees.trees:
        splits = [
            f"{feature}:{_number(cut)}" for feature, cut in zip(tree.features, tree.thresholds, strict=True)
        ]
        lines.append(" ".join(["tree", *splits, *(_number(leaf) for leaf in tree.leaves)]))
    return "\n".join(lines) + "\n"


def _head(
    directions: Directions, start: float, for_cosine: float, provenance: Sequence[str] = ()
) -> Iterator[str]:
    yield "judge 1"
    yield from (f"# {line}" for line in provenance)
    yield "features " + " ".join(TextJudge.feature_names)
    yield f"dim {directions.style.shape[1]}"
    yield f"sum {_number(start)} {_number(for_cosine)}"
    for keyword, rows in (("style", directions.style), ("matter", directions.matter)):
        yield from (f"{keyword} {row.tobytes().hex()}" for row in rows)


def _measuring(directions: Directions, guards: Guards) -> TextJudge:
    """A judge without trees, for the features alone."""
    return TextJudge(guards.native, "\n".join(_head(directions, 0.0, 0.0)))


def _directions(examples: Examples, weights: NDArray[np.float64]) -> Directions:
    paraphrases = np.array([pair.category == "paraphrase" for pair in examples.pairs])
    return find_directions(examples.asked - examples.stored, paraphrases, ~examples.labels, weights)


def _weights(examples: Examples) -> NDArray[np.float64]:
    """Each family weighs as much as any other."""
    kinds = [
        "near" if pair.category == "near_repeat"
        else "paraphrase" if pair.same
        else "elsewhere" if pair.category == "elsewhere"
        else "trap"
        for pair in examples.pairs
    ]  # fmt: skip
    keys = [(pair.family, kind) for pair, kind in zip(examples.pairs, kinds, strict=True)]
    counts = Counter(keys)
    weights = np.array([_SHARES[key[1]] / counts[key] for key in keys])
    return np.asarray(weights * (len(weights) / weights.sum()))


def _number(value: float) -> str:
    """The shortest decimal that is the same float32."""
    return str(np.float32(value)).removesuffix(".0")
