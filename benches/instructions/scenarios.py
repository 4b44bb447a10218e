"""What is counted; run as a module under callgrind, with the path of the marker library as its argument."""

import ctypes
import gc
import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle

import numpy as np

from benches.semantic import Precomputed, word
from benches.vectors import CODE_BITS, embeddings, near, queries, random_codes
from binary_semantic_cache import BinarySemanticCache, HammingSimilarity, RustBinaryEncoder, SemanticCache
from binary_semantic_cache.binary_semantic_cache_rs import available_isas, cosines
from binary_semantic_cache.text.vectors import pack, unit

__all__ = ["CALLS"]

CALLS = 20
"""How often each is called between two marks."""
_N = 10_000
_DIMENSION = 384


def scenarios() -> dict[str, Callable[[], object]]:
    """By name, a call that does the same work each time; inputs from fixed seeds."""
    codes = random_codes(_N, seed=1)
    vectors = embeddings(1000, _DIMENSION, seed=2)
    (miss,) = queries(codes, "miss", 1, seed=3)
    asked = near(vectors[:CALLS], seed=4)
    made: dict[str, Callable[[], object]] = {"nothing": lambda: None}
    for isa in available_isas():
        hamming = HammingSimilarity(CODE_BITS, isa=isa)
        made[f"find_nearest of {_N} codes, {isa}"] = partial(hamming.find_nearest, miss, codes, 0.8)
        encoder = RustBinaryEncoder(_DIMENSION, CODE_BITS, isa=isa)
        made[f"encode one embedding, {isa}"] = partial(encoder.encode, vectors[0])
    packed = [pack(unit(row), "int8") for row in vectors[:64]]
    query = unit(vectors[0])
    made["cosines with 64 vectors"] = partial(cosines, query, packed)
    made |= _vector_level(vectors, asked)
    made |= _text_level(vectors)
    return made


def _vector_level(vectors: np.ndarray, asked: np.ndarray) -> dict[str, Callable[[], object]]:
    cache = BinarySemanticCache(RustBinaryEncoder(_DIMENSION), max_entries=len(vectors))
    cache.put_many(vectors, ["an answer"] * len(vectors))
    hits, misses = cycle(asked), cycle(embeddings(CALLS, _DIMENSION, seed=5))
    fresh = iter(embeddings(4 * CALLS, _DIMENSION, seed=6))
    return {
        "get, hit among 1000": lambda: cache.get(next(hits)),
        "get, miss among 1000": lambda: cache.get(next(misses)),
        "put that evicts, 1000": lambda: cache.put(next(fresh), "an answer"),
    }


def _text_level(vectors: np.ndarray) -> dict[str, Callable[[], object]]:
    embedder = Precomputed()
    stored = [f"How do I repair a {word(i)}?" for i in range(len(vectors))]
    reworded = [f"How can I repair a {word(i)}?" for i in range(CALLS)]
    embedder.rows |= dict(zip(stored, vectors, strict=True))
    embedder.rows |= dict(zip(reworded, near(vectors[:CALLS], seed=7), strict=True))
    cache = SemanticCache(embedder=embedder, threshold=0.82)
    for prompt in stored:
        cache.put(prompt, "an answer")
    exact, semantic = cycle(stored[:CALLS]), cycle(reworded)
    return {
        "lookup, exact hit, memory": lambda: cache.lookup(next(exact)),
        "lookup, semantic hit, memory": lambda: cache.lookup(next(semantic)),
    }


def main(marker: str) -> None:
    """Marks the beginning and the end of each scenario; prints their names in order."""
    mark = ctypes.CDLL(marker).bsc_mark
    made = scenarios()
    gc.disable()
    for call in made.values():
        for _ in range(CALLS):
            call()
        mark()
        for _ in range(CALLS):
            call()
        mark()
    print("\n".join(made))


if __name__ == "__main__":
    main(sys.argv[1])
