"""Graphs, which are quicker than a scan and do not always find the nearest: time beside recall."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from time import perf_counter_ns
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from benches.harness import Case, Contender, Row, measure
from benches.subject import Setting
from benches.vectors import CODE_BITS, clustered_codes, queries, random_codes, sliced
from binary_semantic_cache import HammingSimilarity

__all__ = ["run"]

_THRESHOLD = 0.80
_LINKS, _WIDTH, _WIDTH_BUILDING = 16, 64, 40
_CHUNK = 1000
_TIMED = 64


class _Graph(NamedTuple):
    name: str
    search: Callable[[NDArray[np.uint8]], Any]
    distance: Callable[[Any], int]
    """Of what `search` gave, the distance of the nearest code found."""
    build_us: list[float]
    """Time of one code, for each chunk that was added."""


def run(setting: Setting) -> Iterator[Row]:
    """Near queries among uniform codes, and clustered ones: building, searching, and how many are found."""
    for n in (2000,) if setting.smoke else (10_000, 100_000):
        codes = random_codes(n, seed=n)
        n_asked = setting.size(1000, 50)
        near = queries(codes, "near", n_asked, seed=n + 1)
        yield from _at(setting, codes, near, "near")
        codes, asked = clustered_codes(n, n_asked, seed=n)
        yield from _at(setting, codes, asked, "clustered")


def _at(setting: Setting, codes: NDArray[np.uint64], asked: NDArray[np.uint64], kind: str) -> Iterator[Row]:
    rest, heads, tails = sliced(codes)
    ours = partial(HammingSimilarity(CODE_BITS).find_nearest, heads=heads, tails=tails)
    nearest = [int(np.bitwise_count(codes ^ query).sum(axis=1, dtype=np.uint16).min()) for query in asked]
    graphs = [_faiss_graph(codes), _usearch_graph(codes)]
    inputs = [(query, rest, _THRESHOLD) for query in asked[:_TIMED]]
    theirs = [(query.view(np.uint8),) for query in asked[:_TIMED]]
    contenders = [Contender(graph.name, graph.search, cycle(theirs)) for graph in graphs]
    what = f"graphs, {kind}, {_THRESHOLD:.2f}"
    yield from measure(
        Case(what, len(codes), Contender("ours", ours, cycle(inputs)), contenders), setting.effort
    )

    least = (1 - _THRESHOLD) * CODE_BITS
    within = [distance if distance <= least else None for distance in nearest]
    found_by_us = [
        None if found is None else round((1 - found[1]) * CODE_BITS)
        for found in (ours(query, rest, _THRESHOLD) for query in asked)
    ]
    for graph in graphs:
        found = [graph.distance(graph.search(query.view(np.uint8))) for query in asked]
        hits = [distance if distance <= least else None for distance in found]
        recall, our_recall = _share(hits, within), _share(found_by_us, within)
        kept = {"ours": [our_recall], graph.name: [recall]}
        yield Row(
            f"graphs, {kind}: nearest found, of those within {_THRESHOLD:.2f}",
            len(codes),
            "%",
            our_recall,
            graph.name,
            recall,
            rounds=kept,
        )
        building = {graph.name: graph.build_us}
        yield Row(
            f"graphs, {kind}: building, a code",
            len(codes),
            "us",
            None,
            graph.name,
            statistics.fmean(graph.build_us),
            rounds=building,
        )


def _share(found: list[int | None], expected: list[int | None]) -> float:
    """Percent of the queries with a code near enough for which one as near was found."""
    wanted = [pair for pair in zip(found, expected, strict=True) if pair[1] is not None]
    return 100 * sum(got == right for got, right in wanted) / len(wanted)


def _faiss_graph(codes: NDArray[np.uint64]) -> _Graph:
    faiss.omp_set_num_threads(1)
    graph = faiss.IndexBinaryHNSW(CODE_BITS, _LINKS)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = _WIDTH_BUILDING, _WIDTH
    build_us = _built(codes, lambda chunk, first: graph.add(chunk))

    def search(query: NDArray[np.uint8]) -> Any:
        return graph.search(query.reshape(1, -1), 1)

    name = f"FAISS IndexBinaryHNSW (M {_LINKS}, efSearch {_WIDTH})"
    return _Graph(name, search, lambda found: int(found[0][0, 0]), build_us)


def _usearch_graph(codes: NDArray[np.uint64]) -> _Graph:
    graph = Index(
        ndim=CODE_BITS,
        metric="hamming",
        dtype="b1",
        connectivity=_LINKS,
        expansion_add=_WIDTH_BUILDING,
        expansion_search=_WIDTH,
    )

    def add(chunk: NDArray[np.uint8], first: int) -> object:
        return graph.add(np.arange(first, first + len(chunk)), chunk, threads=1)

    build_us = _built(codes, add)

    def search(query: NDArray[np.uint8]) -> Any:
        return graph.search(query, 1, threads=1)

    name = f"usearch HNSW (connectivity {_LINKS}, expansion {_WIDTH})"
    return _Graph(name, search, lambda found: int(found.distances[0]), build_us)


def _built(codes: NDArray[np.uint64], add: Callable[[NDArray[np.uint8], int], object]) -> list[float]:
    times = []
    for first in range(0, len(codes), _CHUNK):
        chunk = codes[first : first + _CHUNK].view(np.uint8)
        start = perf_counter_ns()
        add(chunk, first)
        times.append((perf_counter_ns() - start) / 1e3 / len(chunk))
    return times
