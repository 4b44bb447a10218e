"""Gets from two threads at once: against the same number from one."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.harness import Case, Contender, Figure, Row, check_equal, measure
from benches.put import filled
from benches.subject import Setting
from benches.vectors import embeddings, near
from binary_semantic_cache import BinarySemanticCache

__all__ = ["run"]

_DIMENSION = 384
_GETS = 16


def run(setting: Setting) -> Iterator[Row]:
    """Misses, hits, and hashing, which shows what two threads can gain here at all; not kept to one CPU."""
    n = setting.size(1_000_000, 2000)
    cache = filled(n)
    stored = embeddings(min(n, 20_000), _DIMENSION, seed=7)[:_GETS]
    for kind, asked in {"miss": embeddings(_GETS, _DIMENSION, seed=11), "hit": near(stored, seed=12)}.items():
        get, inputs = _id_getter(cache), list(asked)
        found = [get(embedding) for embedding in inputs]
        check_equal("get", f"a {kind}", [kind == "hit"] * _GETS, [entry_id is not None for entry_id in found])
        goal = Figure.at_least(1.7) if len(os.sched_getaffinity(0)) > 1 else None
        yield from _compare(setting, f"get from 2 threads, {kind}, each", n, get, inputs, found, goal)
    blocks = [block.tobytes() for block in np.zeros((_GETS, 1 << 18), np.uint8)]
    digests = [_digest(block) for block in blocks]
    what = "sha256 from 2 threads, each: what the machine gives"
    yield from _compare(setting, what, len(blocks[0]), _digest, blocks, digests, None)


def _compare(
    setting: Setting,
    what: str,
    n: int,
    call: Callable[[Any], object],
    inputs: Sequence[object],
    expected: Sequence[object],
    goal: Figure | None,
) -> Iterator[Row]:
    with ThreadPoolExecutor(2) as pool:
        alone, together = _dealt(pool, call, inputs, 1), _dealt(pool, call, inputs, 2)
        check_equal(what, "1 thread", expected, alone())
        check_equal(what, "2 threads", expected, together())
        ours = Contender("2 threads", together, repeat(()))
        one = Contender("1 thread", alone, repeat(()), goal)
        yield from measure(Case(what, n, ours, [one], operations=len(inputs)), setting.effort)


def _dealt(
    pool: ThreadPoolExecutor, call: Callable[[Any], object], inputs: Sequence[object], n_threads: int
) -> Callable[[], list[object]]:
    """All `inputs` through `call`, in `n_threads` threads, each with an equal run of them."""
    size = len(inputs) // n_threads
    parts = [inputs[first : first + size] for first in range(0, len(inputs), size)]

    def some(part: Sequence[object]) -> list[object]:
        return [call(given) for given in part]

    return lambda: [result for results in pool.map(some, parts) for result in results]


def _id_getter(cache: BinarySemanticCache) -> Callable[[NDArray[np.float32]], int | None]:
    def get(embedding: NDArray[np.float32]) -> int | None:
        entry = cache.get(embedding)
        return None if entry is None else entry.id

    return get


def _digest(block: bytes) -> str:
    return hashlib.sha256(block).hexdigest()
