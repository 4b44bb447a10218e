"""Calls to what may hang or be dead: bounded in time, and not made while it is known to be down."""

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Generic, TypeVar

from binary_semantic_cache.errors import BinarySemanticCacheError
from binary_semantic_cache.fork import keep_over_fork
from binary_semantic_cache.stores.cause import told

__all__ = ["Guarded", "UnavailableError"]

_logger = logging.getLogger(__name__)

_FAILURES_TO_OPEN = 3
_COOL_DOWN_SECONDS = 10.0
_LEAST_PATIENCE_SECONDS = 1.0
_MOST_THREADS = 32

T = TypeVar("T")


class UnavailableError(BinarySemanticCacheError):
    """A call failed, did not end in time, or was not made as the calls before it failed."""

    def __init__(self, what: str, why: str, *, timed_out: bool) -> None:
        super().__init__(f"{what} {why}")
        self.timed_out = timed_out
        self.why = why


class Guarded(Generic[T]):
    """Calls one thing (an embedder, a store, a verifier), so that the caller is never held up or hurt.

    After three failures in a row calls fail at once for ten seconds; then one is tried again. Only the class
    of an exception and the code of its cause are logged: its message may hold text of a prompt.

    Args:
        what: names the thing in errors and logs.
        bounded: its calls end in bounded time by themselves; otherwise each runs in a thread of its own,
            which is left behind if it does not end in time. A call that is left behind may still have its
            effect.
    """

    def __init__(self, what: str, *, bounded: bool) -> None:
        self._what = what
        self._bounded = bounded
        # Re-entrant, for a signal handler or finaliser that asks the cache in the middle of this.
        self.lock = threading.RLock()
        self._failures = 0
        self._closed_until = 0.0
        self._threads = 0
        keep_over_fork(self)

    def after_fork_in_child(self) -> None:
        """Forgets the calls of threads that are not here."""
        self._threads = 0

    def call(self, work: Callable[[], T], deadline: float) -> T:
        """What `work` returns.

        Args:
            work: called with nothing.
            deadline: by `time.monotonic`; no later does this return or raise.

        Raises:
            UnavailableError: for every `Exception` of `work`, too.
        """
        began = monotonic()
        if self._failures >= _FAILURES_TO_OPEN and not self._may_try(began):
            raise UnavailableError(self._what, "is not asked while it fails", timed_out=False)
        try:
            result = work() if self._bounded else self._in_thread(work, deadline)
        except UnavailableError:
            if monotonic() - began >= _LEAST_PATIENCE_SECONDS:
                self._failed()  # whoever gave up sooner says nothing about its health
            raise
        except Exception as exc:
            if not isinstance(exc, TypeError | ValueError):
                self._failed()  # what one input is refused for is no matter of others
            _logger.warning("%s failed: %s", self._what, told(exc))
            raise UnavailableError(self._what, f"failed: {type(exc).__name__}", timed_out=False) from exc
        self._failures = 0
        return result

    def _may_try(self, now: float) -> bool:
        """Whether the time to cool down is over: for one caller, then for none until it went well."""
        with self.lock:
            if now < self._closed_until:
                return False
            self._closed_until = now + _COOL_DOWN_SECONDS
            return True

    def _failed(self) -> None:
        with self.lock:
            self._failures += 1
            self._closed_until = monotonic() + _COOL_DOWN_SECONDS

    def _in_thread(self, work: Callable[[], T], deadline: float) -> T:
        with self.lock:
            if self._threads >= _MOST_THREADS:
                raise UnavailableError(
                    self._what, f"has {_MOST_THREADS} calls that do not end", timed_out=True
                )
            self._threads += 1
        done: SimpleQueue[tuple[bool, T | BaseException]] = SimpleQueue()

        def run() -> None:
            try:
                outcome: tuple[bool, T | BaseException] = (True, work())
            except BaseException as exc:
                outcome = (False, exc)
            with self.lock:
                self._threads -= 1
            done.put(outcome)

        try:
            threading.Thread(target=run, name=f"bsc {self._what}", daemon=True).start()
        except BaseException:
            with self.lock:
                self._threads -= 1
            raise
        try:
            worked, result = done.get(timeout=max(0.0, deadline - monotonic()))
        except Empty:
            _logger.warning("%s did not answer in time", self._what)
            raise UnavailableError(self._what, "did not answer in time", timed_out=True) from None
        if worked:
            return result  # type: ignore[return-value]
        if isinstance(result, Exception):
            raise result
        # SystemExit and its like are about the thread that they were raised in, which was ours.
        raise UnavailableError(self._what, f"failed: {type(result).__name__}", timed_out=False)
