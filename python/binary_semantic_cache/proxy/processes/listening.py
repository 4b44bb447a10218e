"""Sockets to listen on, and one ASGI application served on one of them until it is told to end."""

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from binary_semantic_cache.errors import ConfigurationError

__all__ = ["Serving", "bound_socket", "url_of"]

_KEEP_ALIVE_SECONDS = 75
"""More than the usual 60 of load balancers, so that they and not this side close idle connections."""

_FORCED_SECONDS = 1.0
"""What an application has left to tidy up when it is ended at once."""


def bound_socket(host: str, port: int, key: str) -> socket.socket:
    """A socket bound to `host` and `port`, not listening yet: who is early is refused, not kept waiting.

    Args:
        host: a name or an address.
        port: 0 for a free one.
        key: names the port in errors: `server.port`.

    Raises:
        ConfigurationError: the port is in use or not allowed, or the host is not of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as exc:
        raise ConfigurationError(f"{key}: expected a host of this machine, got {host} ({exc})") from exc
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            # Elsewhere it would let two programs have one port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as exc:
        bound.close()
        said = {
            errno.EADDRINUSE: f"port {port} of {host} is in use by another program; choose another, or 0",
            errno.EACCES: f"port {port} is not allowed to this user; choose one above 1023",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine",
        }.get(exc.errno or 0, f"could not listen on {host} port {port} ({exc.strerror or exc})")
        raise ConfigurationError(f"{key}: {said}") from exc
    return bound


def url_of(bound: socket.socket) -> str:
    """`http://127.0.0.1:8080`: how programs of this machine reach `bound`."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1" if bound.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it, and says when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as exc:
            # It would end the whole process, past everybody who has something to close.
            raise ConfigurationError("an application did not start; its error stands above") from exc
        self.has_started.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            # What it does without hurry: requests hear of their end, and the application may tidy up.
            for task in self.server_state.tasks:
                task.cancel()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.lifespan.shutdown(), _FORCED_SECONDS)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Serving:
    """One application on one socket.

    Args:
        app: the ASGI application.
        bound: where it listens; closed at the end.
        shutdown_seconds: how long requests under way may take to end once `end` was called.
    """

    def __init__(self, app: Any, bound: socket.socket, shutdown_seconds: float) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            interface="asgi3",
            lifespan="on",
            # Not whichever parser is installed: this one bounds the headers of a request. httptools, which is
            # faster, has no bound, and loses the body of a request that offers HTTP/2.
            http="h11",
            ws="none",
            # Whose address counts is who is connected: nobody needs to be believed about it.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        # Seconds may have parts; only the annotation of the constructor says otherwise.
        config.timeout_graceful_shutdown = shutdown_seconds  # type: ignore[assignment]
        self._server = _Server(config)
        self._task = asyncio.ensure_future(self._server.serve(sockets=[bound]))

    async def started(self) -> None:
        """Waits until it accepts connections.

        Raises:
            ConfigurationError: the application did not start.
        """
        waiting = asyncio.ensure_future(self._server.has_started.wait())
        await asyncio.wait((waiting, self._task), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._server.started:
            await self.ended()

    def end(self) -> None:
        """Accepts no more, and ends when what is under way has, or its time is up."""
        self._server.should_exit = True

    def end_now(self) -> None:
        """Ends without waiting for anything."""
        self._server.should_exit = self._server.force_exit = True

    async def ended(self) -> None:
        """Waits for the end."""
        await asyncio.wait((self._task,))
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error
