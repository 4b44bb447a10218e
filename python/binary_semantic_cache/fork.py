"""Keeps what has a lock usable in a forked child.

A child has only the thread that forked. A lock that another thread held would stay locked in it for ever, and
work that another thread had begun would count as under way for ever. So a fork waits until no thread is in
the middle of a change, and the child forgets the work of threads that it does not have. Arrays are private
copies there, as all memory is.
"""

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from operator import itemgetter
from typing import Protocol

__all__ = ["keep_over_fork"]


class _Lock(Protocol):
    def acquire(self) -> bool: ...
    def release(self) -> None: ...


class _Forkable(Protocol):
    @property
    def lock(self) -> _Lock: ...
    def after_fork_in_child(self) -> None: ...


_numbers = count()
# In order: a fork must take locks in the order in which threads take them.
_known: "weakref.WeakValueDictionary[tuple[bool, int], _Forkable]" = weakref.WeakValueDictionary()
# Held from before a fork until after it: one fork at a time, and no new index in the middle of one.
_forking = threading.Lock()
_undo: list[Callable[[], object]] = []
_held: list[_Forkable] = []


def keep_over_fork(thing: _Forkable, *, innermost: bool = True) -> None:
    """Makes every later fork wait for the lock of `thing`; does not keep it alive.

    Args:
        thing: has a lock, and in a forked child forgets what the threads that are not there were doing.
        innermost: whoever holds the lock takes no other of these; otherwise it may go on to take innermost
            ones.
    """
    with _forking:
        _known[innermost, next(_numbers)] = thing


def _before() -> None:
    _forking.acquire()
    _undo.append(_forking.release)
    for _, thing in sorted(_known.items(), key=itemgetter(0)):
        thing.lock.acquire()
        _undo.append(thing.lock.release)
        _held.append(thing)


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
    for thing in _held:
        thing.after_fork_in_child()
    _in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
