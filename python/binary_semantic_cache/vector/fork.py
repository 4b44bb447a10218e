"""Keeps indexes usable in a forked child.

A child has only the thread that forked. A lock that another thread held would stay locked in it for ever, and
a search that another thread ran would count as running for ever. So a fork waits until no thread changes an
index, and the child forgets the searches of threads that it does not have. Their arrays are private copies
there, as all memory is.
"""

import os
import weakref
from typing import Protocol

__all__ = ["keep_over_fork"]


class _Lock(Protocol):
    def acquire(self) -> bool: ...
    def release(self) -> None: ...


class _Forkable(Protocol):
    @property
    def lock(self) -> _Lock: ...
    def forget_searches(self) -> None: ...


_known: "weakref.WeakSet[_Forkable]" = weakref.WeakSet()
_held: list[_Forkable] = []


def keep_over_fork(index: _Forkable) -> None:
    """Makes every later fork wait for `index` to be at rest; does not keep it alive."""
    _known.add(index)


def _before() -> None:
    for index in list(_known):
        index.lock.acquire()
        _held.append(index)


def _in_parent() -> None:
    while _held:
        _held.pop().lock.release()


def _in_child() -> None:
    while _held:
        index = _held.pop()
        index.forget_searches()
        index.lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
