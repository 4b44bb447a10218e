"""Requests in which the cache has no part: through to the upstream and back, byte for byte."""

from collections.abc import AsyncIterator
from time import perf_counter

import httpx
from starlette.types import Receive, Scope, Send

from binary_semantic_cache.proxy.apis import Provider
from binary_semantic_cache.proxy.apis.error_bodies import error_body
from binary_semantic_cache.proxy.callers import Callers
from binary_semantic_cache.proxy.exchange import Exchange
from binary_semantic_cache.proxy.flight import BrokenOffError, tell_broken_off
from binary_semantic_cache.proxy.headers import Headers, requested, returned, value_of
from binary_semantic_cache.proxy.observe import Watcher
from binary_semantic_cache.proxy.origins import FOREIGN_PAGE, is_from_foreign_page
from binary_semantic_cache.proxy.replies import (
    ClientLeftError,
    json_bytes,
    send_body,
    send_chunks,
    unless_left,
)
from binary_semantic_cache.proxy.settings import ProxySettings
from binary_semantic_cache.proxy.upstream import Upstream, UpstreamError, is_plain_path, is_plain_query

__all__ = ["Passing", "provider_of"]

_ANTHROPIC_PATH = b"/v1/messages"


class Passing:
    """Passes requests on.

    Args:
        settings: all of them.
        upstream: where to.
        callers: who may ask.
        tell: called with the record of each request.
    """

    def __init__(self, settings: ProxySettings, upstream: Upstream, callers: Callers, tell: Watcher) -> None:
        self._settings = settings
        self._upstream = upstream
        self._callers = callers
        self._tell = tell
        self._further = frozenset(name.lower().encode() for name in settings.upstream.forward_headers)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        exchange = Exchange("other", scope["method"], "/v1/*")
        exchange.reason = "not_cached"
        exchange.caller = self._callers.of(scope["headers"])
        exchange.read_from(scope["headers"])
        try:
            await self._serve(exchange, scope, receive, send)
        except ClientLeftError:
            pass
        except BrokenOffError as exc:
            # See Gateway.serve.
            tell_broken_off(exc)
        finally:
            self._tell(exchange.record())

    async def _serve(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = scope["headers"]
        raw_path: bytes = scope["raw_path"]
        provider = provider_of(raw_path, headers)
        assert exchange.caller is not None
        if self._settings.keys.accept == "configured" and not exchange.caller.is_configured:
            exchange.reason = "key_unknown"
            await self._refuse(exchange, send, provider, 401, "the key is not known to this proxy")
            return
        if is_from_foreign_page(scope["method"], headers):
            exchange.reason = "key_unknown"
            await self._refuse(exchange, send, provider, 403, FOREIGN_PAGE)
            return
        if not is_plain_path(raw_path) or not is_plain_query(scope["query_string"]):
            await self._refuse(exchange, send, provider, 400, "the path is not one that is passed on")
            return
        content = _Content(receive)
        began = perf_counter()
        try:
            async with self._upstream.sent(
                provider,
                scope["method"],
                raw_path,
                scope["query_string"],
                _with_length(requested(headers, self._further, encodings=True), headers),
                content.chunks() if _has_body(headers) else None,
            ) as response:
                if response.status_code == 401:
                    self._callers.rejected(exchange.caller, provider)
                sending = send_chunks(
                    send,
                    exchange.sent,
                    response.status_code,
                    [*returned(response.headers.raw), *self._own_headers(exchange)],
                    _body_of(response),
                )
                # Only one may listen for the client, and the body's reader does until the body has ended.
                await (unless_left(receive, sending) if content.is_read else sending)
        except UpstreamError as exc:
            await self._refuse(exchange, send, provider, 504 if exc.timed_out else 502, str(exc))
        finally:
            exchange.upstream_seconds = perf_counter() - began
            exchange.request_bytes = content.n_bytes

    def _own_headers(self, exchange: Exchange) -> Headers:
        return exchange.headers() if self._settings.steering.response_headers else []

    async def _refuse(
        self, exchange: Exchange, send: Send, provider: Provider, status: int, message: str
    ) -> None:
        headers = [(b"content-type", b"application/json"), *self._own_headers(exchange)]
        await send_body(
            send, exchange.sent, status, headers, json_bytes(error_body(provider, status, message))
        )


class _Content:
    """The body of a request on its way."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_read = False
        self.n_bytes = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its pieces. Raises `ClientLeftError`."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            chunk = message.get("body", b"")
            self.n_bytes += len(chunk)
            yield chunk
            if not message.get("more_body", False):
                self.is_read = True
                return


def provider_of(raw_path: bytes, headers: Headers) -> Provider:
    """Whose API a path belongs to; `/v1/models` and the like are told apart by their headers."""
    is_messages = raw_path == _ANTHROPIC_PATH or raw_path.startswith(_ANTHROPIC_PATH + b"/")
    return "anthropic" if is_messages or value_of(headers, b"anthropic-version") else "openai"


def _has_body(headers: Headers) -> bool:
    length = value_of(headers, b"content-length")
    return value_of(headers, b"transfer-encoding") is not None or length not in (None, b"0")


def _with_length(travelling: Headers, headers: Headers) -> Headers:
    """With the length of the body, which the upstream would else have to take in chunks."""
    length = value_of(headers, b"content-length")
    return travelling if length is None else [*travelling, (b"content-length", length)]


async def _body_of(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx.HTTPError as exc:
        raise BrokenOffError(type(exc).__name__) from None
