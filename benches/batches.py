"""Many at once: searches, pairs, codes and gets against FAISS, NumPy, one at a time, and two threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benches.encode import projection
from benches.harness import Case, Contender, Row, check_equal, measure
from benches.machine import one_cpu
from benches.put import filled
from benches.subject import Setting
from benches.vectors import CODE_BITS, embeddings, near, queries, random_codes, sliced
from binary_semantic_cache import HammingSimilarity, RustBinaryEncoder

__all__ = ["run"]

_DIMENSION = 384
_THRESHOLD = 0.80
_BATCHES = (1, 16, 256)
_MANY = 10_000_000
_Found = tuple[list[int], list[float]]


def run(setting: Setting) -> Iterator[Row]:
    """Searches by one thread and by two, pairs, embeddings to codes, and `get_many`."""
    for n in (3000,) if setting.smoke else (10_000, 100_000, 1_000_000, _MANY):
        codes = random_codes(n, seed=n)
        for size in _BATCHES if n < _MANY else _BATCHES[:2]:
            asked = _asked(codes, size, n)
            with one_cpu():
                yield from measure(_search(codes, asked), setting.effort)
            yield from _two_threads(setting, codes, asked)
        del codes
    with one_cpu():
        yield from measure(_pairs(setting), setting.effort)
    for dimension in (_DIMENSION,) if setting.smoke else (_DIMENSION, 768, 1536):
        yield from _encode(setting, dimension)
    with one_cpu():
        yield from measure(_get_many(setting), setting.effort)


def _asked(codes: NDArray[np.uint64], size: int, seed: int) -> NDArray[np.uint64]:
    """Queries of which seven of eight miss."""
    asked = queries(codes, "miss", size, seed=seed + 1)
    asked[7::8] = queries(codes, "near", len(asked[7::8]), seed=seed + 2)
    return asked


def _search(codes: NDArray[np.uint64], asked: NDArray[np.uint64]) -> Case:
    n, size = len(codes), len(asked)
    what = f"find_nearest_batch, {size} queries, each"
    hamming = HammingSimilarity(CODE_BITS, threads=1)
    rest, heads, tails = sliced(codes)
    over_slices = partial(hamming.find_nearest_batch, heads=heads, tails=tails)
    one_by_one = partial(hamming.find_nearest, heads=heads, tails=tails)

    def loop() -> list[object]:
        return [one_by_one(query, rest, _THRESHOLD) for query in asked]

    flat = faiss.IndexBinaryFlat(CODE_BITS)
    flat.add(codes.view(np.uint8))
    faiss.omp_set_num_threads(1)
    bytes_asked = asked.view(np.uint8)
    ours = _plain(over_slices(asked, rest, _THRESHOLD))
    check_equal(what, "row after row", ours, _plain(hamming.find_nearest_batch(asked, codes, _THRESHOLD)))
    check_equal(what, "one at a time", ours, _plain_loop(loop()))
    distances, rows = flat.search(bytes_asked, 1)
    similarities = 1 - distances[:, 0] / CODE_BITS
    hits = similarities >= _THRESHOLD
    check_equal(what, "FAISS", ours[1], np.where(hits, similarities, -1.0).tolist())
    check_equal(what, "FAISS", len(rows), size)
    return Case(
        what,
        n,
        Contender("ours", over_slices, repeat((asked, rest, _THRESHOLD))),
        [
            Contender("FAISS IndexBinaryFlat, as many at once", flat.search, repeat((bytes_asked, 1))),
            Contender("ours, one at a time", loop, repeat(())),
            Contender("ours, row after row", hamming.find_nearest_batch, repeat((asked, codes, _THRESHOLD))),
        ],
        operations=size,
    )


def _two_threads(setting: Setting, codes: NDArray[np.uint64], asked: NDArray[np.uint64]) -> Iterator[Row]:
    """The same by two threads, single queries by `find_nearest`."""
    n, size = len(codes), len(asked)
    rest, heads, tails = sliced(codes)

    def search(threads: int) -> Callable[[], object]:
        hamming = HammingSimilarity(CODE_BITS, threads=threads)
        if size == 1:
            return lambda: hamming.find_nearest(asked[0], rest, _THRESHOLD, heads=heads, tails=tails)
        return lambda: _plain(hamming.find_nearest_batch(asked, rest, _THRESHOLD, heads=heads, tails=tails))

    name = "find_nearest" if size == 1 else f"find_nearest_batch, {size} queries"
    yield from _by_two(setting, f"{name}, 2 threads, each", n, search, size)


def _by_two(
    setting: Setting, what: str, n: int, work: Callable[[int], Callable[[], object]], operations: int
) -> Iterator[Row]:
    if len(os.sched_getaffinity(0)) == 1:
        return
    one, two = work(1), work(2)
    check_equal(what, "1 thread", two(), one())
    ours = Contender("2 threads", two, repeat(()))
    yield from measure(
        Case(what, n, ours, [Contender("1 thread", one, repeat(()))], operations=operations), setting.effort
    )


def _pairs(setting: Setting) -> Case:
    m, n = setting.size(256, 16), setting.size(10_000, 1000)
    a, b = random_codes(m, seed=1), random_codes(n, seed=2)
    similar = HammingSimilarity(CODE_BITS, threads=1).batch_similarity
    what = f"batch_similarity, {m} codes with n, each pair"

    def numpy() -> NDArray[np.float32]:
        different = np.bitwise_count(a[:, None] ^ b).sum(axis=2, dtype=np.uint16)
        similarities: NDArray[np.float32] = (1 - different / CODE_BITS).astype(np.float32)
        return similarities

    check_equal(what, "NumPy", similar(a, b).tolist(), numpy().tolist())
    ours = Contender("ours", similar, repeat((a, b)))
    return Case(what, n, ours, [Contender("NumPy", numpy, repeat(()))], operations=m * n)


def _encode(setting: Setting, dimension: int) -> Iterator[Row]:
    n = setting.size(1000, 100)
    vectors, matrix = embeddings(n, dimension, seed=2), projection(dimension)
    what = f"encode_batch, d = {dimension}, each"
    one = RustBinaryEncoder(dimension, CODE_BITS, threads=1)

    def loop() -> list[list[int]]:
        return [one.encode(vector).tolist() for vector in vectors]

    check_equal(what, "one at a time", one.encode_batch(vectors).tolist(), loop())
    contenders = [
        Contender("NumPy x @ P alone", partial(np.matmul, vectors, matrix), repeat(())),
        Contender("ours, one at a time", loop, repeat(())),
    ]
    with one_cpu():
        ours = Contender("ours", one.encode_batch, repeat((vectors,)))
        yield from measure(Case(what, n, ours, contenders, operations=n), setting.effort)

    def encode(threads: int) -> Callable[[], object]:
        encoder = RustBinaryEncoder(dimension, CODE_BITS, threads=threads)
        return lambda: encoder.encode_batch(vectors).tolist()

    yield from _by_two(setting, f"encode_batch, d = {dimension}, 2 threads, each", n, encode, n)


def _get_many(setting: Setting) -> Case:
    n, size = setting.size(100_000, 2000), 256
    cache = filled(n)
    stored = embeddings(min(n, 20_000), _DIMENSION, seed=7)[: size // 2]
    asked = np.concatenate([near(stored, seed=12), embeddings(size // 2, _DIMENSION, seed=11)])
    what = f"get_many, {size} embeddings, half of them hits, each"

    def ids(entries: Sequence[Any]) -> list[int | None]:
        return [None if entry is None else entry.id for entry in entries]

    def loop() -> list[object]:
        return [cache.get(embedding) for embedding in asked]

    check_equal(what, "one at a time", ids(cache.get_many(asked)), ids(loop()))
    ours = Contender("ours", cache.get_many, repeat((asked,)))
    return Case(what, n, ours, [Contender("ours, one at a time", loop, repeat(()))], operations=size)


def _plain(found: tuple[NDArray[np.int64], NDArray[np.float64]]) -> _Found:
    """With -1 for the similarity of a miss."""
    rows, similarities = found
    return rows.tolist(), np.where(rows < 0, -1.0, similarities).tolist()


def _plain_loop(found: list[Any]) -> _Found:
    return [-1 if one is None else one[0] for one in found], [
        -1.0 if one is None else one[1] for one in found
    ]
