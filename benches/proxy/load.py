"""A client that asks as fast as it is answered, over kept connections, with as little work as can be."""

import asyncio
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

__all__ = ["Measured", "WrongReplyError", "drive", "request_bytes"]


class WrongReplyError(AssertionError):
    """A reply is not what it must be, so that its speed means nothing."""


@dataclass(slots=True)
class Measured:
    """One run of one kind of request."""

    seconds: float
    latencies: list[float] = field(repr=False)
    """Of each request, in seconds: from its first byte sent to its reply's last byte."""
    first_bytes: list[float] = field(default_factory=list, repr=False)
    """The same to the first byte of the reply."""

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency, in seconds, that `share` of the requests did not exceed."""
        if len(self.latencies) < 2:
            return self.latencies[0]
        return statistics.quantiles(self.latencies, n=1000, method="inclusive")[round(share * 1000) - 1]

    def first_byte(self) -> float:
        """Median time to the first byte of a reply, in seconds."""
        return statistics.median(self.first_bytes)


def request_bytes(path: str, body: bytes, key: str = "sk-bench") -> bytes:
    """A request as the providers' SDKs send it, but for headers that say who they are."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"accept: application/json\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One connection: a request, its reply, the next request."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._began = 0.0
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        if self._run.is_over():
            self._transport.close()
            return
        self._number = self._run.take()
        self._began = perf_counter()
        self._transport.write(self._run.make(self._number))

    def data_received(self, data: bytes) -> None:
        if not self._buffer:
            self._run.first_bytes.append(perf_counter() - self._began)
        self._buffer += data
        if not _is_whole(self._buffer):
            return
        self._run.latencies.append(perf_counter() - self._began)
        reply = bytes(self._buffer)
        self._buffer.clear()
        try:
            self._run.check(self._number, reply)
        except WrongReplyError as exc:
            self._run.fail(exc)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.left(WrongReplyError("a connection was closed before its reply") if exc else None)


@dataclass
class _Run:
    make: Callable[[int], bytes]
    check: Callable[[int, bytes], None]
    ends_at: float
    most: int
    open: int
    done: "asyncio.Future[None]"
    first: int
    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    taken: int = 0

    def is_over(self) -> bool:
        return self.done.done() or self.taken >= self.most or perf_counter() >= self.ends_at

    def take(self) -> int:
        self.taken += 1
        return self.first + self.taken - 1

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def left(self, error: Exception | None) -> None:
        self.open -= 1
        if error is not None:
            self.fail(error)
        elif self.open == 0 and not self.done.done():
            self.done.set_result(None)


def drive(
    port: int,
    make: Callable[[int], bytes],
    check: Callable[[int, bytes], None],
    *,
    connections: int,
    seconds: float,
    most: int = 2**62,
    first: int = 0,
) -> Measured:
    """Asks until the time is over.

    Args:
        port: on loopback.
        make: the bytes of request number so-and-so.
        check: raises `WrongReplyError` for a reply that is wrong.
        connections: how many ask at once.
        seconds: how long.
        most: no more requests than these.
        first: number of the first request.
    """

    async def main() -> Measured:
        loop = asyncio.get_running_loop()
        began = perf_counter()
        run = _Run(make, check, began + seconds, most, connections, loop.create_future(), first)
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port)
        await asyncio.wait_for(run.done, seconds + 60)
        return Measured(perf_counter() - began, run.latencies, run.first_bytes)

    return asyncio.run(main())


def _is_whole(buffer: bytearray) -> bool:
    """Whether a reply has come to its end; of one in chunks, whether its last chunk is there."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    head = bytes(buffer[:head_end]).lower()
    at = head.find(b"content-length:")
    if at >= 0:
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        return len(buffer) >= head_end + 4 + length
    return buffer.endswith(b"\r\n0\r\n\r\n")
