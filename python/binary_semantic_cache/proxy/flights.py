"""Which answers are on their way, so that who asks the same meanwhile may have them too."""

from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic
from typing import Any

from binary_semantic_cache.proxy.apis import Api
from binary_semantic_cache.proxy.callers import Caller
from binary_semantic_cache.proxy.flight import Flight
from binary_semantic_cache.proxy.verdicts import Asked
from binary_semantic_cache.text.canonical import encode

__all__ = ["Flights", "Shared", "form_of"]


_MOST_LANDED = 10_000
"""Landings that are remembered, for lookups that were under way meanwhile."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A flight, and what one must know to join it."""

    flight: Flight
    principal: bytes
    """Whose credentials it flies with."""
    form: bytes
    """How its answer travels: see `form_of`."""


class Flights:
    """The flights of one event loop, by what was asked."""

    def __init__(self) -> None:
        self._shared: dict[bytes, Shared] = {}
        self._landed: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shared)

    def find(self, api: Api, caller: Caller, asked: Asked, *, is_known: bool) -> Shared | None:
        """The flight that this caller may join: their key is good, or the one that the flight has."""
        shared = self._shared.get(_key(api, caller, asked))
        if shared is None or not shared.flight.is_open:
            return None
        return shared if is_known or shared.principal == caller.principal else None

    def share(self, api: Api, caller: Caller, asked: Asked, flight: Flight) -> Coroutine[Any, Any, None]:
        """Lets others join from now on; what is returned ends it when the flight has landed."""
        key, shared = _key(api, caller, asked), Shared(flight, caller.principal, form_of(asked))
        self._shared[key] = shared
        return self._end(key, shared)

    def has_landed(self, api: Api, caller: Caller, asked: Asked, since: float) -> bool:
        """Whether an answer to the same landed after `since`, by `time.monotonic`.

        A lookup that began before may have missed it, and the flight is no longer there to join.
        """
        return self._landed.get(_key(api, caller, asked), -1.0) >= since

    async def _end(self, key: bytes, shared: Shared) -> None:
        await shared.flight.landed()
        if self._shared.get(key) is shared:
            del self._shared[key]
        self._landed[key] = monotonic()
        self._landed.move_to_end(key)
        if len(self._landed) > _MOST_LANDED:
            self._landed.popitem(last=False)


def form_of(asked: Asked) -> bytes:
    """How an answer travels: as a stream, with or without its usage, or not."""
    return encode([asked.is_stream, asked.body.get("stream_options")])


def _key(api: Api, caller: Caller, asked: Asked) -> bytes:
    assert asked.request is not None
    request = asked.request
    return blake2b(encode([api.name, caller.scope, request.text]) + request.context, digest_size=16).digest()
