"""Requests to the APIs that are cached, each in a `Turn` of its own, and the record of each."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

from binary_semantic_cache.proxy.apis import Api
from binary_semantic_cache.proxy.callers import Callers
from binary_semantic_cache.proxy.exchange import Exchange
from binary_semantic_cache.proxy.flight import BrokenOffError, tell_broken_off
from binary_semantic_cache.proxy.flights import Flights
from binary_semantic_cache.proxy.observe import Watcher
from binary_semantic_cache.proxy.replies import ClientLeftError
from binary_semantic_cache.proxy.settings import ProxySettings
from binary_semantic_cache.proxy.turn import Rooms, Turn
from binary_semantic_cache.proxy.upstream import Upstream
from binary_semantic_cache.proxy.verdicts import Verdicts

__all__ = ["Gateway"]


class Gateway:
    """Serves the cached APIs. Belongs to one event loop.

    Args:
        settings: all of them.
        verdicts: the cache.
        upstream: the models' APIs.
        callers: who is who.
        tell: called with the record of each request.
        threshold: the cache's own.
    """

    def __init__(
        self,
        settings: ProxySettings,
        verdicts: Verdicts,
        upstream: Upstream,
        callers: Callers,
        tell: Watcher,
        threshold: float,
    ) -> None:
        further = frozenset(name.lower().encode() for name in settings.upstream.forward_headers)
        self._tell = tell
        self._tasks: set[asyncio.Task[None]] = set()
        self._rooms = Rooms(settings, verdicts, upstream, callers, Flights(), self._later, threshold, further)

    async def serve(self, api: Api, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        exchange = Exchange(api.name, scope["method"], api.path)
        turn = Turn(self._rooms, api, exchange, scope, receive, send)
        try:
            await turn.run()
        except ClientLeftError:
            pass
        except BrokenOffError as exc:
            # A reply that was begun stays without an end, as the upstream's did: the server closes the
            # connection.
            tell_broken_off(exc)
        finally:
            exchange.end()
            self._later(self._conclude(exchange, turn))

    async def aclose(self) -> None:
        """Returns when all that was answered is stored and told."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _conclude(self, exchange: Exchange, turn: Turn) -> None:
        if turn.flight is not None:
            await turn.flight.landed()
            exchange.stored, exchange.upstream_seconds = turn.flight.stored, turn.flight.seconds
        self._tell(exchange.record())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
