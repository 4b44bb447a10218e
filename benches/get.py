"""A whole get, embedding in, entry out: against the published cache and against its own two parts."""

from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from benches.encode import projection
from benches.harness import Case, Contender, Figure, Row, check_equal, measure
from benches.published import NAME, PublishedEntry
from benches.subject import Setting
from benches.vectors import CODE_BITS, embeddings, near
from binary_semantic_cache import BinarySemanticCache, CacheEntry, HammingSimilarity, RustBinaryEncoder

__all__ = ["run"]

THRESHOLD = 0.80
_DIMENSION = 384
_RESPONSE = "Paris"


def run(setting: Setting) -> Iterator[Row]:
    """Hits (near, not equal) and misses in a full cache."""
    n = setting.size(100_000, 2000)
    stored = embeddings(n, _DIMENSION, seed=3)
    asked = {"hit": near(stored[:: n // 64][:64], seed=4), "miss": embeddings(64, _DIMENSION, seed=5)}
    encoder = RustBinaryEncoder(_DIMENSION, CODE_BITS, 42)
    ours = BinarySemanticCache(encoder, n, THRESHOLD)
    ours.put_many(stored, [_RESPONSE] * n)
    codes = encoder.encode(stored)
    theirs = setting.published and setting.published.cache(projection(_DIMENSION), n, THRESHOLD)
    if theirs:
        theirs.fill(codes, _RESPONSE)

    parts = _parts(encoder, codes)
    for kind, embedded in asked.items():
        what, inputs = f"get, {kind}", [(vector,) for vector in embedded]
        for (vector,) in inputs:
            entry = ours.get(vector)
            check_equal(what, "the kind of query", kind, "miss" if entry is None else "hit")
            if theirs:
                check_equal(what, NAME, _plain(entry), _plain(theirs.get(vector)))
        contenders = [Contender("encode + find_nearest", parts, cycle(inputs))]
        if theirs:
            contenders.append(Contender(NAME, theirs.get, cycle(inputs), Figure.at_least(8)))
        case = Case(what, n, Contender("ours", ours.get, cycle(inputs)), contenders, setting.missing)
        yield from measure(case, setting.effort)


def _parts(encoder: RustBinaryEncoder, codes: NDArray[np.uint64]) -> Callable[[NDArray[np.float32]], object]:
    """What a get must do at least, over the same codes."""
    find_nearest = HammingSimilarity(CODE_BITS).find_nearest
    return lambda vector: find_nearest(encoder.encode(vector), codes, THRESHOLD)


def _plain(entry: CacheEntry | PublishedEntry | None) -> tuple[list[int], object, float] | None:
    """What both must agree on; the published similarity is a float32."""
    return None if entry is None else (entry.code.tolist(), entry.response, round(entry.similarity, 6))
