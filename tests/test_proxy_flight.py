"""One upstream answer, read by everybody who asked for it: `Flight`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from binary_semantic_cache.proxy.apis import Answer
from binary_semantic_cache.proxy.flight import BrokenOffError, Flight
from binary_semantic_cache.proxy.sse import Event
from binary_semantic_cache.proxy.upstream import UpstreamError


class Words:
    """Assembles a stream whose events are words, up to `end`."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.is_whole = False

    def feed(self, event: Event) -> None:
        if event.data == "end":
            self.is_whole = True
        else:
            self.words.append(event.data)

    def answer(self) -> Answer | None:
        return {"words": self.words} if self.is_whole else None

    @property
    def failure(self) -> str | None:
        return None


class Upstream:
    """A reply whose pieces come when the test says so."""

    def __init__(self, kind: str = "text/event-stream", status: int = 200, **headers: str) -> None:
        self.pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.headers = {"content-type": kind, **headers}
        self.status = status
        self.error: Exception | None = None
        self.was_closed = False
        self.kept: list[Answer] = []

    def say(self, *pieces: bytes | Exception | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[httpx.Response]:
        if self.error is not None:
            raise self.error
        try:
            yield httpx.Response(self.status, headers=self.headers, content=self._content())
        finally:
            self.was_closed = True

    async def _content(self) -> AsyncIterator[bytes]:
        while (piece := await self.pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def keep(self, answer: Answer, seconds: float) -> str:
        assert seconds >= 0
        self.kept.append(answer)
        return "stored"

    def flight(self, *, most_bytes: int = 1 << 20, finish_abandoned: bool = False) -> Flight:
        return Flight(self.opened, Words, self.keep, most_bytes=most_bytes, finish_abandoned=finish_abandoned)


async def read(flight: Flight) -> bytes:
    with flight.joined():
        return b"".join([chunk async for chunk in flight.chunks()])


async def settled() -> None:
    """Lets everything that can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)


def event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def test_all_readers_have_all_of_it_whenever_they_join():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight()
        first = asyncio.create_task(read(flight))
        upstream.say(event("a"))
        await settled()
        second = asyncio.create_task(read(flight))
        upstream.say(event("b"), event("end"), None)
        whole = event("a") + event("b") + event("end")
        assert await first == await second == whole
        await flight.landed()
        assert flight.stored == "stored"
        assert upstream.kept == [{"words": ["a", "b"]}]
        assert await read(flight) == whole

    asyncio.run(main())


def test_the_head_is_there_before_the_body():
    async def main() -> None:
        flight = (upstream := Upstream(status=202, **{"set-cookie": "a=b", "connection": "close"})).flight()
        with flight.joined():
            head = await flight.head()
            assert head.status == 202
            assert (b"set-cookie", b"a=b") in head.headers
            assert all(name != b"connection" for name, _ in head.headers)
            upstream.say(None)
            await flight.landed()
        assert flight.stored == "status"

    asyncio.run(main())


@pytest.mark.parametrize("finish_abandoned", [False, True])
def test_a_reader_that_leaves_takes_nothing_from_the_others(finish_abandoned: bool):
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight(finish_abandoned=finish_abandoned)
        leaving, staying = asyncio.create_task(read(flight)), asyncio.create_task(read(flight))
        upstream.say(event("a"))
        await settled()
        leaving.cancel()
        await settled()
        upstream.say(event("end"), None)
        assert await staying == event("a") + event("end")
        await flight.landed()
        assert flight.stored == "stored"

    asyncio.run(main())


def test_when_nobody_is_left_the_upstream_is_left_too():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight()
        reader = asyncio.create_task(read(flight))
        upstream.say(event("a"))
        await settled()
        assert not upstream.was_closed
        reader.cancel()
        await flight.landed()
        assert upstream.was_closed
        assert flight.stored == "client_left"
        assert upstream.kept == []
        assert not flight.is_open

    asyncio.run(main())


def test_an_answer_may_be_finished_for_the_caches_sake():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight(finish_abandoned=True)
        reader = asyncio.create_task(read(flight))
        await settled()
        reader.cancel()
        await settled()
        upstream.say(event("a"), event("end"), None)
        await flight.landed()
        assert upstream.kept == [{"words": ["a"]}]

    asyncio.run(main())


def test_a_reply_that_breaks_off_breaks_off_for_all_and_is_not_kept():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight()
        readers = [asyncio.create_task(read(flight)) for _ in range(3)]
        upstream.say(event("a"), event("end"), httpx.ReadError("reset"))
        results = await asyncio.gather(*readers, return_exceptions=True)
        assert all(isinstance(result, BrokenOffError) for result in results)
        await flight.landed()
        assert (flight.stored, upstream.kept, flight.is_open) == ("broken_off", [], False)

    asyncio.run(main())


def test_an_upstream_that_cannot_be_reached_is_an_error_for_all():
    async def main() -> None:
        upstream = Upstream()
        upstream.error = UpstreamError("gone", timed_out=False)
        flight = upstream.flight()
        with flight.joined():
            for _ in range(2):
                with pytest.raises(UpstreamError, match="gone"):
                    await flight.head()
            await flight.landed()
        assert (flight.stored, flight.is_open) == ("unreachable", False)

    asyncio.run(main())


def test_a_stream_without_its_end_is_not_kept():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight()
        upstream.say(event("a"), None)
        assert await read(flight) == event("a")
        await flight.landed()
        assert (flight.stored, upstream.kept) == ("incomplete", [])

    asyncio.run(main())


def test_a_body_that_is_no_stream_is_kept_as_it_is():
    async def main() -> None:
        upstream = Upstream("application/json")
        flight = upstream.flight()
        upstream.say(b'{"an', b'swer": 1}', None)
        assert await read(flight) == b'{"answer": 1}'
        await flight.landed()
        assert upstream.kept == [{"answer": 1}]

    asyncio.run(main())


@pytest.mark.parametrize("body", [b'{"answer": 1', b"[1]", b"", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_not_kept(body: bytes):
    async def main() -> None:
        upstream = Upstream("application/json")
        flight = upstream.flight()
        upstream.say(body, None)
        assert await read(flight) == body
        await flight.landed()
        assert (flight.stored, upstream.kept) == ("malformed", [])

    asyncio.run(main())


def test_a_compressed_body_passes_and_is_not_kept():
    async def main() -> None:
        upstream = Upstream("application/json", **{"content-encoding": "br"})
        flight = upstream.flight()
        upstream.say(b"squeezed", None)
        assert await read(flight) == b"squeezed"
        await flight.landed()
        assert (flight.stored, upstream.kept) == ("encoded", [])

    asyncio.run(main())


def test_the_upstream_is_read_no_faster_than_the_fastest_reader_and_a_little_ahead():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight(most_bytes=100 << 20)
        piece = event("x" * 65536)
        upstream.say(*[piece] * 100, event("end"), None)
        with flight.joined():
            chunks = flight.chunks()
            assert await anext(chunks) == piece
            await settled()
            taken = 102 - upstream.pieces.qsize()
            assert 1 <= taken <= 8
            rest = [chunk async for chunk in chunks]
        assert len(rest) == 100

    asyncio.run(main())


def test_a_slow_reader_holds_up_nobody():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight(most_bytes=100 << 20)
        upstream.say(*[event("x" * 65536)] * 50, event("end"), None)
        with flight.joined():
            slow = flight.chunks()
            await anext(slow)
            assert len(await read(flight)) > 50 * 65536
            assert len([chunk async for chunk in slow]) == 50
        await flight.landed()
        assert flight.stored == "stored"

    asyncio.run(main())


def test_an_answer_too_large_to_be_kept_goes_at_the_pace_of_the_slowest_and_is_let_go():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight(most_bytes=1000)
        piece = event("x" * 65536)
        upstream.say(*[piece] * 100, event("end"), None)
        with flight.joined():
            slow, fast = flight.chunks(), flight.chunks()
            await anext(slow)
            await settled()
            assert not flight.is_open
            reading = asyncio.ensure_future(_all(fast))
            await settled()
            assert not reading.done()
            assert len(flight._chunks) < 10
            assert len([chunk async for chunk in slow]) == 100
            assert len(await reading) == 101
        await flight.landed()
        assert (flight.stored, upstream.kept) == ("too_large", [])

    asyncio.run(main())


async def _all(chunks: AsyncIterator[bytes]) -> list[bytes]:
    return [chunk async for chunk in chunks]


def test_who_waits_for_the_whole_is_not_held_up_by_who_reads_slowly():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight(most_bytes=100 << 20)
        upstream.say(*[event("x" * 65536)] * 50, event("end"), None)
        with flight.joined(), flight.joined():
            slow = flight.chunks()
            await anext(slow)
            assert await flight.whole() is not None
            await slow.aclose()
        await flight.landed()

    asyncio.run(main())


def test_who_has_not_begun_to_read_misses_nothing_of_an_answer_too_large_to_be_kept():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight(most_bytes=1000)
        pieces = [event(str(i) * 65536) for i in range(10)]
        upstream.say(*pieces, None)
        with flight.joined():
            await settled()
            assert await _all(flight.chunks()) == pieces

    asyncio.run(main())


def test_who_waits_for_the_whole_learns_at_once_that_there_will_be_none():
    async def main() -> None:
        upstream = Upstream()
        flight = upstream.flight(most_bytes=1000)
        upstream.say(event("x" * 2000))
        with flight.joined():
            assert await flight.whole() is None
        await flight.landed()

    asyncio.run(main())
