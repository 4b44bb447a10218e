"""Training pairs with their cosines and features, and pairs of other sources in the same form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from binary_semantic_cache.binary_semantic_cache_rs import TextJudge
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.text.guards import Guards
from binary_semantic_cache.text.vectors import pack, unit
from training.judge.families import read_families, read_slots
from training.judge.pairs import TrainingPair, draw_pairs, texts_of

__all__ = ["Examples", "Vectors", "examples_of", "own_pairs"]

_NEIGHBOURS = 6
"""Pairs with texts of other families, a family."""


class Vectors:
    """Embeddings of texts, each computed once, and kept in a file where one is given."""

    def __init__(self, kept: Path | None = None) -> None:
        self._model = LocalEmbedder(runtime="rust")
        self._kept = kept
        self._known: dict[str, NDArray[np.float32]] = {}
        if kept is not None and kept.exists():
            with np.load(kept) as archive:
                self._known = dict(zip(archive["texts"].tolist(), archive["vectors"], strict=True))

    @property
    def fingerprint(self) -> str:
        """Of the model."""
        return self._model.fingerprint

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of length 1, `(n, 384)`."""
        missing = sorted(
            {text for text in texts if text not in self._known}, key=lambda text: (len(text), text)
        )
        for text in tqdm(missing, "embedding", unit=" texts", disable=len(missing) < 100):
            self._known[text] = unit(self._model.embed([text])[0])
        if missing and self._kept is not None:
            np.savez(
                self._kept, texts=np.array(list(self._known)), vectors=np.stack(list(self._known.values()))
            )
        return np.stack([self._known[text] for text in texts])


@dataclass(frozen=True, slots=True)
class Examples:
    """Pairs of one source, with what the judge sees of them: `a` is stored, `b` asked."""

    pairs: Sequence[TrainingPair]
    asked: NDArray[np.float32]
    """Embeddings of length 1, `(n, dim)`."""
    stored: NDArray[np.float32]
    """The same of the other side."""
    labels: NDArray[np.bool_]
    vetoes: Sequence[frozenset[str]]
    """The guards that object, a pair."""

    @property
    def passed(self) -> NDArray[np.bool_]:
        """No guard objects."""
        return np.array([not vetoes for vetoes in self.vetoes])

    def where(self, chosen: NDArray[np.bool_]) -> "Examples":
        """The rows for which `chosen` holds."""
        rows: list[int] = np.flatnonzero(chosen).tolist()
        return Examples(
            [self.pairs[row] for row in rows],
            self.asked[rows],
            self.stored[rows],
            self.labels[rows],
            [self.vetoes[row] for row in rows],
        )

    def features(self, judge: TextJudge) -> NDArray[np.float32]:
        """What `judge` sees, `(n, n_features)`; stored vectors as the cache keeps them by default."""
        rows = np.empty((len(self.pairs), len(TextJudge.feature_names)), np.float32)
        for row, pair in enumerate(self.pairs):
            rows[row] = judge.features(pair.b, self.asked[row], [pair.a], [pack(self.stored[row], "int8")])[0]
        return rows


def examples_of(pairs: Sequence[TrainingPair], vectors: Vectors, guards: Guards) -> Examples:
    """Embeds the pairs and asks the guards.

    Args:
        pairs: of any source.
        vectors: embeds.
        guards: all of them.
    """
    vectors.of([text for pair in pairs for text in (pair.a, pair.b)])
    return Examples(
        pairs,
        vectors.of([pair.b for pair in pairs]),
        vectors.of([pair.a for pair in pairs]),
        np.array([pair.same for pair in pairs]),
        [frozenset(veto.guard for veto in guards.check(pair.b, [pair.a])[0]) for pair in pairs],
    )


def own_pairs(vectors: Vectors) -> list[TrainingPair]:
    """The pairs drawn from the repository's families, and those of a text with its neighbours elsewhere."""
    families, slots = read_families(), read_slots()
    return draw_pairs(families, slots) + _neighbours(
        {f"{family.domain} {family.number}": texts_of(family, slots) for family in families}, vectors.of
    )


def _neighbours(
    texts: Mapping[str, Sequence[tuple[int, str]]], embed: Callable[[Sequence[str]], NDArray[np.float32]]
) -> list[TrainingPair]:
    """Texts that lie near each other although they are of different families: never one answer."""
    named = [(name, text) for name, rows in texts.items() for _, text in rows]
    names = np.array([name for name, _ in named])
    vectors = embed([text for _, text in named])
    # Whole numbers, so that the order of a sum cannot change which text is nearest.
    whole = np.rint(vectors * 2048).astype(np.float64)
    found = []
    for name in texts:
        draw = Random(f"neighbours of {name}")
        rows = np.flatnonzero(names == name)
        for row in draw.sample(rows.tolist(), min(_NEIGHBOURS, len(rows))):
            near = whole @ whole[row]
            near[rows] = -np.inf
            order = np.argsort(-near, kind="stable")[:12]
            other = int(draw.choice(order.tolist()))
            domain = name.rsplit(" ", 1)[0]
            found.append(TrainingPair(domain, name, "elsewhere", named[row][1], named[other][1], False))
    return found
