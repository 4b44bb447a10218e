"""Other semantic caches behind one interface; they take vectors from a table, so that no text is embedded."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import mneme
import numpy as np
from numpy.typing import NDArray

from benches.fetched import fetch_peers

__all__ = ["KEEPERS", "MOST", "PEERS", "Peer", "Rows", "open_peers"]

MNEME, HYBRID = "mneme-cache", "hybrid-semantic-cache"
LIBRARY, GPTCACHE = "semantic-cache-lib, FAISS", "gptcache, FAISS and SQLite"
_DEFAULT, _NO_DISK = "semantic-cache-lib, its default", "gptcache, its files in memory"
PEERS = (MNEME, HYBRID, LIBRARY, _DEFAULT, GPTCACHE, _NO_DISK)
MOST = {_DEFAULT: 10_000, GPTCACHE: 10_000, _NO_DISK: 10_000}
"""The most entries that are waited for: 17 us of Python for each in a get, or 1 ms and more to put one."""
KEEPERS = (MNEME, HYBRID, LIBRARY, GPTCACHE)
"""One of each package."""

Rows = dict[str, NDArray[np.float32]]
"""The vector of each text."""
_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Peer:
    """A cache of another package, empty."""

    name: str
    add: Callable[[Sequence[str], Sequence[str]], object]
    """Takes texts and their answers."""
    answer: Callable[[str], object]
    """The stored answer to a text, or `None`."""
    close: Callable[[], object] = lambda: None


class _NothingError(Exception):
    """What is raised where semantic-cache-lib would compute an answer and store it."""


def open_peers(
    names: Sequence[str], rows: Rows, dimension: int, n: int, cosine: float, folder: Path, memory: Path
) -> list[Peer]:
    """Those named, empty, for `n` entries and a least similarity of `cosine`.

    Args:
        names: some of `PEERS`.
        rows: looked into at each call; may grow.
        dimension: of the vectors.
        n: how many entries they are to keep.
        cosine: each gets it in its own terms.
        folder: where gptcache keeps its files.
        memory: the same on a file system in memory.

    Raises:
        UnavailableError: they could not be fetched.
    """
    fetch_peers()
    opened: dict[str, Callable[[], Peer]] = {
        MNEME: lambda: _mneme(rows, dimension, cosine),
        HYBRID: lambda: _hybrid(rows, dimension, n, cosine),
        LIBRARY: lambda: _library(LIBRARY, rows, cosine, "FAISSBackend", vector_dim=dimension),
        _DEFAULT: lambda: _library(_DEFAULT, rows, cosine, "MemoryBackend"),
        GPTCACHE: lambda: _gptcache(GPTCACHE, rows, dimension, n, cosine, folder),
        _NO_DISK: lambda: _gptcache(_NO_DISK, rows, dimension, n, cosine, memory),
    }
    return [opened[name]() for name in names]


class _OneText:
    """An embedder as mneme-cache wants it."""

    fingerprint = "precomputed"

    def __init__(self, rows: Rows, dimension: int) -> None:
        self._rows = rows
        self.dim = dimension

    def embed(self, text: str) -> NDArray[np.float32]:
        return self._rows[text]


def _mneme(rows: Rows, dimension: int, cosine: float) -> Peer:
    cache: Any = mneme.SemanticCache(
        store=mneme.MemoryStore(),
        embedder=_OneText(rows, dimension),
        normalize=False,
        similarity_threshold=cosine,
    )

    def add(texts: Sequence[str], answers: Sequence[str]) -> None:
        for text, answer in zip(texts, answers, strict=True):
            cache.put(text, answer, embedding=rows[text])

    def answer(text: str) -> object:
        hit = cache.get(text)
        return hit and hit.response

    return Peer(MNEME, add, answer)


def _hybrid(rows: Rows, dimension: int, n: int, cosine: float) -> Peer:
    cache = import_module("hybrid_semantic_cache").HybridSemanticCache(
        threshold=cosine, dimension=dimension, max_records=n, encode_fn=rows.__getitem__
    )

    def add(texts: Sequence[str], answers: Sequence[str]) -> None:
        for text, answer in zip(texts, answers, strict=True):
            cache.add(text, answer)

    def answer(text: str) -> object:
        hit = cache.search(text)
        return hit and hit.response

    return Peer(HYBRID, add, answer)


class _Table:
    """An embedder as semantic-cache-lib wants it."""

    def __init__(self, rows: Rows) -> None:
        self.embed = rows.__getitem__


def _library(name: str, rows: Rows, cosine: float, backend_name: str, **options: int) -> Peer:
    package = import_module("semantic_cache")
    backend = getattr(package, backend_name)(**options)
    cache = package.SemanticCache(_Table(rows), backend=backend, threshold=cosine)

    def add(texts: Sequence[str], answers: Sequence[str]) -> None:
        for text, answer in zip(texts, answers, strict=True):
            backend.store(key=text, vector=rows[text], response=answer)

    def nothing() -> str:
        raise _NothingError

    def answer(text: str) -> object:
        # Its one way to look is `get_or_set`; an exception keeps a miss from storing anything.
        try:
            return cache.get_or_set(text, nothing)
        except _NothingError:
            return None

    return Peer(name, add, answer)


def _gptcache(name: str, rows: Rows, dimension: int, n: int, cosine: float, folder: Path) -> Peer:
    package, api = import_module("gptcache"), import_module("gptcache.adapter.api")
    evaluation = import_module("gptcache.similarity_evaluation").SearchDistanceEvaluation()
    manager = import_module("gptcache.manager").manager_factory(
        "sqlite,faiss",
        data_dir=str(folder),
        vector_params={"dimension": dimension},
        # By itself it keeps 1,000.
        eviction_params={"max_size": 2 * n},
    )
    cache = package.Cache()
    cache.init(
        pre_embedding_func=import_module("gptcache.processor.pre").get_prompt,
        embedding_func=lambda text, **_: rows[text],
        data_manager=manager,
        similarity_evaluation=evaluation,
        # It compares 4 - d with four times this; d, a squared distance of unit vectors, is 2 - 2 cosine.
        config=package.Config(similarity_threshold=(1 + cosine) / 2),
    )

    def add(texts: Sequence[str], answers: Sequence[str]) -> None:
        for first in range(0, len(texts), _CHUNK):
            chunk = slice(first, first + _CHUNK)
            cache.import_data(list(texts[chunk]), list(answers[chunk]))

    def close() -> None:
        manager.close()
        # It closes whatever is here once more at exit, when its folder is gone.
        cache.data_manager = ExitStack()

    return Peer(name, add, lambda text: api.get(text, cache_obj=cache), close)
