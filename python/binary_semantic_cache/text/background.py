"""Work that may wait and may be dropped: one thread, a bounded queue, so many a minute."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from binary_semantic_cache.fork import keep_over_fork

__all__ = ["Background"]

_logger = logging.getLogger(__name__)

_QUEUED = 256


class Background:
    """Does one thing after another, apart from those who asked for it.

    The thread starts with the first work, and is no reason for a process to stay. In a forked child there is
    no work under way. Of what is raised only the class is logged.

    Args:
        per_minute: most pieces of work taken in a minute; a minute's worth may come at once.
    """

    def __init__(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self.lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._forget()
        self._tokens, self._filled_at = per_minute, monotonic()
        keep_over_fork(self)

    def after_fork_in_child(self) -> None:
        """Forgets the thread that is not here, and what it was to do."""
        self._forget()

    def take(self, work: Callable[[], object]) -> bool:
        """Whether `work` will be done; not if too much is asked for, or it is closed."""
        with self.lock:
            if not self.has_room():
                return False
            self._tokens -= 1.0
            self._queue.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bsc-background", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return True

    def has_room(self) -> bool:
        """Whether work would be taken now."""
        with self.lock:
            now = monotonic()
            refill = (now - self._filled_at) * self._per_minute / 60.0
            self._tokens, self._filled_at = min(self._per_minute, self._tokens + refill), now
            return self._tokens >= 1.0 and len(self._queue) < _QUEUED and not self._is_closed

    def settle(self, timeout_seconds: float) -> bool:
        """Waits until nothing is left to do; whether that came in time."""
        with self.lock:
            return self._changed.wait_for(lambda: not self._queue and not self._is_busy, timeout_seconds)

    def close(self) -> None:
        """Takes no more, and drops what has not begun."""
        with self.lock:
            self._is_closed = True
            self._queue.clear()
            self._changed.notify_all()

    def _forget(self) -> None:
        self._queue: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition(self.lock)
        self._thread = None
        self._is_busy = False
        self._is_closed = False

    def _run(self) -> None:
        pid = os.getpid()
        while True:
            with self.lock:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                if self._is_closed or os.getpid() != pid:
                    return
                work = self._queue.popleft()
                self._is_busy = True
            try:
                work()
            except Exception as exc:  # the caller's own judge and model; nobody waits for them
                _logger.warning("work in the background failed: %s", type(exc).__name__)
