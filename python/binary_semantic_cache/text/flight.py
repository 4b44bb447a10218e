"""Single flight: one computation for all who ask the same at the same time, in threads and in event loops."""

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from binary_semantic_cache.fork import keep_over_fork

# asyncio takes a third of the time in which the text level is imported, and who has a loop has it already.
if TYPE_CHECKING:
    import asyncio

__all__ = ["PATIENCE_SECONDS", "Flights"]

PATIENCE_SECONDS = 60.0
"""How long one waits for another's computation before computing oneself: a computation may wait, in ways that
nobody
can see from here, for the very one who waits for it."""

# The keys that this thread or task is computing: a computation that asks for its own key must not wait for
# itself.
_computing: ContextVar[frozenset[bytes]] = ContextVar("bsc_computing", default=frozenset())

Own = TypeVar("Own")
Shared = TypeVar("Shared")


class _AbandonedError(Exception):
    """The one who computed was interrupted or cancelled; somebody else has to."""


class _Flight(Generic[Shared]):
    """A computation under way."""

    __slots__ = ("is_open", "loop", "outcome", "pilot")

    def __init__(self, loop: "asyncio.AbstractEventLoop | None") -> None:
        self.is_open = True
        """Whether others may still join; said before anything that an interrupt could prevent."""
        self.loop = loop
        self.pilot = _me(loop)
        self.outcome: Future[Shared] = Future()


class Flights(Generic[Own, Shared]):
    """Computations under way, by key.

    The first to ask computes; the others wait and have what it shares, or the same exception. If the first is
    cancelled or interrupted, one of the others takes over. What waits for each other in a circle does not
    wait.
    """

    def __init__(self) -> None:
        # Re-entrant, for a signal handler or finaliser that asks the cache in the middle of this.
        self.lock = threading.RLock()
        self._flights: dict[bytes, _Flight[Shared]] = {}
        self._waits: dict[object, _Flight[Shared]] = {}
        keep_over_fork(self)

    def after_fork_in_child(self) -> None:
        """Forgets the computations of threads that are not here."""
        self._flights, self._waits = {}, {}

    def run(
        self, key: bytes, compute: Callable[[], tuple[Own, Shared]], after: Callable[[Own], object]
    ) -> Own | Shared:
        """What `compute` returns first, or what another's computation of the same key shares.

        Args:
            key: names the computation.
            compute: returns what its caller has, and what is shared with those who wait.
            after: called with the former when those who wait have theirs; who asks meanwhile still joins.
        """
        while True:
            mine: _Flight[Shared] = _Flight(None)
            # From before the flight is known to others until after it is not: an interrupt may come at any
            # place.
            try:
                flight = self._board(key, mine)
                if flight is not None and flight is not mine:
                    wait([flight.outcome], PATIENCE_SECONDS)
                    if flight.outcome.done():
                        return flight.outcome.result()
                before = _computing.get()
                try:
                    _computing.set(before | {key})
                    own, shared = compute()
                    mine.outcome.set_result(shared)
                    after(own)
                finally:
                    mine.is_open = False
                    _computing.set(before)
            except _AbandonedError:
                continue
            except Exception as exc:
                self._fail(mine, exc)
                raise
            else:
                return own
            finally:
                self._leave(key, mine)

    async def arun(
        self,
        key: bytes,
        compute: Callable[[], Awaitable[tuple[Own, Shared]]],
        after: Callable[[Own], Awaitable[object]],
    ) -> Own | Shared:
        """As `run`, in an event loop, which is not held up by waiting."""
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            mine: _Flight[Shared] = _Flight(loop)
            try:
                flight = self._board(key, mine)
                if flight is not None and flight is not mine:
                    waiting = asyncio.wrap_future(flight.outcome)
                    waiting.add_done_callback(_take_note)
                    # Not `wait_for`: a waiter that is cancelled or impatient must not cancel others' result.
                    await asyncio.wait({waiting}, timeout=PATIENCE_SECONDS)
                    if waiting.done():
                        return waiting.result()
                before = _computing.get()
                try:
                    _computing.set(before | {key})
                    own, shared = await compute()
                    mine.outcome.set_result(shared)
                    await after(own)
                finally:
                    mine.is_open = False
                    _computing.set(before)
            except _AbandonedError:
                continue
            except Exception as exc:
                self._fail(mine, exc)
                raise
            else:
                return own
            finally:
                self._leave(key, mine)

    def _board(self, key: bytes, mine: _Flight[Shared]) -> _Flight[Shared] | None:
        """The flight of `key`: `mine` if there was none, `None` if the caller must not wait for it."""
        if key in _computing.get():
            return None
        with self.lock:
            flight = self._flights.get(key)
            if flight is None or not flight.is_open:
                self._flights[key] = mine
                return mine
            if mine.loop is None and flight.loop is not None and flight.loop is _running_loop():
                # A blocking call inside the very event loop that computes would wait for ever.
                return None
            if self._is_circle(mine.pilot, flight):
                return None
            self._waits[mine.pilot] = flight
        return flight

    def _is_circle(self, me: object, flight: _Flight[Shared]) -> bool:
        """Whether waiting for `flight` would be waiting for oneself."""
        seen = 0
        following: _Flight[Shared] | None = flight
        while following is not None and seen <= len(self._waits):
            if following.pilot == me:
                return True
            following = self._waits.get(following.pilot)
            seen += 1
        return False

    def _fail(self, mine: _Flight[Shared], error: Exception | None = None) -> None:
        if not mine.outcome.done():
            mine.outcome.set_exception(_AbandonedError() if error is None else error)

    def _leave(self, key: bytes, mine: _Flight[Shared]) -> None:
        try:
            self._fail(mine)
        finally:
            with self.lock:
                self._waits.pop(mine.pilot, None)
                if self._flights.get(key) is mine:
                    del self._flights[key]


def _me(loop: "asyncio.AbstractEventLoop | None") -> object:
    """Who asks: a task or a thread."""
    if loop is None:
        return "thread", threading.get_ident()

    from asyncio import current_task

    return "task", id(current_task(loop))


def _take_note(waiting: "asyncio.Future[Any]") -> None:
    """Looks at the exception of a waiter that left, which asyncio would else call forgotten."""
    if not waiting.cancelled():
        waiting.exception()


def _running_loop() -> "asyncio.AbstractEventLoop | None":
    from asyncio import get_running_loop

    try:
        return get_running_loop()
    except RuntimeError:
        return None
