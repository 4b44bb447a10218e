"""Looks after the workers: starts them, starts them again when they die, ends them.

Each worker is a Python process of its own (see `worker`), in a process group of its own, so that Ctrl-C
reaches it through here. It is told of the settings and of its end over a socket pair; when this process dies,
the pair is closed, and the worker ends in order.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from binary_semantic_cache.proxy.processes.assembly import forget_worker
from binary_semantic_cache.proxy.processes.ending import Ending
from binary_semantic_cache.proxy.processes.settings_travel import packed_settings
from binary_semantic_cache.proxy.settings import ProxySettings

__all__ = ["DRAIN", "NOW", "READY", "Supervisor"]

DRAIN, NOW, READY = b"d", b"n", b"r"
"""What goes over a worker's socket pair: end in order, end at once; and back: connections are accepted."""

_MOST_FAILURES = 5
"""Workers in a row that died before they were ready; then something is wrong that no new one cures."""
_LONGEST_DELAY_SECONDS = 5.0
_GRACE_SECONDS = 5.0
"""How much longer than it is allowed a worker may take to end before it is killed."""

_logger = logging.getLogger(__name__)


class Supervisor:
    """Keeps `settings.server.workers` workers at work.

    Args:
        settings: all of them.
        bound: the socket that the workers accept from; closed here when they are to stop.
        records: where workers write their records.
        ending: the wish to end.
    """

    def __init__(
        self, settings: ProxySettings, bound: socket.socket, records: socket.socket, ending: Ending
    ) -> None:
        self._settings = settings
        self._packed = packed_settings(settings)
        self._bound = bound
        self._records = records
        self._ending = ending
        self._controls: set[socket.socket] = set()
        self._n_ready = 0
        self._failures = 0
        self._replaced: set[int] = set()
        self._all_ready = asyncio.Event()
        ending.on_end_now(lambda: self._tell(NOW))

    async def run(self, ready: Callable[[], None]) -> None:
        """Serves until the end.

        Args:
            ready: called when all workers accept connections for the first time.
        """
        keepers = [
            asyncio.ensure_future(self._keep(number)) for number in range(self._settings.server.workers)
        ]
        waits = [asyncio.ensure_future(event.wait()) for event in (self._all_ready, self._ending.begun)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if self._all_ready.is_set():
            ready()
        await self._ending.begun.wait()
        self._tell(DRAIN)
        if self._settings.server.drain_seconds:
            await self._ending.wait_unless_now(self._settings.server.drain_seconds)
        self._bound.close()
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*keepers)

    def _tell(self, message: bytes) -> None:
        for control in self._controls:
            with suppress(OSError):
                control.send(message)

    async def _keep(self, number: int) -> None:
        """One worker after another, until the end."""
        while not self._ending.begun.is_set():
            began = monotonic()
            process, control = await self._start()
            self._controls.add(control)
            if self._ending.begun.is_set():
                self._tell(DRAIN)
            was_ready = await self._wait_until_ready(control)
            if was_ready and number in self._replaced:
                _logger.info("worker %d (process %d) accepts requests", number + 1, process.pid)
            status = await self._wait(process)
            self._controls.discard(control)
            control.close()
            forget_worker(process.pid)
            if self._ending.begun.is_set():
                return
            self._n_ready -= was_ready
            self._replaced.add(number)
            _logger.error(
                "worker %d (process %d) ended after %.1f s with %s; starting another",
                number + 1,
                process.pid,
                monotonic() - began,
                f"signal {-status}" if status < 0 else f"status {status}",
            )
            self._failures = 0 if was_ready else self._failures + 1
            if self._failures >= _MOST_FAILURES:
                _logger.error("%d workers died before they were ready: giving up", self._failures)
                self._ending.status = 1
                self._ending.begin()
            elif self._failures:
                await self._ending.wait_unless_begun(min(0.1 * 2**self._failures, _LONGEST_DELAY_SECONDS))

    async def _start(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        here, there = socket.socketpair()
        here.setblocking(False)
        with there:
            ends = (there.fileno(), self._bound.fileno(), self._records.fileno())
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "binary_semantic_cache.proxy.processes.worker",
                *map(str, ends),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=ends,
                process_group=0,
                # Only this process speaks for the service.
                env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            )
        _logger.debug("started process %d", process.pid)
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(here, self._packed)
        return process, here

    async def _wait_until_ready(self, control: socket.socket) -> bool:
        with suppress(OSError):
            if await asyncio.get_running_loop().sock_recv(control, 1) == READY:
                self._n_ready += 1
                if self._n_ready == self._settings.server.workers:
                    self._all_ready.set()
                return True
        return False

    async def _wait(self, process: asyncio.subprocess.Process) -> int:
        """Waits for the end of a worker, which is killed if it takes too long over it."""
        ended = asyncio.ensure_future(process.wait())
        begun = asyncio.ensure_future(self._ending.begun.wait())
        await asyncio.wait((ended, begun), return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        server = self._settings.server
        allowed = server.drain_seconds + server.shutdown_seconds + _GRACE_SECONDS
        done, _ = await asyncio.wait((ended,), timeout=allowed)
        if not done:
            _logger.error("process %d did not end in %.0f s: killed", process.pid, allowed)
            with suppress(ProcessLookupError):
                process.kill()
        return await ended
