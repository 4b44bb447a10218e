"""A put into a full cache, which evicts: against the published cache, and a million against ten thousand."""

from collections.abc import Iterator
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from benches.encode import projection
from benches.harness import Case, Contender, Figure, Row, UnequalResultsError, check_equal, measure
from benches.published import NAME, PublishedCache
from benches.subject import Setting
from benches.vectors import CODE_BITS, embeddings, embeddings_in_chunks
from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder

__all__ = ["filled", "run"]

_DIMENSION = 384
_RESPONSE = "Paris"
_PUTS_PER_SAMPLE = 200
_Put = tuple[NDArray[np.float32], str]


def run(setting: Setting) -> Iterator[Row]:
    """Puts of embeddings that are not in the cache, each evicting the least recently used entry."""
    small, large = setting.size(10_000, 500), setting.size(1_000_000, 2000)
    yield from measure(_case(setting, small), setting.effort)
    smaller = Contender(f"ours at {small:,}", filled(small).put, _fresh(), Figure.within(1.5))
    yield from measure(_case(setting, large, smaller), setting.effort)


def filled(n: int) -> BinarySemanticCache:
    """A cache of `n` entries that is full; every call keeps to the caller's thread."""
    cache = BinarySemanticCache(RustBinaryEncoder(_DIMENSION, CODE_BITS, 42, threads=1), n, threads=1)
    for chunk in embeddings_in_chunks(n, _DIMENSION, seed=7):
        cache.put_many(chunk, [_RESPONSE] * len(chunk))
    return cache


def _case(setting: Setting, n: int, *others: Contender) -> Case:
    what, ours = "put at capacity", filled(n)
    contenders = list(others)
    if setting.published:
        theirs = setting.published.cache(projection(_DIMENSION), n, ours.similarity_threshold)
        for chunk in embeddings_in_chunks(n, _DIMENSION, seed=7):
            theirs.fill(ours.encoder.encode(chunk), _RESPONSE)
        _check_same(what, ours, theirs)
        contenders.append(Contender(NAME, theirs.put, _fresh()))
    before = ours.stats().evictions
    for args in _some_fresh(1000 + n):
        ours.put(*args)
    if ours.stats().evictions != before + 10 or len(ours) != n:
        raise UnequalResultsError(f"{what}: 10 puts evicted {ours.stats().evictions - before} entries")
    mine = Contender("ours", ours.put, _fresh())
    return Case(what, n, mine, contenders, setting.missing, calls=_PUTS_PER_SAMPLE)


def _check_same(what: str, ours: BinarySemanticCache, theirs: PublishedCache) -> None:
    """After the same puts both caches know what was put; which entry left is not the same.

    The published cache orders uses by the second, so that among a second's entries the lowest slot leaves.
    """
    for embedding, response in _some_fresh(13):
        ours.put(embedding, response)
        theirs.put(embedding, response)
        mine, other = ours.get(embedding), theirs.get(embedding)
        check_equal(what, NAME, mine and mine.code.tolist(), other and other.code.tolist())
    check_equal(what, NAME, len(ours), len(theirs.storage))


def _some_fresh(seed: int) -> list[_Put]:
    return [(embedding, _RESPONSE) for embedding in embeddings(10, _DIMENSION, seed)]


def _fresh() -> Iterator[_Put]:
    """More embeddings than the small cache holds: when one comes again, it was evicted long ago."""
    return cycle([(embedding, _RESPONSE) for embedding in embeddings(16_000, _DIMENSION, seed=8)])
