"""An answer on its way, alone: who may join it, and when no more."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest

from binary_semantic_cache.proxy.flight import BrokenOffError, Flight


async def keep(answer, seconds):
    return "stored"


def flight_of(chunks, *, most_bytes=10**6, closing=None) -> Flight:
    @asynccontextmanager
    async def opened():
        yield httpx.Response(200, headers={"content-type": "application/json"}, content=chunks())
        if closing is not None:
            await closing.wait()

    return Flight(opened, lambda: None, keep, most_bytes=most_bytes, finish_abandoned=False)


def test_nobody_may_join_a_flight_that_is_about_to_break_off():
    async def main():
        begun, never = asyncio.Event(), asyncio.Event()

        async def chunks():
            yield b"{"
            begun.set()
            await never.wait()

        flight = flight_of(chunks)
        with flight.joined():
            await begun.wait()
            assert flight.is_open
        assert not flight.is_open
        await flight.landed()
        assert flight.stored == "client_left"

    asyncio.run(main())


def test_who_reads_when_it_breaks_off_is_told():
    async def main():
        async def chunks():
            yield b"{"
            raise httpx.ReadError("gone")

        flight = flight_of(chunks)
        with flight.joined():
            chunks_of_it = flight.chunks()
            assert await anext(chunks_of_it) == b"{"
            with pytest.raises(BrokenOffError, match="ReadError"):
                await anext(chunks_of_it)
        assert flight.answer is None

    asyncio.run(main())


def test_what_waits_is_read_together_by_who_comes_late():
    async def main():
        letters = [b"%d" % (n % 10) for n in range(200_000)]

        async def chunks():
            yield b'{"a": "'
            for letter in letters:
                yield letter
            yield b'"}'

        flight = flight_of(chunks)
        with flight.joined():
            await flight.whole()
            pieces = [piece async for piece in flight.chunks()]
        assert b"".join(pieces) == b'{"a": "' + b"".join(letters) + b'"}'
        assert max(map(len, pieces)) <= 64 * 1024
        assert len(pieces) <= 5

    asyncio.run(main())


def test_a_flight_that_is_left_before_its_first_step_lands():
    async def main():
        async def chunks():
            yield b"{}"

        flight = flight_of(chunks)
        with flight.joined():
            pass
        await asyncio.wait_for(flight.landed(), 10)
        assert flight.stored == "client_left"

    asyncio.run(main())
