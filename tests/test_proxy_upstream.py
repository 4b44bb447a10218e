"""The upstream's connections: kept, shared out, and no more than allowed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from binary_semantic_cache.proxy.settings import UpstreamSettings
from binary_semantic_cache.proxy.upstream import Upstream, UpstreamError
from model_server import ModelServer
from proxy_server import chat_body, serving
from torture import make_cache

REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Counting:
    """A server that counts connections, and answers when the test lets it."""

    def __init__(self) -> None:
        self.opened = 0
        self.asked = 0
        self.answers = asyncio.Event()
        self.url = ""
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Counting"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            server.close()
            self.answers.set()
            for writer in self._writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                await self.answers.wait()
                writer.write(REPLY)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def ask(upstream: Upstream) -> bytes:
    async with upstream.sent("openai", "GET", b"/v1/models", b"", [], None) as response:
        return b"".join([chunk async for chunk in response.aiter_raw()])


def test_requests_one_after_the_other_share_a_connection():
    async def main() -> None:
        async with Counting().serving() as server:
            server.answers.set()
            upstream = Upstream(UpstreamSettings(openai=server.url))
            for _ in range(5):
                assert await ask(upstream) == b"{}"
            await upstream.aclose()
        assert (server.opened, server.asked) == (1, 5)

    asyncio.run(main())


@pytest.mark.parametrize("most", [1, 3, 100])
def test_there_are_no_more_connections_than_allowed(most: int):
    async def main() -> None:
        async with Counting().serving() as server:
            upstream = Upstream(UpstreamSettings(openai=server.url, max_connections=most))
            asking = [asyncio.create_task(ask(upstream)) for _ in range(120)]
            while server.asked < min(most, 64):
                await asyncio.sleep(0)
            server.answers.set()
            assert set(await asyncio.gather(*asking)) == {b"{}"}
            await upstream.aclose()
        assert server.opened <= most
        assert server.asked == 120

    asyncio.run(main())


def test_a_request_that_is_given_up_gives_its_place_back():
    async def main() -> None:
        async with Counting().serving() as server:
            upstream = Upstream(UpstreamSettings(openai=server.url, max_connections=1))
            for _ in range(3):
                asking = asyncio.create_task(ask(upstream))
                seen = server.asked
                while server.asked == seen:
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.wait({asking})
            server.answers.set()
            assert await ask(upstream) == b"{}"
            await upstream.aclose()

    asyncio.run(main())


def test_an_upstream_that_is_not_there_is_named_by_no_message():
    async def main() -> None:
        async with Counting().serving() as server:
            url = server.url
        upstream = Upstream(UpstreamSettings(openai=url))
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream)
        assert "127.0.0.1" not in str(caught.value)
        assert caught.value.__context__ is None
        await upstream.aclose()

    asyncio.run(main())


def test_another_upstream_is_never_answered_for():
    with make_cache(None) as cache, ModelServer() as first, ModelServer() as second:
        for upstream in (first, second, first):
            with serving(upstream, cache) as proxy, proxy.http() as client:
                for question in ("is this key good", "what is it"):
                    last = client.post("/v1/chat/completions", json=chat_body(question))
                    proxy.wait_until_quiet()
        assert last.headers["x-bsc-cache"] == "exact"
        assert (first.calls, second.calls) == (3, 2)


def test_the_providers_own_addresses_are_those_of_every_file():
    plain = UpstreamSettings()
    spelt = UpstreamSettings(openai=plain.openai + "/", anthropic=plain.anthropic + "/")
    other = UpstreamSettings(openai="http://127.0.0.1:1/v1", anthropic="http://127.0.0.1:1")
    for provider in ("openai", "anthropic"):
        assert plain.elsewhere(provider) is None
        assert spelt.elsewhere(provider) is None
        assert other.elsewhere(provider) == getattr(other, provider)
