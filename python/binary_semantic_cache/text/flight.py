"""Single flight: one computation for all who ask the same at the same time, in threads and in event loops."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from binary_semantic_cache.fork import keep_over_fork

__all__ = ["Flights"]

# The keys that this thread or task is computing: a computation that asks for its own key must not wait for
# itself.
_computing: ContextVar[frozenset[bytes]] = ContextVar("bsc_computing", default=frozenset())


class _AbandonedError(Exception):
    """The one who computed was interrupted or cancelled; somebody else has to."""


class _Flight:
    """A computation under way."""

    __slots__ = ("loop", "outcome")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.outcome: Future[Any] = Future()


class Flights:
    """Computations under way, by key.

    The first to ask computes; the others wait and have the same result or the same exception. If the first is
    cancelled or interrupted, one of the others takes over.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._flights: dict[bytes, _Flight] = {}
        keep_over_fork(self)

    def after_fork_in_child(self) -> None:
        """Forgets the computations of threads that are not here."""
        self._flights = {}

    def run(self, key: bytes, compute: Callable[[], Any]) -> tuple[Any, bool]:
        """`(result, joined)`: what `compute` returns, or another's result for the same key."""
        while True:
            flight, is_mine = self._board(key, None)
            if flight is None:
                return compute(), False
            if is_mine:
                token = _computing.set(_computing.get() | {key})
                try:
                    result = compute()
                except Exception as exc:
                    self._land(key, flight, exc)
                    raise
                except BaseException:
                    self._land(key, flight, _AbandonedError())
                    raise
                finally:
                    _computing.reset(token)
                self._land(key, flight, None, result)
                return result, False
            try:
                return flight.outcome.result(), True
            except _AbandonedError:
                continue

    async def arun(self, key: bytes, compute: Callable[[], Awaitable[Any]]) -> tuple[Any, bool]:
        """As `run`, in an event loop, which is not held up by waiting."""
        loop = asyncio.get_running_loop()
        while True:
            flight, is_mine = self._board(key, loop)
            if flight is None:
                return await compute(), False
            if is_mine:
                token = _computing.set(_computing.get() | {key})
                try:
                    result = await compute()
                except Exception as exc:
                    self._land(key, flight, exc)
                    raise
                except BaseException:
                    self._land(key, flight, _AbandonedError())
                    raise
                finally:
                    _computing.reset(token)
                self._land(key, flight, None, result)
                return result, False
            try:
                # Shielded: a waiter that is cancelled must not cancel the others' result.
                waiting = asyncio.wrap_future(flight.outcome)
                waiting.add_done_callback(_take_note)
                return await asyncio.shield(waiting), True
            except _AbandonedError:
                continue

    def _board(self, key: bytes, loop: asyncio.AbstractEventLoop | None) -> tuple[_Flight | None, bool]:
        """The flight of `key` and whether it is the caller's to fly; `None` if the caller must not wait."""
        if key in _computing.get():
            return None, False
        with self.lock:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = _Flight(loop)
                return flight, True
        if loop is None and flight.loop is not None and flight.loop is _running_loop():
            # A blocking call inside the very event loop that computes would wait for ever.
            return None, False
        return flight, False

    def _land(self, key: bytes, flight: _Flight, error: Exception | None, result: object = None) -> None:
        with self.lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
        if error is None:
            flight.outcome.set_result(result)
        else:
            flight.outcome.set_exception(error)


def _take_note(waiting: asyncio.Future[Any]) -> None:
    """Looks at the exception of a waiter that left, which asyncio would else call forgotten."""
    if not waiting.cancelled():
        waiting.exception()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
