"""Noting a use in the order of use: against `OrderedDict`, and a million rows against ten thousand."""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import cycle

import numpy as np

from benches.harness import Case, Contender, Row, check_equal, measure
from benches.subject import Setting
from binary_semantic_cache.vector.lru import LruList

__all__ = ["run"]


def run(setting: Setting) -> Iterator[Row]:
    """Touches of random rows, each row one that was not touched lately."""
    small, large = setting.size(10_000, 500), setting.size(1_000_000, 2000)
    yield from measure(_case(small), setting.effort)
    smaller = Contender(f"ours at {small:,}", _filled(small).touch, _rows(small))
    yield from measure(_case(large, smaller), setting.effort)


def _case(n: int, *others: Contender) -> Case:
    lru, ordered = _filled(n), OrderedDict.fromkeys(range(n))
    touched = [row for row, _ in zip(_rows(n), range(1000), strict=False)]
    for (row,) in touched:
        lru.touch(row)
        ordered.move_to_end(row)
    check_equal("LRU touch", "OrderedDict", lru.order(n).tolist(), list(ordered))
    ours = Contender("ours", lru.touch, _rows(n))
    return Case("LRU touch", n, ours, [Contender("OrderedDict", ordered.move_to_end, _rows(n)), *others])


def _filled(n: int) -> LruList:
    lru = LruList()
    lru.fill(n)
    return lru


def _rows(n: int) -> Iterator[tuple[int]]:
    """All rows in a random order, again and again: none is in the processor's cache by chance."""
    return cycle([(row,) for row in np.random.default_rng(6).permutation(n).tolist()])
