"""Resident memory an entry, each cache filled in a process of its own."""

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from benches.encode import projection
from benches.harness import Figure, Row
from benches.machine import resident_bytes
from benches.published import NAME, PublishedUnavailableError, load_published
from benches.subject import Setting
from benches.vectors import CODE_BITS
from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder

__all__ = ["run"]

_DIMENSION = 384
_CHUNK = 1000
_GOAL_N = 1_000_000
_LIST = "a list of as many responses"
_PutMany = Callable[[NDArray[np.float32], list[None]], object]
_Make = Callable[[int], tuple[object, _PutMany]]
"""From a capacity, a cache and what puts into it."""


def run(setting: Setting) -> Iterator[Row]:
    """All of it, and what is left beside the list that points to the responses."""
    for n in (20_000,) if setting.smoke else (10_000, 100_000, 1_000_000):
        yield from _at(setting, n)


def _at(setting: Setting, n: int) -> Iterator[Row]:
    ours, pointers = _bytes_an_entry("ours", n), _bytes_an_entry("pointers", n)
    measured = {"ours": [ours], _LIST: [pointers]}
    theirs = _bytes_an_entry("published", n) if setting.published else None
    if theirs is not None:
        measured[NAME] = [theirs]
    note = setting.missing.get(NAME, "")
    yield Row("resident, an entry, shared response", n, "B", ours, NAME, theirs, note=note, rounds=measured)
    what = "resident, beside the list of responses, an entry"
    figure = Figure.at_most(72, "B") if n == _GOAL_N else None
    yield Row(what, n, "B", ours - pointers, figure=figure, rounds=measured)


def _bytes_an_entry(what: str, n: int) -> float:
    command = [sys.executable, "-m", "benches.memory", what, str(n)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    growth: float = json.loads(done.stdout)
    return growth / n


def _main() -> None:
    parser = argparse.ArgumentParser(description="Fills a cache; prints by how many bytes this process grew.")
    parser.add_argument("what", choices=_MAKERS)
    parser.add_argument("n", type=int)
    given = parser.parse_args()
    try:
        print(_growth(given.what, given.n))
    except PublishedUnavailableError as exc:
        sys.exit(f"published package: {exc}")


def _growth(what: str, n: int) -> int:
    """Bytes by which this process grows while `n` entries go in.

    A small cache is filled and thrown away before, and one buffer of embeddings serves for all chunks, so
    that what grows is the cache.
    """
    chunk, responses = np.zeros((_CHUNK, _DIMENSION), np.float32), [None] * _CHUNK
    rng = np.random.default_rng(10)
    make = _MAKERS[what]()

    def filled(n_entries: int) -> object:
        cache, put_many = make(n_entries)
        for first in range(0, n_entries, _CHUNK):
            rng.random(out=chunk, dtype=np.float32)
            np.subtract(chunk, np.float32(0.5), out=chunk)
            rows = min(_CHUNK, n_entries - first)
            put_many(chunk[:rows], responses[:rows])
        return cache

    filled(2 * _CHUNK)
    gc.collect()
    before = resident_bytes()
    kept = filled(n)
    gc.collect()
    after = resident_bytes()
    del kept
    return after - before


def _ours() -> _Make:
    encoder = RustBinaryEncoder(_DIMENSION, CODE_BITS, 42)

    def make(n: int) -> tuple[object, _PutMany]:
        cache = BinarySemanticCache(encoder, n)
        return cache, cache.put_many

    return make


def _pointers() -> _Make:
    """Keeps the responses and nothing else, in a list that grows."""

    def make(n: int) -> tuple[object, _PutMany]:
        pointers: list[object] = []

        def put_many(embeddings: NDArray[np.float32], responses: list[None]) -> None:
            for response in responses:
                pointers.append(response)  # noqa: PERF402

        return pointers, put_many

    return make


def _published() -> _Make:
    published, matrix = load_published(), projection(_DIMENSION)
    encoder = RustBinaryEncoder(_DIMENSION, CODE_BITS, 42)

    def make(n: int) -> tuple[object, _PutMany]:
        cache = published.cache(matrix, n, 0.80)
        return cache, lambda chunk, responses: cache.fill(encoder.encode(chunk), responses[0])

    return make


_MAKERS: Mapping[str, Callable[[], _Make]] = {
    "ours": _ours,
    "pointers": _pointers,
    "published": _published,
}


if __name__ == "__main__":
    _main()
