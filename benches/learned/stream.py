"""Questions in a row, each with those before it that it could be answered from."""

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benches.learned.trial import Case
from binary_semantic_cache import Guards
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.text.vectors import unit

__all__ = ["LEAST_COSINE", "Question", "Stream", "embedded", "read"]

LEAST_COSINE = 0.70
"""Nothing farther is looked at."""
_NEIGHBOURS = 24
_SEED = 20
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Question:
    """A text and the class of questions that share its answer."""

    text: str
    answer: int


def read(path: Path, most: int) -> list[Question]:
    """Whole classes, drawn with a fixed seed, until there are `most` questions."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    classes = sorted({row["id_set"] for row in rows})
    random.Random(_SEED).shuffle(classes)
    place = {name: at for at, name in enumerate(classes)}
    rows.sort(key=lambda row: place[row["id_set"]])
    return [Question(row["text"], row["id_set"]) for row in rows[:most]]


def embedded(questions: Sequence[Question], embedder: Embedder, kept: Path | None) -> NDArray[np.float32]:
    """Embeddings of length 1, `(n, d)`; a file keeps them, and is continued where it ends.

    Args:
        questions: in the order of `read`, which is the same for any number of them.
        embedder: asked for those that the file lacks.
        kept: an `.npy` file, made if missing; `None` for none.
    """
    found = np.zeros((0, embedder.dimension), np.float32)
    if kept is not None and kept.is_file():
        found = np.load(kept, allow_pickle=False)[: len(questions)]
    if len(found) < len(questions):
        texts = [question.text for question in questions[len(found) :]]
        blocks = range(0, len(texts), _BLOCK)
        new = [embedder.embed(texts[at : at + _BLOCK]) for at in tqdm(blocks, "embedding", unit=" blocks")]
        found = np.concatenate([found, *new])
        if kept is not None:
            np.save(kept, found)
    return np.stack([unit(row) for row in found])


class Stream:
    """The questions with their neighbours, to be asked in any order.

    Args:
        questions: what is asked.
        embeddings: of length 1, `(n, d)`.
    """

    def __init__(self, questions: Sequence[Question], embeddings: NDArray[np.float32]) -> None:
        self._answers = [question.answer for question in questions]
        self._near: list[list[tuple[int, float]]] = []
        guards = Guards()
        for at in tqdm(range(0, len(questions), _BLOCK), "neighbours", unit=" blocks"):
            cosines = embeddings[at : at + _BLOCK] @ embeddings.T
            for row, scores in enumerate(cosines, at):
                scores[row] = -1.0
                self._near.append(_cleared(questions, row, scores, guards))

    def __len__(self) -> int:
        return len(self._answers)

    def asked(self, seed: int) -> Iterator[Case]:
        """The questions in the order of a seed; one that was not answered from the cache joins it."""
        present: set[int] = set()
        for at in np.random.default_rng(seed).permutation(len(self)).tolist():
            case = Case()
            for other, cosine in self._near[at]:
                if other in present:
                    case = Case(other, cosine, self._answers[other] == self._answers[at])
                    break
            yield case
            if not case.served:
                present.add(at)


def _cleared(
    questions: Sequence[Question], at: int, cosines: NDArray[np.float32], guards: Guards
) -> list[tuple[int, float]]:
    """Neighbours to which no guard objects, nearest first."""
    near = np.nonzero(cosines >= LEAST_COSINE)[0]
    near = near[np.argsort(-cosines[near], kind="stable")][:_NEIGHBOURS].tolist()
    if not near:
        return []
    vetoes = guards.check(questions[at].text, [questions[other].text for other in near])
    return [(other, float(cosines[other])) for other, veto in zip(near, vetoes, strict=True) if not veto]
