"""One request to an API that is cached, from its head to its reply's last byte."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from binary_semantic_cache.proxy.apis import Answer, Api
from binary_semantic_cache.proxy.apis.error_bodies import error_body
from binary_semantic_cache.proxy.callers import Caller, Callers
from binary_semantic_cache.proxy.exchange import Exchange
from binary_semantic_cache.proxy.flight import Flight, Head
from binary_semantic_cache.proxy.flights import Flights, Shared, form_of
from binary_semantic_cache.proxy.headers import RETRYING, SHAPING, Headers, requested, value_of
from binary_semantic_cache.proxy.origins import FOREIGN_PAGE, is_from_foreign_page
from binary_semantic_cache.proxy.replies import (
    TooLargeError,
    body_of,
    json_bytes,
    send_body,
    send_chunks,
    unless_left,
)
from binary_semantic_cache.proxy.settings import ProxySettings
from binary_semantic_cache.proxy.steering import Steering, SteeringError, steering_of
from binary_semantic_cache.proxy.upstream import Upstream, UpstreamError, is_plain_query
from binary_semantic_cache.proxy.verdicts import Asked, Verdicts
from binary_semantic_cache.text.verdict import Hit

__all__ = ["Rooms", "Turn"]

_PLAIN_VERSION = b"2023-06-01"
"""What Anthropic's SDKs have always sent as their version: it alone makes no difference to say."""
_JSON: Headers = [(b"content-type", b"application/json")]
_EVENTS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]
_MOST_JOINS = 4
"""After so many flights whose answers were none for this request it asks the upstream itself."""
_WRITE_BYTES = 4096
"""Events of a stream that is played are written together up to here, but for the first."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """What all requests share."""

    settings: ProxySettings
    verdicts: Verdicts
    upstream: Upstream
    callers: Callers
    flights: Flights
    later: Callable[[Coroutine[Any, Any, None]], None]
    """Runs something that ends by itself."""
    threshold: float
    """The cache's own."""
    further: frozenset[bytes]
    """Headers that the configuration forwards."""


