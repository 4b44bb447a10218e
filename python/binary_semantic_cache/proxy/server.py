"""Runs the proxy: the caching application on its port, the admin's on another, until a signal comes.

With one worker both live in this process and its event loop. With several, this process has the admin's
application and looks after the workers (`supervisor`); the listening socket is everybody's.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

from binary_semantic_cache.errors import ConfigurationError
from binary_semantic_cache.proxy.assembly import Watching, make_admin_app, make_app
from binary_semantic_cache.proxy.ending import Ending
from binary_semantic_cache.proxy.listening import Serving, bound_socket, url_of
from binary_semantic_cache.proxy.observe import Watcher
from binary_semantic_cache.proxy.opening import open_cache
from binary_semantic_cache.proxy.relay import RecordReader, record_sockets
from binary_semantic_cache.proxy.service import tell_service_manager
from binary_semantic_cache.proxy.settings import ProxySettings
from binary_semantic_cache.proxy.supervisor import Supervisor
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["Started", "run", "serve_requests"]

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
        The exit status: 0 after an orderly end, 128 and the signal after a second one, 1 when no worker lives.

    Raises:
        ConfigurationError: a port cannot be had.
        BinarySemanticCacheError: the cache cannot be opened; see `open_cache`.
    """
    server = settings.server
    with bound_socket(server.host, server.port, "server.port") as bound:
        with bound_socket(server.admin_host, server.admin_port, "server.admin_port") as admin:
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
        watching = Watching(settings, cache)
        admin = Serving(
            make_admin_app(settings, cache, watching, token), admin_bound, _ADMIN_SHUTDOWN_SECONDS
        )
        ending.on_end_now(admin.end_now)
        if not await admin.started():
            raise ConfigurationError("the admin's application did not start; its error stands above")

        def ready() -> None:
            made = not settings.server.admin_token
            announce(Started(url, admin_url, token, made, len(cache)))
            tell_service_manager("READY=1")

        if settings.server.workers == 1:
            await serve_requests(settings, cache, watching.of_one_process, bound, ending, ready)
        else:
            reader_end, writer_end = record_sockets()
            reader = RecordReader(reader_end, watching.of_records)
            with writer_end:
                supervisor = Supervisor(settings, bound, writer_end, ending)
                await supervisor.run(ready)
            reader.close()
        admin.end()
        await admin.ended()
    finally:
        await asyncio.to_thread(cache.close)
    return ending.status


async def serve_requests(
    settings: ProxySettings,
    cache: SemanticCache,
    watchers: list[Watcher],
    bound: socket.socket,
    ending: Ending,
    ready: Callable[[], None],
) -> None:
    """Serves the caching application until `ending`.

    Args:
        settings: all of them.
        cache: open and warm.
        watchers: told of each request.
        bound: where to listen; closed at the end.
        ending: the wish to end.
        ready: called when connections are accepted.
    """
    if ending.begun.is_set():
        return
    app = make_app(settings, cache, watchers)
    serving = Serving(app, bound, settings.server.shutdown_seconds)
    ending.on_end_now(serving.end_now)
    if not await serving.started():
        await serving.ended()
        raise ConfigurationError("the proxy's application did not start; its error stands above")
    ready()
    await ending.begun.wait()
    tell_service_manager("STOPPING=1")
    app.state.draining = True
    if settings.server.drain_seconds and not ending.status:
        logging.getLogger(__name__).info("not ready any more; accepting for a while yet")
        await ending.wait_unless_now(settings.server.drain_seconds)
    serving.end()
    await serving.ended()
