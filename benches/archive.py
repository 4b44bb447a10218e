"""Saving and loading: against NumPy writing and reading the same arrays."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from benches.harness import Case, Contender, Figure, Row, check_equal, measure
from benches.subject import Setting
from benches.vectors import CODE_BITS, embeddings, embeddings_in_chunks
from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder

__all__ = ["run"]

_DIMENSION = 384
_SEED = 9
_CHUNK = 20_000


def run(setting: Setting) -> Iterator[Row]:
    """One file of small text responses, from the page cache."""
    n = setting.size(1_000_000, 2000)
    cache = BinarySemanticCache(RustBinaryEncoder(_DIMENSION, CODE_BITS, 42), n)
    first = 0
    for chunk in embeddings_in_chunks(n, _DIMENSION, _SEED, _CHUNK):
        cache.put_many(chunk, [f"answer {first + i}" for i in range(len(chunk))])
        first += len(chunk)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache.npz"
        cache.save(path)
        with np.load(path, allow_pickle=False) as npz:
            arrays = dict(npz)
        check_equal("save", "NumPy", n, len(arrays["codes"]))
        copy = Path(folder) / "numpy.npz"
        yield from measure(
            Case(
                "save, synced to disk",
                n,
                _once("ours", lambda: cache.save(path)),
                [_once("numpy.savez of ready arrays, not synced", lambda: np.savez(copy, **arrays))],
                calls=1,
                unit="ms",
            ),
            setting.effort,
        )
        yield from _loads(setting, cache, path)


def _loads(setting: Setting, cache: BinarySemanticCache, path: Path) -> Iterator[Row]:
    n = len(cache)
    reading = [_once("numpy.load, all arrays", lambda: _numpy_load(path))]
    for what, mmap, verify, goal, contenders in (
        ("load, whole", False, True, None, reading),
        ("load, mapped, verified", True, True, 20, reading),
        ("load, mapped, not verified", True, False, 5, []),
    ):
        load = _loader(cache, path, mmap=mmap, verify=verify)
        _check(what, cache, load())
        figure = Figure.at_most(goal, "ms") if goal else None
        case = Case(what, n, _once("ours", load, figure), contenders, calls=1, unit="ms")
        yield from measure(case, setting.effort)


def _loader(
    cache: BinarySemanticCache, path: Path, *, mmap: bool, verify: bool
) -> Callable[[], BinarySemanticCache]:
    def load() -> BinarySemanticCache:
        fresh = BinarySemanticCache(cache.encoder, cache.max_entries)
        fresh.load(path, mmap=mmap, verify=verify)
        return fresh

    return load


def _numpy_load(path: Path) -> dict[str, object]:
    with np.load(path, allow_pickle=False) as npz:
        return dict(npz)


def _check(what: str, cache: BinarySemanticCache, loaded: BinarySemanticCache) -> None:
    check_equal(what, "the loaded cache", len(cache), len(loaded))
    for embedding in embeddings(min(_CHUNK, len(cache)), _DIMENSION, _SEED)[::100]:
        mine, theirs = cache.get(embedding), loaded.get(embedding)
        check_equal(what, "the loaded cache", mine and mine.response, theirs and theirs.response)
        check_equal(what, "the loaded cache", 1.0, theirs and theirs.similarity)


def _once(name: str, call: Callable[[], object], figure: Figure | None = None) -> Contender:
    return Contender(name, call, repeat(()), figure)
