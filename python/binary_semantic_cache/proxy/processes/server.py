"""Runs the proxy: the caching application on its port, the admin's on another, until a signal comes.

With one worker both live in this process and its event loop. With several, this process has the admin's
application and looks after the workers (`supervisor`); the listening socket is everybody's.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

from binary_semantic_cache.proxy.admin.app import create_admin_app
from binary_semantic_cache.proxy.admin.reading import store_answers
from binary_semantic_cache.proxy.processes.allocator import keep_memory_level
from binary_semantic_cache.proxy.processes.assembly import Requests, serve_requests, shared_metrics
from binary_semantic_cache.proxy.processes.ending import Ending
from binary_semantic_cache.proxy.processes.listening import Serving, bound_socket, url_of
from binary_semantic_cache.proxy.processes.opening import open_cache
from binary_semantic_cache.proxy.processes.relay import RecordReader, record_sockets
from binary_semantic_cache.proxy.processes.service import tell_service_manager
from binary_semantic_cache.proxy.processes.supervisor import Supervisor
from binary_semantic_cache.proxy.settings import ProxySettings
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.proxy.watching.recents import Recents

__all__ = ["Started", "run"]

_ADMIN_SHUTDOWN_SECONDS = 1.0
"""Pages are asked for again; nobody should have to wait for one that is left open."""


@dataclass(frozen=True, slots=True)
class Started:
    """A proxy that accepts requests."""

    url: str
    admin_url: str
    admin_token: str
    token_was_made: bool
    """Whether the token is one that nobody has seen yet."""
    entries: int
    """In the cache at the start."""


Announce = Callable[[Started], None]


def run(settings: ProxySettings, announce: Announce) -> int:
    """Serves until SIGINT or SIGTERM.

    Args:
        settings: as `read_configuration` gives them.
        announce: called once, when the first request may come.

    Returns:
        The exit status: 0 after an orderly end, 128 and the signal after a second one, 1 without a worker.

    Raises:
        ConfigurationError: a port cannot be had.
        BinarySemanticCacheError: the cache cannot be opened; see `open_cache`.
    """
    keep_memory_level()
    server = settings.server
    with (
        bound_socket(server.host, server.port, "server.port") as bound,
        bound_socket(server.admin_host, server.admin_port, "server.admin_port") as admin,
        shared_metrics(server.workers),
    ):
        return asyncio.run(_serve(settings, bound, admin, announce))


async def _serve(
    settings: ProxySettings, bound: socket.socket, admin_bound: socket.socket, announce: Announce
) -> int:
    ending = Ending()
    ending.listen()
    url, admin_url = url_of(bound), url_of(admin_bound)
    token = settings.server.admin_token or secrets.token_hex(16)
    cache = await asyncio.to_thread(open_cache, settings.cache)
    try:
        metrics, recents = Metrics(cache, labels=settings.metrics.labels), Recents()
        store_is_ready = store_answers(cache)
        has_started = False

        def why_not_ready() -> str | None:
            if ending.begun.is_set():
                return "draining"
            return store_is_ready() if has_started else "starting"

        admin = create_admin_app(
            cache=cache,
            settings=settings,
            recents=recents,
            metrics=metrics,
            token=token,
            ready=why_not_ready,
        )
        pages = Serving(admin, admin_bound, _ADMIN_SHUTDOWN_SECONDS)
        ending.on_end_now(pages.end_now)
        await pages.started()

        def ready() -> None:
            nonlocal has_started
            has_started = True
            made = not settings.server.admin_token
            announce(Started(url, admin_url, token, made, len(cache)))
            tell_service_manager("READY=1")

        ending.on_begin(lambda: tell_service_manager("STOPPING=1"))

        if settings.server.workers == 1:
            requests = Requests(settings, cache, metrics, (recents.watch,))
            await serve_requests(settings, requests, bound, ending, ready)
        else:
            reader_end, writer_end = record_sockets()
            reader = RecordReader(reader_end, [recents.watch])
            with writer_end:
                await Supervisor(settings, bound, writer_end, ending).run(ready)
            reader.close()
        pages.end()
        await pages.ended()
    finally:
        await asyncio.to_thread(cache.close)
    return ending.status
