"""Keeps indexes usable in a forked child.

A child has only the thread that forked. A lock that another thread held would stay locked in it for ever, and
a search that another thread ran would count as running for ever. So a fork waits until no thread changes an
index, and the child forgets the searches of threads that it does not have. Their arrays are private copies
there, as all memory is.
"""

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Protocol

__all__ = ["keep_over_fork"]


class _Lock(Protocol):
    def acquire(self) -> bool: ...
    def release(self) -> None: ...


class _Forkable(Protocol):
    @property
    def lock(self) -> _Lock: ...
    def forget_searches(self) -> None: ...


_numbers = count()
# By number: two forks, or a fork and whoever takes several locks, must take them in one order.
_known: "weakref.WeakValueDictionary[int, _Forkable]" = weakref.WeakValueDictionary()
# Held from before a fork until after it: one fork at a time, and no new index in the middle of one.
_forking = threading.Lock()
_undo: list[Callable[[], object]] = []
_held: list[_Forkable] = []


def keep_over_fork(index: _Forkable) -> None:
    """Makes every later fork wait for `index` to be at rest; does not keep it alive."""
    with _forking:
        _known[next(_numbers)] = index


def _before() -> None:
    _forking.acquire()
    _undo.append(_forking.release)
    for _, index in sorted(_known.items()):
        index.lock.acquire()
        _undo.append(index.lock.release)
        _held.append(index)


def _in_parent() -> None:
    undo = _undo[::-1]
    # Before the last release lets another fork begin.
    _held.clear()
    _undo.clear()
    for release in undo:
        # Only an interrupt between a lock and its note could make a release fail; the others must still come.
        with suppress(RuntimeError):
            release()


def _in_child() -> None:
    for index in _held:
        index.forget_searches()
    _in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
