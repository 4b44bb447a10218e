"""A million codes and ten: the index against the scan, FAISS `IndexBinaryFlat` and `IndexBinaryMultiHash`."""

import gc
import statistics
from collections.abc import Iterator
from itertools import cycle
from time import perf_counter_ns

import faiss
import numpy as np
from numpy.typing import NDArray

from benches.harness import Case, Contender, Figure, Row, check_equal, measure
from benches.machine import resident_bytes
from benches.subject import Setting
from benches.vectors import CODE_BITS, KINDS, queries, random_codes
from binary_semantic_cache import HammingSimilarity
from binary_semantic_cache.binary_semantic_cache_rs import MultiIndex
from binary_semantic_cache.vector.memory import room

__all__ = ["run"]

_THRESHOLDS = (0.85, 0.80)
_N_QUERIES = 16
_GOAL_N = 1_000_000
_GOALS = {"miss": 15, "near": 100}
_CHUNK = 10_000
# 13 hashes of 19 bits, two flips each: of 38 differing bits some hash has at most two, so 0.85 is exact.
_HASHES, _HASH_BITS, _FLIPS = 13, 19, 2


def run(setting: Setting) -> Iterator[Row]:
    """Queries that miss, come near and repeat; what a row costs in memory, and to insert and remove."""
    for n in (3000, 30_000) if setting.smoke else (100_000, 300_000, 1_000_000, 10_000_000):
        codes = room((n, CODE_BITS // 64), np.uint64)
        codes[:] = random_codes(n, seed=n)
        before = resident_bytes()
        index = MultiIndex(CODE_BITS, n)
        yield _filling(index, codes)
        yield _of_a_row("index memory, as it says", n, index.nbytes / n, "bytes")
        grown = resident_bytes() - before
        yield _of_a_row("index memory, resident", n, grown / n, "bytes")
        faiss.omp_set_num_threads(1)
        flat = faiss.IndexBinaryFlat(CODE_BITS)
        flat.add(codes.view(np.uint8))
        hashed = _hashed(codes) if n <= _GOAL_N else None
        for threshold in _THRESHOLDS:
            for kind in KINDS:
                asked = queries(codes, kind, _N_QUERIES, seed=n + 1)
                exact_hash = hashed if threshold == max(_THRESHOLDS) else None
                yield from measure(
                    _case(index, codes, asked, kind, threshold, flat, exact_hash), setting.effort
                )
        del flat, hashed
        gc.collect()
        yield from _writing(index, codes, setting.size(20_000, 500))


def _case(
    index: MultiIndex,
    codes: NDArray[np.uint64],
    asked: NDArray[np.uint64],
    kind: str,
    threshold: float,
    flat: "faiss.IndexBinaryFlat",
    hashed: "faiss.IndexBinaryMultiHash | None",
) -> Case:
    what, scan = f"MultiIndex, {kind}, threshold {threshold:.2f}", HammingSimilarity(CODE_BITS).find_nearest
    arguments = [(query, codes, threshold) for query in asked]
    inputs = [(query.view(np.uint8).reshape(1, -1), 1) for query in asked]
    near = [scan(*args) for args in arguments]
    for args, expected in zip(arguments, near, strict=True):
        check_equal(what, "the scan", index.find_nearest(*args), expected)
    distances = [None if found is None else round((1 - found[1]) * CODE_BITS) for found in near]
    contenders = [Contender("our scan", scan, cycle(arguments))]
    for name, theirs in {"FAISS IndexBinaryFlat": flat, "FAISS IndexBinaryMultiHash": hashed}.items():
        if theirs is not None:
            found = [int(theirs.search(*args)[0][0, 0]) for args in inputs]
            hits = [distance if 1 - distance / CODE_BITS >= threshold else None for distance in found]
            check_equal(what, name, distances, hits)
            is_goal = theirs is flat and threshold == max(_THRESHOLDS) and len(codes) == _GOAL_N
            goal = Figure.at_least(_GOALS[kind]) if is_goal and kind in _GOALS else None
            contenders.append(Contender(name, theirs.search, cycle(inputs), goal))
    return Case(what, len(codes), Contender("ours", index.find_nearest, cycle(arguments)), contenders)


def _hashed(codes: NDArray[np.uint64]) -> "faiss.IndexBinaryMultiHash":
    hashed = faiss.IndexBinaryMultiHash(CODE_BITS, _HASHES, _HASH_BITS)
    hashed.nflip = _FLIPS
    hashed.add(codes.view(np.uint8))
    return hashed


def _filling(index: MultiIndex, codes: NDArray[np.uint64]) -> Row:
    """All rows, some thousand a call: what building the index costs."""
    times = []
    for first in range(0, len(codes), _CHUNK):
        rows = np.arange(first, min(first + _CHUNK, len(codes)), dtype=np.int32)
        start = perf_counter_ns()
        index.insert(rows, codes)
        times.append((perf_counter_ns() - start) / 1e3 / len(rows))
    return Row("MultiIndex, build, a row", len(codes), "us", statistics.fmean(times), rounds={"ours": times})


def _writing(index: MultiIndex, codes: NDArray[np.uint64], n: int) -> Iterator[Row]:
    """Single rows out and in again, each call timed: medians and the worst."""
    rows = np.random.default_rng(9).permutation(len(codes))[:n].astype(np.int32)
    removals, inserts = [], []
    for i in range(n):
        row, given = int(rows[i]), rows[i : i + 1]
        start = perf_counter_ns()
        index.remove(row, codes)
        middle = perf_counter_ns()
        index.insert(given, codes)
        removals.append((middle - start) / 1e3)
        inserts.append((perf_counter_ns() - middle) / 1e3)
    check_equal("MultiIndex", "itself before", len(index), len(codes))
    for what, times in {"remove": removals, "insert": inserts}.items():
        times.sort()
        kept = {"ours": [times[0], statistics.median(times), times[-1]]}
        yield Row(f"MultiIndex, {what}, one row", len(codes), "us", statistics.median(times), rounds=kept)
        yield Row(f"MultiIndex, {what}, worst of {n:,}", len(codes), "us", times[-1], rounds=kept)


def _of_a_row(what: str, n: int, value: float, unit: str) -> Row:
    return Row(what, n, unit, value, rounds={"ours": [value]})
