"""How long one call takes: each stage alone, and the way from a question to its verdict."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity, RustBinaryEncoder
from binary_semantic_cache.cli.demo.findings import Latency
from binary_semantic_cache.cli.demo.known import TimedEmbedder
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["measure"]

LARGE_CACHE_ENTRIES = 100_000
"""Size of the second search that is timed, over random codes: its time grows with their number."""


def measure(
    cache: SemanticCache,
    embedder: TimedEmbedder,
    stored: Sequence[str],
    asked: Sequence[str],
    embeddings: NDArray[np.float32],
    codes: NDArray[np.uint64],
) -> dict[str, Latency]:
    """The latencies of all stages, by name, in the order in which a question passes them.

    Args:
        cache: a filled cache of `embedder`; its counters and its order of use change.
        embedder: the cache's.
        stored: questions that are in the cache.
        asked: questions that are not.
        embeddings: of `asked`, shape `(len(asked), dimension)`.
        codes: the codes in the cache, shape `(n, n_words)`, for a search alone.
    """
    encoder, hamming = RustBinaryEncoder(embedder.dimension), HammingSimilarity()
    rows = list(embeddings)
    asked_codes = list(encoder.encode(embeddings))
    shape = (LARGE_CACHE_ENTRIES, codes.shape[1])
    many = np.random.default_rng(0).integers(0, 2**64, shape, dtype=np.uint64)
    embed, decide, verdict = _verdicts(cache, embedder, asked, repeats=3)
    return {
        "exact": _timed(cache.lookup, stored, repeats=5),
        "embed": embed,
        "encode": _timed(encoder.encode, rows, repeats=20),
        "search": _timed(lambda code: hamming.find_nearest(code, codes, 0.8), asked_codes, repeats=20),
        "search_100k": _timed(lambda code: hamming.find_nearest(code, many, 0.8), asked_codes, repeats=4),
        "decide": decide,
        "lookup": verdict,
    }


def _verdicts(
    cache: SemanticCache, embedder: TimedEmbedder, texts: Sequence[str], repeats: int
) -> tuple[Latency, Latency, Latency]:
    """All three from the same calls, so that a part cannot come out longer than the whole."""
    embed, decide, verdict = [], [], []
    for text in list(texts) * repeats:
        embedder.nanoseconds.clear()
        start = time.perf_counter_ns()
        cache.lookup(text)
        took = time.perf_counter_ns() - start
        embedding = sum(embedder.nanoseconds)
        if embedding:  # a question of a class that meaning must not answer is not embedded
            embed.append(embedding)
            decide.append(took - embedding)
            verdict.append(took)
    return _latency(embed), _latency(decide), _latency(verdict)


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
