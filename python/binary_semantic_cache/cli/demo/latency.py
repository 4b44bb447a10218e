"""How long one call takes: each stage alone, and the way from a question to its answer."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity
from binary_semantic_cache.cli.demo.findings import Latency
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.vector.cache import BinarySemanticCache

__all__ = ["measure"]

LARGE_CACHE_ENTRIES = 100_000
"""Size of the second search that is timed, over random codes: its time grows with their number."""


def measure(
    cache: BinarySemanticCache,
    embedder: Embedder,
    texts: Sequence[str],
    embeddings: NDArray[np.float32],
    codes: NDArray[np.uint64],
) -> dict[str, Latency]:
    """The latencies of all stages, by name, in the order in which a question passes them.

    Args:
        cache: a filled cache; its counters and its order of use change.
        embedder: what made `embeddings`.
        texts: the questions to ask.
        embeddings: of `texts`, shape `(len(texts), dimension)`.
        codes: the codes in the cache, shape `(n, n_words)`, for a search alone.
    """
    hamming = HammingSimilarity(cache.encoder.code_bits)
    threshold = cache.similarity_threshold
    rows = list(embeddings)
    asked = list(cache.encoder.encode(embeddings))
    shape = (LARGE_CACHE_ENTRIES, codes.shape[1])
    many = np.random.default_rng(0).integers(0, 2**64, shape, dtype=np.uint64)
    embed, answer = _embed_and_answer(cache, embedder, texts, repeats=3)
    return {
        "embed": embed,
        "encode": _timed(cache.encoder.encode, rows, repeats=20),
        "search": _timed(lambda code: hamming.find_nearest(code, codes, threshold), asked, repeats=20),
        "search_100k": _timed(lambda code: hamming.find_nearest(code, many, threshold), asked, repeats=4),
        "get": _timed(cache.get, rows, repeats=20),
        "answer": answer,
    }


def _embed_and_answer(
    cache: BinarySemanticCache, embedder: Embedder, texts: Sequence[str], repeats: int
) -> tuple[Latency, Latency]:
    """Both from the same calls, so that the part cannot come out longer than the whole."""
    embed, answer = [], []
    for text in list(texts) * repeats:
        start = time.perf_counter_ns()
        embedding = embedder.embed([text])[0]
        middle = time.perf_counter_ns()
        cache.get(embedding)
        end = time.perf_counter_ns()
        embed.append(middle - start)
        answer.append(end - start)
    return _latency(embed), _latency(answer)


def _timed(call: Callable[[Any], object], inputs: Sequence[Any], repeats: int) -> Latency:
    nanoseconds = []
    for repeat in range(repeats + 1):
        for value in inputs:
            start = time.perf_counter_ns()
            call(value)
            elapsed = time.perf_counter_ns() - start
            if repeat > 0:  # the first round fills the processor's caches
                nanoseconds.append(elapsed)
    return _latency(nanoseconds)


def _latency(nanoseconds: Sequence[int]) -> Latency:
    median, p95 = np.percentile(np.array(nanoseconds) / 1e3, [50, 95])
    return Latency(float(median), float(p95), len(nanoseconds))
