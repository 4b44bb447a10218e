"""Writes replies to ASGI, and notices when the client leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

from starlette.types import Receive, Send

from binary_semantic_cache.proxy.headers import Headers

__all__ = [
    "ClientLeftError",
    "Sent",
    "TooLargeError",
    "body_of",
    "json_bytes",
    "send_body",
    "send_chunks",
    "unless_left",
]

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

T = TypeVar("T")


class ClientLeftError(Exception):
    """Nobody waits for the reply any more."""


class TooLargeError(Exception):
    """The request's body is larger than the proxy takes."""


@dataclass(slots=True)
class Sent:
    """What was sent so far, for the record."""

    status: int = 499
    first_byte_at: float | None = None
    """By `time.perf_counter`."""
    n_bytes: int = 0
    """Of the body."""

    def start(self, status: int) -> None:
        """Notes the head of the reply."""
        self.status = status

    def chunk(self, n_bytes: int) -> None:
        """Notes a piece of the body, about to be sent."""
        self.n_bytes += n_bytes
        if self.first_byte_at is None:
            self.first_byte_at = perf_counter()


async def body_of(receive: Receive, most_bytes: int) -> bytes:
    """The request's body.

    Raises:
        TooLargeError: it is longer than `most_bytes`.
        ClientLeftError: it did not come to its end.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > most_bytes:
            raise TooLargeError
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """A JSON text, without whitespace."""
    return _ENCODER.encode(value).encode()


async def send_body(send: Send, sent: Sent, status: int, headers: Headers, body: bytes) -> None:
    """A reply that is there as a whole."""
    sent.start(status)
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    sent.chunk(len(body))
    await send({"type": "http.response.body", "body": body})


async def send_chunks(
    send: Send, sent: Sent, status: int, headers: Headers, chunks: AsyncIterator[bytes]
) -> None:
    """A reply that comes piece by piece. What `chunks` raises leaves it without an end, as it must."""
    sent.start(status)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    async for chunk in chunks:
        sent.chunk(len(chunk))
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    sent.chunk(0)
    await send({"type": "http.response.body", "body": b""})


async def unless_left(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled when the client leaves.

    Raises:
        ClientLeftError: it left.
    """
    job = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_departure(receive))
    try:
        await asyncio.wait((job, left), return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise ClientLeftError
        return job.result()
    finally:
        left.cancel()
        if not job.done():
            job.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await job


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
