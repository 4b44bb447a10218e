"""A whole get, embedding in, entry out: against the published cache and against its own two parts."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from benches.encode import projection
from benches.harness import Case, Contender, Figure, Row, check_equal, measure
from benches.published import NAME, PublishedEntry
from benches.subject import Setting
from benches.vectors import CODE_BITS, embeddings, near, sliced
from binary_semantic_cache import BinarySemanticCache, CacheEntry, HammingSimilarity, RustBinaryEncoder

__all__ = ["cases", "run"]

_DIMENSION = 384
_RESPONSE = "Paris"
_GOAL_N = 100_000


def run(setting: Setting) -> Iterator[Row]:
    """Hits (near, not equal) and misses in a full cache."""
    for n in (2000,) if setting.smoke else (10_000, _GOAL_N):
        stored = embeddings(n, _DIMENSION, seed=3)
        for threshold in (0.80, 0.85):
            for case in cases(setting, stored, threshold):
                yield from measure(case, setting.effort)


def cases(setting: Setting, stored: NDArray[np.float32], threshold: float) -> Iterator[Case]:
    """Hits and misses in caches that hold `stored`, checked to give the same entries.

    Raises:
        UnequalResultsError: a query hits where it should miss, or the entries differ.
    """
    n = len(stored)
    asked = {"hit": near(stored[:: n // 64][:64], seed=4), "miss": embeddings(64, _DIMENSION, seed=5)}
    encoder = RustBinaryEncoder(_DIMENSION, CODE_BITS, 42)
    ours = BinarySemanticCache(encoder, n, threshold)
    ours.put_many(stored, [_RESPONSE] * n)
    codes = encoder.encode(stored)
    theirs = setting.published and setting.published.cache(projection(_DIMENSION), n, threshold)
    if theirs:
        theirs.fill(codes, _RESPONSE)

    for kind, embedded in asked.items():
        what, inputs = f"get, {kind}, {threshold:.2f}", [(vector,) for vector in embedded]
        for (vector,) in inputs:
            entry = ours.get(vector)
            check_equal(what, "the kind of query", kind, "miss" if entry is None else "hit")
            if theirs:
                check_equal(what, NAME, _plain(entry), _plain(theirs.get(vector)))
        contenders = [
            Contender(name, parts, cycle(inputs), goal)
            for name, parts, goal in _parts(encoder, codes, threshold)
        ]
        if theirs:
            goal = Figure.at_least(15) if n == _GOAL_N else None
            contenders.append(Contender(NAME, theirs.get, cycle(inputs), goal))
        yield Case(what, n, Contender("ours", ours.get, cycle(inputs)), contenders, setting.missing)


def _parts(
    encoder: RustBinaryEncoder, codes: NDArray[np.uint64], threshold: float
) -> list[tuple[str, Callable[[NDArray[np.float32]], object], Figure | None]]:
    """What a get must do at least, over the same codes, sliced or row after row."""
    find_nearest = HammingSimilarity(CODE_BITS).find_nearest
    rest, heads, tails = sliced(codes)
    over_slices = partial(find_nearest, heads=heads, tails=tails)
    goal = Figure.within(1.3) if len(codes) == _GOAL_N else None
    return [
        ("encode + find_nearest", lambda vector: over_slices(encoder.encode(vector), rest, threshold), goal),
        (
            "encode + find_nearest, row after row",
            lambda vector: find_nearest(encoder.encode(vector), codes, threshold),
            None,
        ),
    ]


def _plain(entry: CacheEntry | PublishedEntry | None) -> tuple[list[int], object, float] | None:
    """What both must agree on; the published similarity is a float32."""
    return None if entry is None else (entry.code.tolist(), entry.response, round(entry.similarity, 6))
