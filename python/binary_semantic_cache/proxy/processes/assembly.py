"""Puts the proxy's rooms together in one process: the caching application and what watches its requests.

Nothing of the admin's application is here: workers load this, and should load no more than they need.
"""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client.multiprocess import mark_process_dead
from starlette.types import ASGIApp, Receive, Scope, Send

from binary_semantic_cache.proxy.app import State, create_app
from binary_semantic_cache.proxy.observe import Watcher
from binary_semantic_cache.proxy.processes.ending import Ending
from binary_semantic_cache.proxy.processes.listening import Serving
from binary_semantic_cache.proxy.settings import ProxySettings, TracingSettings
from binary_semantic_cache.proxy.watching.access_log import AccessLog
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.text.semantic import SemanticCache

if TYPE_CHECKING:
    from binary_semantic_cache.proxy.watching.tracing import Tracing

__all__ = ["Requests", "forget_worker", "serve_requests", "shared_metrics"]

_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Requests:
    """The caching application of one process, and what watches its requests.

    Args:
        settings: all of them.
        cache: open; the caller's to close.
        metrics: counts its requests; `None` for its own.
        further: watchers beside metrics, access log and traces.
    """

    def __init__(
        self,
        settings: ProxySettings,
        cache: SemanticCache,
        metrics: Metrics | None = None,
        further: tuple[Watcher, ...] = (),
    ) -> None:
        self._metrics = metrics or Metrics(cache, labels=settings.metrics.labels)
        self._log = None if settings.log.format == "off" else AccessLog(sys.stdout, form=settings.log.format)
        self._tracing = _tracing(settings.tracing) if settings.tracing.enabled else None
        watchers: list[Watcher] = [self._metrics.watch, *further]
        watchers += [each.watch for each in (self._log, self._tracing) if each is not None]
        self._app = create_app(settings, cache, watchers)
        self.state: State = self._app.state.proxy

    @property
    def app(self) -> ASGIApp:
        """The ASGI application."""
        return self._counted

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._metrics.under_way():
            await self._app(scope, receive, send)

    def close(self) -> None:
        """Writes what waits in the access log and sends what waits of the traces; may take seconds."""
        for each in (self._log, self._tracing):
            if each is not None:
                each.close()


def _tracing(settings: TracingSettings) -> "Tracing":
    # Here and not above: OpenTelemetry costs a good part of a second to import, which most never use.
    from binary_semantic_cache.proxy.watching.tracing import Tracing

    return Tracing(settings)


async def serve_requests(
    settings: ProxySettings,
    requests: Requests,
    bound: socket.socket,
    ending: Ending,
    ready: Callable[[], None],
) -> None:
    """Serves the caching application until `ending`.

    Args:
        settings: all of them.
        requests: the application.
        bound: where to listen; closed at the end.
        ending: the wish to end.
        ready: called when connections are accepted.

    Raises:
        ConfigurationError: the application did not start.
    """
    if ending.begun.is_set():
        return
    serving = Serving(requests.app, bound, settings.server.shutdown_seconds)
    ending.on_end_now(serving.end_now)
    try:
        await serving.started()
        ready()
        await ending.begun.wait()
        requests.state.is_draining = True
        if settings.server.drain_seconds:
            await ending.wait_unless_now(settings.server.drain_seconds)
        serving.end()
        await serving.ended()
    finally:
        await asyncio.to_thread(requests.close)


@contextmanager
def shared_metrics(n_workers: int) -> Iterator[None]:
    """Where there are several workers, a folder for the files by which they sum up their metrics.

    The variable that names it must be set before a worker imports `prometheus_client`, which looks once.
    Files of an earlier run would be added to this one's, so the folder is always a new one.
    """
    if n_workers == 1:
        yield
        return
    before = os.environ.get(_METRICS_FOLDER)
    with tempfile.TemporaryDirectory(prefix="bsc-metrics-") as folder:
        os.environ[_METRICS_FOLDER] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[_METRICS_FOLDER]
            else:
                os.environ[_METRICS_FOLDER] = before


def forget_worker(pid: int) -> None:
    """Takes the requests that a dead worker had under way out of the metrics."""
    if os.environ.get(_METRICS_FOLDER):
        mark_process_dead(pid)  # type: ignore[no-untyped-call]
