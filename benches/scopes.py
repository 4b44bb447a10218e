"""Searches within a scope: what they cost against a scan of that scope's codes alone."""

from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from benches.harness import Case, Contender, Row, check_equal, measure
from benches.subject import Setting
from benches.vectors import CODE_BITS, queries, random_codes
from binary_semantic_cache import HammingSimilarity
from binary_semantic_cache.vector.columns import Columns
from binary_semantic_cache.vector.index import Index

__all__ = ["run"]

_QUERIES = 64
_THRESHOLD = 0.70
"""At which the text level searches for candidates: 76 bits."""
_LIMIT = 64


def run(setting: Setting) -> Iterator[Row]:
    """1,000,000 entries in 100,000 uneven scopes, and 100,000 of which one scope has a large share."""
    n, n_scopes = setting.size(1_000_000, 4000), setting.size(100_000, 200)
    codes, scopes = random_codes(n, seed=41), _uneven(n, n_scopes)
    hamming = HammingSimilarity(CODE_BITS)
    index = _filled(hamming, codes, scopes)
    sizes = np.bincount(scopes, minlength=n_scopes)
    for wanted in (5, 100, setting.size(10_000, 1000)):
        scope = int(np.abs(sizes - wanted).argmin())
        alone = np.ascontiguousarray(codes[scopes == scope])
        yield from _compare(setting, hamming, index, scope, alone)
    # One row is of another scope, as an entry that only exact matches may have is.
    n = setting.size(100_000, 4000)
    codes = random_codes(n, seed=44)
    for share in (n - 1, n // 2, n // 4, n // 10):
        scopes = np.ones(n, np.int32)
        scopes[:share] = 0
        np.random.default_rng(45).shuffle(scopes)
        index, alone = _filled(hamming, codes, scopes), np.ascontiguousarray(codes[scopes == 0])
        yield from _compare(setting, hamming, index, 0, alone)


def _compare(
    setting: Setting, hamming: HammingSimilarity, index: Index, scope: int, alone: NDArray[np.uint64]
) -> Iterator[Row]:
    what = f"candidates within a scope of {len(alone):,}"
    asked = [np.ascontiguousarray(code) for code in queries(alone, "near", _QUERIES, seed=42)]

    def within(query: NDArray[np.uint64]) -> object:
        with index.lock:
            return index.within(query, _THRESHOLD, _LIMIT, scope)

    scan: Callable[[NDArray[np.uint64]], object] = lambda query: hamming.find_within(  # noqa: E731
        query, alone, _THRESHOLD, _LIMIT
    )
    for query in asked:
        with index.lock:
            rows, distances = index.within(query, _THRESHOLD, _LIMIT, scope)
        expected = hamming.find_within(query, alone, _THRESHOLD, _LIMIT)[1]
        check_equal(what, "a scan of the scope alone", distances.tolist(), expected.tolist())
        check_equal(what, "the scope", [scope] * rows.size, [index.scope_of(row) for row in rows.tolist()])
    name = "find_within over its codes alone, in order"
    inputs = [(query,) for query in asked]
    ours, theirs = Contender("ours", within, cycle(inputs)), Contender(name, scan, cycle(inputs))
    yield from measure(Case(what, index.columns.capacity, ours, [theirs]), setting.effort)


def _uneven(n: int, n_scopes: int) -> NDArray[np.int32]:
    """A scope for each of `n` rows: every scope has one, the others follow Zipf's law with exponent 1."""
    rng = np.random.default_rng(43)
    weights = 1.0 / np.arange(1, n_scopes + 1)
    drawn = rng.choice(n_scopes, n - n_scopes, p=weights / weights.sum())
    scopes = np.concatenate((np.arange(n_scopes), drawn)).astype(np.int32)
    rng.shuffle(scopes)
    return scopes


def _filled(hamming: HammingSimilarity, codes: NDArray[np.uint64], scopes: NDArray[np.int32]) -> Index:
    index = Index(hamming, len(codes), unique=False, scoped=True)
    times = np.arange(len(codes), dtype=np.float64)
    columns = Columns(codes.copy(), times, times.copy(), np.zeros(len(codes), np.int32))
    with index.lock:
        index.adopt(columns, scopes)
    return index
