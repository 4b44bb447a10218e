"""The nearest of n codes: against FAISS, usearch, NumPy, the published kernel, and reading all codes once."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from usearch.compiled import MetricKind
from usearch.index import search as usearch_search

from benches.harness import Case, Contender, Figure, Row, UnequalResultsError, check_equal, measure
from benches.published import NAME
from benches.reading import read_once
from benches.subject import Setting
from benches.vectors import CODE_BITS, KINDS, queries, random_codes
from binary_semantic_cache import HammingSimilarity

__all__ = ["run"]

THRESHOLD = 0.80
_FAISS = "FAISS IndexBinaryFlat"
_N_QUERIES = 16
_GOAL_N = 100_000


def run(setting: Setting) -> Iterator[Row]:
    """Queries that miss, come near and repeat, at each size."""
    for n in (1000, 3000) if setting.smoke else (1000, 10_000, 100_000, 1_000_000):
        codes = random_codes(n, seed=n)
        for kind in KINDS:
            asked = queries(codes, kind, _N_QUERIES, seed=n + 1)
            yield from measure(_case(setting, codes, asked, kind), setting.effort)


def _case(setting: Setting, codes: NDArray[np.uint64], asked: NDArray[np.uint64], kind: str) -> Case:
    what, ours = f"find_nearest, {kind}", HammingSimilarity(CODE_BITS).find_nearest
    distances = []
    for query in asked:
        distance, index = _oracle(query, codes)
        similarity = 1 - distance / CODE_BITS
        hit = similarity >= THRESHOLD
        check_equal(what, "NumPy", ours(query, codes, THRESHOLD), (index, similarity) if hit else None)
        if hit == (kind == "miss"):
            raise UnequalResultsError(f"{what}: a query is none, its nearest code is at distance {distance}")
        distances.append(distance)

    contenders = [read_once(codes.nbytes), _faiss(what, codes, asked, distances)]
    contenders.append(_usearch(what, codes, asked, distances))
    contenders.append(Contender("NumPy", _oracle, cycle([(query, codes) for query in asked])))
    arguments: list[tuple[Any, ...]] = [(query, codes, THRESHOLD) for query in asked]
    if setting.published:
        theirs = setting.published.module.HammingSimilarity(CODE_BITS).find_nearest
        for args in arguments:
            check_equal(what, NAME, _rounded(ours(*args)), _rounded(theirs(*args)))
        goal = Figure.at_least(8) if len(codes) == _GOAL_N else None
        contenders.append(Contender(NAME, theirs, cycle(arguments), goal))
    return Case(what, len(codes), Contender("ours", ours, cycle(arguments)), contenders, setting.missing)


def _faiss(
    what: str, codes: NDArray[np.uint64], asked: NDArray[np.uint64], distances: list[int]
) -> Contender:
    """Checked to find codes as near as `distances`; which of several equally near is its own affair."""
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexBinaryFlat(CODE_BITS)
    flat.add(codes.view(np.uint8))
    inputs = [(query.view(np.uint8).reshape(1, -1), 1) for query in asked]
    found = [int(flat.search(*args)[0][0, 0]) for args in inputs]
    check_equal(what, _FAISS, distances, found)
    return Contender(
        _FAISS, flat.search, cycle(inputs), Figure.at_least(3) if len(codes) == _GOAL_N else None
    )


def _usearch(
    what: str, codes: NDArray[np.uint64], asked: NDArray[np.uint64], distances: list[int]
) -> Contender:
    """As `_faiss`."""
    dataset = codes.view(np.uint8)

    def search(query: NDArray[np.uint8]) -> Any:
        return usearch_search(dataset, query, 1, MetricKind.Hamming, exact=True, threads=1)

    inputs = [(query.view(np.uint8),) for query in asked]
    check_equal(what, "usearch", distances, [int(search(*args).distances[0]) for args in inputs])
    return Contender("usearch exact", search, cycle(inputs))


def _oracle(query: NDArray[np.uint64], codes: NDArray[np.uint64]) -> tuple[int, int]:
    """`(distance, index)` of the nearest code, the lowest index among equals."""
    distances = np.bitwise_count(codes ^ query).sum(axis=1, dtype=np.uint16)
    index = int(distances.argmin())
    return int(distances[index]), index


def _rounded(found: tuple[int, float] | None) -> tuple[int, float] | None:
    """The published similarity is a float32."""
    return None if found is None else (found[0], round(found[1], 6))
