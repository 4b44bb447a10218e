"""The proxy as an ASGI application."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from binary_semantic_cache.proxy.apis.all import APIS
from binary_semantic_cache.proxy.apis.error_bodies import error_body
from binary_semantic_cache.proxy.callers import Callers
from binary_semantic_cache.proxy.exchange import Exchange
from binary_semantic_cache.proxy.gateway import Gateway
from binary_semantic_cache.proxy.observe import Record, Watcher
from binary_semantic_cache.proxy.passing import Passing, provider_of
from binary_semantic_cache.proxy.replies import json_bytes, send_body
from binary_semantic_cache.proxy.settings import ProxySettings
from binary_semantic_cache.proxy.upstream import Upstream
from binary_semantic_cache.proxy.verdicts import Verdicts
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["State", "create_app"]

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class State:
    """What the server may see and say of an application; `app.state.proxy`."""

    is_ready: bool = False
    """Whether it has started."""
    is_draining: bool = False
    """Set by the server when it is to end: `/readyz` then says no."""
    under_way: int = 0
    """Requests that have not been answered to their end."""


def create_app(settings: ProxySettings, cache: SemanticCache, watchers: Sequence[Watcher] = ()) -> Starlette:
    """The application; everything below `/v1/`, and `/healthz` and `/readyz`.

    Args:
        settings: all of them; where to listen is the server's matter.
        cache: stays the caller's to close.
        watchers: each is called with the record of each request.
    """
    front = _Front(settings, cache, watchers)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        state = front.state
        why = "draining" if state.is_draining else "ok" if state.is_ready else "starting"
        return JSONResponse({"status": why}, 200 if why == "ok" else 503)

    app = Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/v1/{rest:path}", front),
        ],
        lifespan=front.lifespan,
    )
    app.state.proxy = front.state
    return app


class _Front:
    """Says which room answers a request; an ASGI application."""

    def __init__(self, settings: ProxySettings, cache: SemanticCache, watchers: Sequence[Watcher]) -> None:
        self._settings = settings
        self._cache = cache
        self._watchers = tuple(watchers)
        self._apis = {path.encode(): api for path, api in APIS.items()}
        self._gateway: Gateway | None = None
        self._passing: Passing | None = None
        self.state = State()

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Opens what belongs to an event loop, and closes it."""
        settings, cache = self._settings, self._cache
        upstream = Upstream(settings.upstream)
        verdicts = Verdicts(cache, settings.cache, settings.limits)
        further = frozenset(name.lower().encode() for name in settings.upstream.forward_headers)
        callers = Callers(settings.keys, cache.pseudonym, further=further)
        self._gateway = Gateway(settings, verdicts, upstream, callers, self._tell, cache.threshold)
        self._passing = Passing(settings, upstream, callers, self._tell)
        self.state.is_ready = True
        try:
            yield
        finally:
            self.state.is_ready = False
            await self._gateway.aclose()
            await upstream.aclose()
            verdicts.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        assert self._gateway is not None
        assert self._passing is not None
        raw_path: bytes = scope["raw_path"]
        if self.state.under_way >= self._settings.limits.max_concurrent:
            body = error_body(
                provider_of(raw_path, scope["headers"]), 503, "the proxy has too many requests under way"
            )
            headers = [(b"content-type", b"application/json"), (b"retry-after", b"1")]
            exchange = Exchange("other", scope["method"], "/v1/*", reason="overloaded")
            try:
                await send_body(send, exchange.sent, 503, headers, json_bytes(body))
            finally:
                self._tell(exchange.record())
            return
        self.state.under_way += 1
        try:
            api = self._apis.get(raw_path) if scope["method"] == "POST" else None
            if api is not None:
                await self._gateway.serve(api, scope, receive, send)
            else:
                await self._passing.serve(scope, receive, send)
        finally:
            self.state.under_way -= 1

    def _tell(self, record: Record) -> None:
        for watcher in self._watchers:
            try:
                watcher(record)
            except Exception as exc:  # no request fails because nobody could be told of it
                _logger.warning("a watcher failed: %s", type(exc).__name__)
