"""How a process of the proxy comes to its end: in order at the first signal, at once at the second."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial

__all__ = ["Ending"]

_logger = logging.getLogger(__name__)

_LAST_SECONDS = 2.0
"""What a process that ends at once has left to close its file."""


class Ending:
    """The wish to end. Belongs to the running event loop.

    `begun` is set at the first wish; those who serve wait for it. At the second, `end_now` is called.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._at_begin: list[Callable[[], None]] = []
        self._at_once: list[Callable[[], None]] = []
        self.begun = asyncio.Event()
        self._cut = asyncio.Event()
        self.status = 0
        """The exit status: 0, or 128 and the signal that cut the process short."""

    def listen(self, *, repeated: bool = True) -> None:
        """Takes SIGINT, SIGTERM and, unless it is ignored (`nohup`), SIGHUP for wishes.

        A terminal that is closed sends SIGHUP, its shell often a second one: it never counts as the second.

        Args:
            repeated: whether a second signal ends at once; without it, SIGTERM only asks again.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = self._signalled if repeated else self._asked
            try:
                self._loop.add_signal_handler(number, handler, number)
            except NotImplementedError:  # Windows
                signal.signal(number, partial(self._from_thread, handler))

        hangup = getattr(signal, "SIGHUP", None)  # not on Windows
        if hangup is not None and signal.getsignal(hangup) == signal.SIG_DFL:
            self._loop.add_signal_handler(hangup, self._asked, hangup)

    def _from_thread(self, handler: Callable[[int], None], number: int, _: object) -> None:
        self._loop.call_soon_threadsafe(handler, number)

    def on_begin(self, call: Callable[[], None]) -> None:
        """Has `call` called at the first wish."""
        self._at_begin.append(call)

    def on_end_now(self, call: Callable[[], None]) -> None:
        """Has `call` called when everything is to end at once."""
        self._at_once.append(call)

    def begin(self) -> None:
        """The first wish; again and again, if it must be."""
        if not self.begun.is_set():
            self.begun.set()
            for call in self._at_begin:
                call()

    async def wait_unless_begun(self, seconds: float) -> None:
        """Waits `seconds`, or until the first wish to end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.begun.wait(), seconds)

    async def wait_unless_now(self, seconds: float) -> None:
        """Waits `seconds`, or until everything is to end at once."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._cut.wait(), seconds)

    def end_now(self, status: int) -> None:
        """Cuts everything short; the process is gone within two seconds, whatever hangs."""
        self.begin()
        self._cut.set()
        self.status = self.status or status
        for call in self._at_once:
            call()
        self._loop.call_later(_LAST_SECONDS, os._exit, status)

    def _asked(self, _: int) -> None:
        self.begin()

    def _signalled(self, number: int) -> None:
        if self.begun.is_set():
            _logger.warning("second signal: ending at once, requests under way are cut")
            self.end_now(128 + number)
        else:
            self.begin()