class Turn:
    """One request.

    Args:
        rooms: what it shares with others.
        api: whose request it is.
        exchange: to note what becomes of it.
        scope, receive, send: of ASGI.
    """

    def __init__(
        self, rooms: Rooms, api: Api, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._rooms = rooms
        self._settings = rooms.settings
        self._api = api
        self._exchange = exchange
        self._scope = scope
        self._receive = receive
        self._send = send
        self._caller: Caller = rooms.callers.of(scope["headers"])
        exchange.caller = self._caller
        exchange.read_from(scope["headers"])
        self._steering = Steering()
        self._raw = b""
        self._looked_at = 0.0
        """When the cache was asked last, by `time.monotonic`."""
        self.flight: Flight | None = None
        """What it started, to be landed before all is known of it."""

    async def run(self) -> None:
        """Replies.

        Raises:
            ClientLeftError: nobody waits for the reply any more.
            BrokenOffError: the upstream's reply broke off, and with it the one that was begun.
        """
        if self._settings.keys.accept == "configured" and not self._caller.is_configured:
            await self._refuse(401, "key_unknown", "the key is not known to this proxy")
            return
        if is_from_foreign_page(self._scope["method"], self._scope["headers"]):
            await self._refuse(403, "key_unknown", FOREIGN_PAGE)
            return
        if not is_plain_query(self._scope["query_string"]):
            await self._refuse(400, "unreadable", "the query is not one that is passed on")
            return
        try:
            self._raw = await body_of(self._receive, self._settings.limits.max_body_bytes)
            self._exchange.request_bytes = len(self._raw)
            self._steering = steering_of(
                self._scope["headers"], self._settings.steering, self._settings.cache, self._rooms.threshold
            )
            self._exchange.is_remembered = self._steering.mode != "no-store"
        except TooLargeError:
            most = self._settings.limits.max_body_bytes
            await self._refuse(413, "too_large", f"the request is larger than {most} bytes")
            return
        except SteeringError as exc:
            await self._refuse(400, "steering", str(exc))
            return
        asked = await self._ask()
        answer = None if asked is None else self._kept(asked)
        if asked is not None and answer is not None:
            await self._reply(asked, answer)
        else:
            await unless_left(self._receive, self._from_upstream(asked))

    async def _ask(self) -> Asked | None:
        """Reads the request and asks the cache; `None` where the cache has no part in it."""
        exchange, cache = self._exchange, self._settings.cache
        if self._steering.mode == "bypass" or cache.mode == "off":
            exchange.reason = "mode"
            return None
        began, self._looked_at = perf_counter(), monotonic()
        asked = exchange.asked = await self._rooms.verdicts.of(
            self._api,
            self._raw,
            self._extra(),
            self._caller.scope,
            self._steering,
            looks=self._is_known and self._steering.looks,
        )
        exchange.lookup_seconds = perf_counter() - began
        if asked is None or asked.request is None:
            exchange.reason = "unreadable" if asked is None else asked.reason
            return None
        exchange.outcome = "miss"
        if asked.verdict is None:
            exchange.reason = "key_unknown" if self._steering.looks else "mode"
        elif not isinstance(asked.verdict, Hit):
            exchange.reason = asked.verdict.reason.value
        return asked

    def _kept(self, asked: Asked) -> Answer | None:
        """The answer of a hit, if it may be served."""
        verdict, exchange = asked.verdict, self._exchange
        if not isinstance(verdict, Hit):
            return None
        if self._settings.cache.mode == "shadow":
            exchange.reason = "shadow"
            return None
        if not isinstance(verdict.response, dict) or not self._api.suits(verdict.response, asked.body):
            exchange.reason = "unsuitable"
            return None
        exchange.outcome, exchange.saved = verdict.kind, verdict.saved
        return verdict.response

    async def _reply(self, asked: Asked, answer: Answer) -> None:
        """Sends an answer that is there as a whole."""
        own, sent = self._own_headers(), self._exchange.sent
        if not asked.is_stream:
            await send_body(self._send, sent, 200, [*_JSON, *own], json_bytes(answer))
            return
        chunks = _written(self._api.play(answer, asked.body))
        await unless_left(self._receive, send_chunks(self._send, sent, 200, [*_EVENTS, *own], chunks))

    # Misses

    async def _from_upstream(self, asked: Asked | None) -> None:
        """Sends what the upstream says, to this request or to the same one a moment ago."""
        try:
            if asked is not None and self._steering.looks and self._settings.cache.mode == "on":
                asked = await self._unless_shared(asked)
                if asked is None:
                    return
            await self._lead(asked)
        except UpstreamError as exc:
            reason = self._exchange.reason
            await self._refuse(504 if exc.timed_out else 502, reason, str(exc))

    async def _unless_shared(self, asked: Asked) -> Asked | None:
        """What is left to ask the upstream: nothing where another request's answer was sent."""
        for _ in range(_MOST_JOINS):
            flights, who = self._rooms.flights, (self._api, self._caller, asked)
            shared = flights.find(*who, is_known=self._is_known)
            if shared is not None:
                if await self._join(asked, shared):
                    return None
                continue
            if not flights.has_landed(*who, since=self._looked_at):
                break
            again = await self._ask()
            if again is None:
                break
            asked = again
            answer = self._kept(asked)
            if answer is not None:
                await self._reply(asked, answer)
                return None
        return asked

    async def _join(self, asked: Asked, shared: Shared) -> bool:
        """Sends what another request's flight brings; false if that is no reply to this one."""
        flight, exchange = shared.flight, self._exchange
        with flight.joined():
            head = await flight.head()
            # A limit, an empty purse or a missing right of the other key is not this one's.
            if head.status != 200 and shared.principal != self._caller.principal:
                return False
            if head.status == 200 and shared.form != form_of(asked):
                answer = await flight.whole()
                if answer is None or not self._api.suits(answer, asked.body):
                    return False
                exchange.reason = "joined"
                await self._reply(asked, answer)
            else:
                exchange.reason = "joined"
                # Of the other headers some may be meant for who asked alone.
                kept = (b"content-type",) if head.status == 200 else (b"content-type", *RETRYING)
                headers = [(name, value) for name, value in head.headers if name in kept]
                headers += self._own_headers()
                await send_chunks(self._send, exchange.sent, head.status, headers, flight.chunks())
            if flight.answer is not None:
                exchange.saved = self._rooms.verdicts.saving(asked, flight.answer, flight.seconds or 0.0)
        return True

    async def _lead(self, asked: Asked | None) -> None:
        """Asks the upstream, and lets others read along."""
        steering, cache = self._steering, self._settings.cache
        keeps = asked is not None and steering.stores

        async def keep(answer: Answer, seconds: float) -> str:
            if asked is None or not keeps:
                return ""
            if not self._api.suits(answer, asked.body):
                return "unsuitable"
            caller, ttl = self._caller, steering.ttl_seconds
            return await self._rooms.verdicts.keep(asked, answer, seconds, caller.scope, ttl)

        flight = self.flight = Flight(
            self._opened,
            self._api.assembler,
            keep,
            most_bytes=cache.max_response_bytes,
            finish_abandoned=cache.finish_abandoned and keeps,
        )
        with flight.joined():
            if asked is not None and keeps and cache.mode == "on":
                self._rooms.later(self._rooms.flights.share(self._api, self._caller, asked, flight))
            head = await flight.head()
            self._learn(head)
            headers = [*head.headers, *self._own_headers()]
            await send_chunks(self._send, self._exchange.sent, head.status, headers, flight.chunks())

    def _opened(self) -> AbstractAsyncContextManager[httpx.Response]:
        headers = requested(self._scope["headers"], self._rooms.further, encodings=False)
        return self._rooms.upstream.sent(
            self._api.provider,
            self._scope["method"],
            self._api.path.encode(),
            self._scope["query_string"],
            headers,
            self._raw,
        )

    def _learn(self, head: Head) -> None:
        if head.status == 200:
            self._rooms.callers.accepted(self._caller, self._api.provider)
        elif head.status in (401, 403):
            self._rooms.callers.rejected(self._caller, self._api.provider)

    # Both

    @property
    def _is_known(self) -> bool:
        return self._rooms.callers.is_known(self._caller, self._api.provider)

    def _extra(self) -> dict[str, str]:
        """What shapes the answer and does not stand in the body."""
        extra: dict[str, str] = {}
        for name in (*SHAPING, *self._rooms.further):
            value = value_of(self._scope["headers"], name)
            if value is not None and (name, value) != (b"anthropic-version", _PLAIN_VERSION):
                extra[f"header {name.decode('latin-1')}"] = value.decode("latin-1")
        if self._scope["query_string"]:
            extra["query"] = self._scope["query_string"].decode("latin-1")
        if self._steering.scope is not None:
            extra["scope"] = self._steering.scope
        return extra

    def _own_headers(self) -> Headers:
        return self._exchange.headers() if self._settings.steering.response_headers else []

    async def _refuse(self, status: int, reason: str, message: str) -> None:
        """An error of the proxy's own, in the API's shape."""
        self._exchange.reason = reason
        body = json_bytes(error_body(self._api.provider, status, message))
        await send_body(self._send, self._exchange.sent, status, [*_JSON, *self._own_headers()], body)


async def _written(events: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The events in writes of a useful size; the first at once."""
    waiting: list[bytes] = []
    size = _WRITE_BYTES
    for event in events:
        waiting.append(event)
        size += len(event)
        if size >= _WRITE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
