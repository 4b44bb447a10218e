"""Embeddings that were made before, by text; and how long it took to make them."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders import Embedder

__all__ = ["KnownEmbedder", "TimedEmbedder"]


class KnownEmbedder:
    """Stands for an embedder whose work is done: the second process shows the cost of opening alone."""

    bounded = True
    max_tokens = None

    def __init__(self, fingerprint: str, known: Mapping[str, NDArray[np.float32]]) -> None:
        self.fingerprint = fingerprint
        self.dimension = len(next(iter(known.values())))
        self._known = known

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of `texts`, which must all be known."""
        return np.stack([self._known[text] for text in texts])


class TimedEmbedder:
    """Another embedder, and what each of its calls took."""

    bounded = True

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.dimension = embedder.dimension
        self.fingerprint = embedder.fingerprint
        self.max_tokens = embedder.max_tokens
        self.nanoseconds: list[int] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """What the other embedder gives."""
        start = time.perf_counter_ns()
        embeddings = self._embedder.embed(texts)
        self.nanoseconds.append(time.perf_counter_ns() - start)
        return embeddings
