"""Where the time of a semantic hit goes: `SemanticCache.lookup` step by step, embeddings from a table."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

import numpy as np

from benches.harness import Row, UnequalResultsError
from benches.semantic import THRESHOLD, Precomputed, word
from benches.subject import Setting
from benches.vectors import embeddings, near
from binary_semantic_cache import SemanticCache
from binary_semantic_cache.stores import Entry, Store
from binary_semantic_cache.stores.memory import MemoryStore
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text import decision

__all__ = ["run"]

_ASKED = 64
_ROUNDS = 31
_AT_ONCE = 10_000
_VECTOR_BYTES = 389
_DECISION: Any = decision
_REST = "Python between the steps"


class _Stopwatch:
    """The time of each step without that of the steps it calls. About 0.3 us a step are the watch's own."""

    def __init__(self) -> None:
        self._inner: list[int] = [0]
        self._spent: defaultdict[str, int] = defaultdict(int)

    def timed(self, step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, watched."""

        def watched(*args: Any, **named: Any) -> Any:
            self._inner.append(0)
            began = perf_counter_ns()
            try:
                return call(*args, **named)
            finally:
                took = perf_counter_ns() - began
                self._spent[step] += took - self._inner.pop()
                self._inner[-1] += took

        return watched

    def take(self) -> dict[str, int]:
        """Nanoseconds of each step since the last time."""
        spent = dict(self._spent)
        self._spent.clear()
        return spent


class _Watched:
    """An object of which some methods are watched."""

    def __init__(self, inner: object, **methods: Callable[..., Any]) -> None:
        self._inner = inner
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def run(setting: Setting) -> Iterator[Row]:
    """The steps of hits among 100,000 and 1,000,000 entries, in memory and in SQLite."""
    for n in (setting.size(100_000, 1000), setting.size(1_000_000, 2000)):
        with TemporaryDirectory(prefix="bsc-bench-") as folder:
            stores: dict[str, Store] = {
                "memory": MemoryStore(),
                "SQLite": SQLiteStore(Path(folder) / "answers.db"),
            }
            for name, store in stores.items():
                yield from _steps(f"a semantic hit, {name}", store, n, setting.size(_ROUNDS, 2))
                store.close()


def _steps(what: str, store: Store, n: int, rounds: int) -> Iterator[Row]:
    embedder = Precomputed()
    with SemanticCache(store, embedder=embedder, threshold=THRESHOLD, max_entries=n) as cache:
        asked = _fill(cache, embedder, n)
        # The index takes what was put past the cache from a snapshot, as a process that opens the file does.
        with SemanticCache(store, embedder=embedder, threshold=THRESHOLD, max_entries=n) as opened:
            if not all(verdict and verdict.kind == "semantic" for verdict in map(opened.lookup, asked)):
                raise UnequalResultsError(f"{what}: expected semantic hits alone, got others")
            whole = [_mean_us(opened.lookup, asked) for _ in range(rounds)]
            yield Row(what, n, "us", statistics.median(whole), rounds={"ours": whole})
            yield from _watched(what, opened, asked, rounds)


def _watched(what: str, cache: SemanticCache, asked: list[str], rounds: int) -> Iterator[Row]:
    watch, rescored_by = _Stopwatch(), _DECISION.cosines
    lookup = _watch_steps(watch, cache)
    spent: defaultdict[str, list[float]] = defaultdict(list)
    try:
        for _ in range(rounds):
            _mean_us(lookup, asked)
            for step, ns in watch.take().items():
                spent[step].append(ns / len(asked) / 1e3)
    finally:
        _DECISION.cosines = rescored_by
    for step, times in sorted(spent.items(), key=lambda found: -statistics.median(found[1])):
        yield Row(
            f"{what}: {step}", len(cache), "us", statistics.median(times[1:] or times), rounds={"ours": times}
        )


def _watch_steps(watch: _Stopwatch, cache: SemanticCache) -> Callable[..., object]:
    """Watches the steps of `cache`; returns its `lookup`, watched too."""
    lookup, mirror = cache._lookup, cache._mirror
    judge, coder = lookup._decision, lookup._coder
    steps: list[tuple[str, object, str]] = [
        ("fingerprint", lookup, "asked"),
        ("exact tier, asked in vain", lookup, "exact"),
        ("policy", lookup, "classify"),
        ("embedding to unit length and code", coder, "code"),
        ("embedder (a table here)", coder._embedder, "embed"),
        ("whether the log moved on", mirror, "sync"),
        ("candidates, beside the scan", mirror, "within"),
        ("vectors", mirror, "vectors"),
        ("re-scoring", _DECISION, "cosines"),
        ("the entry, checked", judge, "_read"),
        ("guards", judge._guards, "check"),
        ("answer", lookup, "_outcome"),
        ("order of use", mirror, "touch"),
        ("counters", lookup._counters, "verdict"),
        ("counters", lookup._counters, "judgement"),
    ]
    for step, owner, name in steps:
        setattr(owner, name, watch.timed(step, getattr(owner, name)))
    index = mirror._index
    find_within = watch.timed("scan", index._hamming.find_within)
    index._hamming = _Watched(index._hamming, find_within=find_within)  # type: ignore[assignment]
    return watch.timed(_REST, cache.lookup)


def _mean_us(lookup: Callable[[str], object], asked: list[str]) -> float:
    began = perf_counter_ns()
    for prompt in islice(cycle(asked), len(asked)):
        lookup(prompt)
    return (perf_counter_ns() - began) / len(asked) / 1e3


def _fill(cache: SemanticCache, embedder: Precomputed, n: int) -> list[str]:
    """`n` entries, most of them with random codes and vectors; returns prompts near those that are whole."""
    whole = embeddings(_ASKED, embedder.dimension, seed=11)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    stored = [f"How do I repair a {word(i)}?" for i in range(_ASKED)]
    asked = [f"How can I repair a {word(i)}?" for i in range(_ASKED)]
    embedder.rows.update(zip(stored, whole, strict=True))
    embedder.rows.update(zip(asked, near(whole, seed=12), strict=True))
    # Spread over the rows, and the last of them behind all others.
    bounds = np.linspace(0, n - _ASKED, _ASKED + 1).astype(int).tolist()
    for prompt, first, last in zip(stored, bounds[:-1], bounds[1:], strict=True):
        for at in range(first, last, _AT_ONCE):
            cache.store.put_many(_others(cache, at, min(_AT_ONCE, last - at)))
        cache.put(prompt, f"an answer to: {prompt}")
    return asked


def _others(cache: SemanticCache, first: int, n: int) -> list[Entry]:
    rng = np.random.default_rng(first)
    codes, vectors = rng.bytes(32 * n), rng.bytes(_VECTOR_BYTES * n)
    entries = []
    for i in range(n):
        of = cache._fingerprinter.of(f"How do I repair a {word(_ASKED + first + i)}?")
        entries.append(
            Entry(
                key=of.key,
                scope=of.scope,
                owner=of.owner,
                code=codes[32 * i : 32 * (i + 1)],
                vector=b"\x01" + vectors[_VECTOR_BYTES * i + 1 : _VECTOR_BYTES * (i + 1)],
                prompt=of.text,
                kind="text",
                payload=f"an answer to: {of.text}".encode(),
                created_at=0.0,
                expires_at=None,
            )
        )
    return entries
