"""Resident memory an entry, each cache filled in a process of its own."""

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benches.encode import projection
from benches.fetched import UnavailableError
from benches.harness import Figure, Row
from benches.machine import resident_bytes
from benches.peer_caches import KEEPERS, MOST, Rows, open_peers
from benches.published import NAME, PublishedUnavailableError, load_published
from benches.subject import Setting
from benches.vectors import CODE_BITS
from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder

__all__ = ["run"]

_DIMENSION = 384
_CHUNK = 1000
_FIRST = 100
"""Of entries of 2 kB and more, some thousand would leave behind memory that the next cache grows into."""
_GOAL_N = 1_000_000
_LIST = "a list of as many responses"
_MOST_OF_PEERS = 100_000
"""They keep vectors of 1.5 kB, and take a second and more for 10,000 entries."""
_PutMany = Callable[[NDArray[np.float32], list[None]], object]
_Make = Callable[[int], tuple[object, _PutMany]]
"""From a capacity, a cache and what puts into it."""


def run(setting: Setting) -> Iterator[Row]:
    """All of it, what is left beside the list that points to the responses, and other semantic caches."""
    for n in (20_000,) if setting.smoke else (10_000, 100_000, 1_000_000):
        yield from _at(setting, n)
    for n in (1000,) if setting.smoke else (10_000, _MOST_OF_PEERS):
        yield from _of_peers(n)


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


def _of_peers(n: int) -> Iterator[Row]:
    ours = _bytes_an_entry("ours", n)
    for name in (name for name in KEEPERS if n <= MOST.get(name, n)):
        try:
            theirs, note = _bytes_an_entry(name, n), ""
        except subprocess.CalledProcessError:
            theirs, note = None, "not available: its process said why"
        kept = {"ours": [ours]} | ({name: [theirs]} if theirs is not None else {})
        yield Row(
            "resident, an entry, theirs with its text", n, "B", ours, name, theirs, note=note, rounds=kept
        )


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
    except (PublishedUnavailableError, UnavailableError) as exc:
        sys.exit(f"{given.what}: {exc}")


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

    _close(filled(_FIRST if what in KEEPERS else 2 * _CHUNK))
    gc.collect()
    before = resident_bytes()
    kept = filled(n)
    gc.collect()
    after = resident_bytes()
    _close(kept)
    return after - before


def _close(cache: object) -> None:
    if isinstance(cache, ExitStack):
        cache.close()


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


def _peer(name: str) -> _Make:
    """Another cache; gptcache keeps texts and answers in its file, and vectors in memory."""

    def make(n: int) -> tuple[object, _PutMany]:
        rows: Rows = {}
        numbers = count()
        closing = ExitStack()
        folder = Path(closing.enter_context(TemporaryDirectory(prefix="bsc-bench-")))
        (peer,) = open_peers([name], rows, _DIMENSION, n, 0.8, folder, folder)
        closing.callback(peer.close)

        def put_many(embeddings: NDArray[np.float32], responses: list[None]) -> None:
            texts = [f"How do I repair number {next(numbers)}?" for _ in responses]
            # The buffer is written over; a cache might keep a view.
            rows.update(zip(texts, embeddings.copy(), strict=True))
            peer.add(texts, ["an answer"] * len(texts))
            rows.clear()

        return closing, put_many

    return make


_MAKERS: Mapping[str, Callable[[], _Make]] = {
    "ours": _ours,
    "pointers": _pointers,
    "published": _published,
    **{name: partial(_peer, name) for name in KEEPERS},
}


if __name__ == "__main__":
    _main()
