"""Directions in which embeddings of two wordings differ, and those in which two questions do.

Both kinds come from one generalised eigenproblem: where differences of traps vary much and those of
paraphrases little, and the other way round. All sums are of whole numbers, so they are exact in any order.

Source: Hatch, Kajarekar, Stolcke 2006, "Within-class covariance normalization for SVM-based speaker
recognition", for the idea; Fukunaga 1990, "Introduction to statistical pattern recognition", chapter 10, for
the eigenproblem.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Directions", "find_directions"]

_NUMBER = 32
"""Of each kind: more gained nothing on domains left out."""
_SHRINKAGE = 0.5
"""The share of a sphere in both covariances."""
_STEPS = 2048.0
_WEIGHT_STEPS = 64.0


@dataclass(frozen=True, slots=True)
class Directions:
    """Directions as whole numbers, `(32, dim)` each."""

    style: NDArray[np.int8]
    matter: NDArray[np.int8]


def find_directions(
    differences: NDArray[np.float32],
    paraphrases: NDArray[np.bool_],
    traps: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> Directions:
    """The directions that tell paraphrases from traps.

    Args:
        differences: of two embeddings, `(n, dim)`.
        paraphrases: which rows are of one question.
        traps: which rows are of two.
        weights: of the rows.
    """
    whole = np.rint(differences.astype(np.float64) * _STEPS)
    length = np.sqrt(np.maximum((whole * whole).sum(axis=1, keepdims=True), 1.0))
    # What counts is whither, not how far.
    pointing = np.rint(whole / length * _STEPS)
    heavy = np.rint(weights * _WEIGHT_STEPS)
    of_style = _covariance(pointing[paraphrases], heavy[paraphrases])
    of_matter = _covariance(pointing[traps], heavy[traps])
    factor = np.linalg.inv(np.linalg.cholesky(of_style))
    _, vectors = np.linalg.eigh(factor @ of_matter @ factor.T)
    axes = (factor.T @ vectors).T
    return Directions(_whole(axes[:_NUMBER]), _whole(axes[-_NUMBER:]))


def _covariance(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shrunk towards a sphere, with trace 1."""
    found = (rows * weights[:, np.newaxis]).T @ rows
    found /= np.trace(found)
    return np.asarray((1.0 - _SHRINKAGE) * found + _SHRINKAGE / len(found) * np.eye(len(found)))


def _whole(axes: NDArray[np.float64]) -> NDArray[np.int8]:
    """As numbers of a byte; the greatest one is positive, as an eigenvector leaves the sign open."""
    greatest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1)
    return np.rint(axes / greatest * 127.0).astype(np.int8)
