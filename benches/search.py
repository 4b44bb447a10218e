"""The nearest of n sliced codes: against FAISS, usearch, NumPy, the published kernel, ours, reading once."""

from collections.abc import Iterator, Mapping
from functools import partial
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
from benches.vectors import CODE_BITS, KINDS, clustered_codes, queries, random_codes, sliced
from binary_semantic_cache import HammingSimilarity

__all__ = ["FAISS", "THRESHOLD", "case", "run"]

THRESHOLD = 0.80
_HIGHER = 0.85
FAISS = "FAISS IndexBinaryFlat"
_ROWS = "ours, row after row"
_N_QUERIES = 16
_GOALS = {10_000: 7.0, 100_000: 5.0, 1_000_000: 2.5, 10_000_000: 2.0}
"""How many times ours FAISS is to take for a miss, by the number of codes."""
_MANY = 10_000_000


def run(setting: Setting) -> Iterator[Row]:
    """Queries that miss, come near and repeat, at each size; uniform codes and clustered ones."""
    for n in (1000, 3000) if setting.smoke else (1000, 10_000, 100_000, 1_000_000, _MANY):
        codes = random_codes(n, seed=n)
        for kind in KINDS if n < _MANY else KINDS[:1]:
            asked = queries(codes, kind, _N_QUERIES, seed=n + 1)
            for threshold in (THRESHOLD, _HIGHER):
                yield from measure(case(setting, codes, asked, kind, threshold), setting.effort)
        del codes
        if 1000 < n < _MANY:
            codes, asked = clustered_codes(n, _N_QUERIES, seed=n)
            for threshold in (THRESHOLD, _HIGHER):
                yield from measure(case(setting, codes, asked, "clustered", threshold), setting.effort)


def case(
    setting: Setting, codes: NDArray[np.uint64], asked: NDArray[np.uint64], kind: str, threshold: float
) -> Case:
    """Every contender over the same codes, checked against NumPy for each query.

    Args:
        setting: this run.
        codes: `(n, 4)` uint64.
        asked: the queries, as many rows.
        kind: what they are, one of `KINDS` or "clustered".
        threshold: least similarity.

    Raises:
        UnequalResultsError: a contender finds another code, or a query is not of its kind.
    """
    what, by_row = f"find_nearest, {kind}, {threshold:.2f}", HammingSimilarity(CODE_BITS).find_nearest
    rest, heads, tails = sliced(codes)
    ours = partial(by_row, heads=heads, tails=tails)
    distances = []
    for query in asked:
        distance, index = _oracle(query, codes)
        similarity = 1 - distance / CODE_BITS
        hit = similarity >= threshold
        check_equal(what, "NumPy", ours(query, rest, threshold), (index, similarity) if hit else None)
        check_equal(what, _ROWS, ours(query, rest, threshold), by_row(query, codes, threshold))
        if kind != "clustered" and hit == (kind == "miss"):
            raise UnequalResultsError(f"{what}: a query is none, its nearest code is at distance {distance}")
        distances.append(distance)

    is_miss = kind == "miss" and not setting.smoke
    reading = read_once(codes.nbytes, Figure.within(0.7) if is_miss else None)
    goal = Figure.at_least(_GOALS[len(codes)]) if is_miss and len(codes) in _GOALS else None
    arguments: list[tuple[Any, ...]] = [(query, codes, threshold) for query in asked]
    contenders = [
        reading,
        _faiss(what, codes, asked, distances, goal),
        Contender(_ROWS, by_row, cycle(arguments)),
    ]
    missing: Mapping[str, str] = {}
    if threshold == THRESHOLD and kind in KINDS and len(codes) < _MANY:
        contenders.append(_usearch(what, codes, asked, distances))
        contenders.append(Contender("NumPy", _oracle, cycle([(query, codes) for query in asked])))
        missing = setting.missing
        if setting.published:
            theirs = setting.published.module.HammingSimilarity(CODE_BITS).find_nearest
            for args in arguments:
                check_equal(what, NAME, _rounded(by_row(*args)), _rounded(theirs(*args)))
            goal = Figure.at_least(14) if is_miss and len(codes) == 100_000 else None
            contenders.append(Contender(NAME, theirs, cycle(arguments), goal))
    inputs = cycle([(query, rest, threshold) for query in asked])
    return Case(what, len(codes), Contender("ours", ours, inputs), contenders, missing)


def _faiss(
    what: str,
    codes: NDArray[np.uint64],
    asked: NDArray[np.uint64],
    distances: list[int],
    goal: Figure | None,
) -> Contender:
    """Checked to find codes as near as `distances`; which of several equally near is its own affair."""
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexBinaryFlat(CODE_BITS)
    flat.add(codes.view(np.uint8))
    inputs = [(query.view(np.uint8).reshape(1, -1), 1) for query in asked]
    found = [int(flat.search(*args)[0][0, 0]) for args in inputs]
    check_equal(what, FAISS, distances, found)
    return Contender(FAISS, flat.search, cycle(inputs), goal)


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
