"""The servers that are measured: `python -m benches.proxy.servers NAME UPSTREAM`, a process each.

Each is uvicorn with the same settings; it prints its port, and ends when its standard input does.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from binary_semantic_cache.proxy.app import create_app
from binary_semantic_cache.proxy.processes.allocator import keep_memory_level
from binary_semantic_cache.proxy.processes.listening import bound_socket
from binary_semantic_cache.proxy.settings import CacheSettings, ProxySettings, UpstreamSettings
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["SERVERS"]


def forwarder(upstream: str, _: Path) -> Any:
    """The least that Starlette and httpx can do: pass a request on and its reply back."""
    client = httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=1000), trust_env=False)

    async def forward(request: Request) -> Response:
        headers = [
            (name, value)
            for name, value in request.headers.raw
            if name in (b"authorization", b"content-type", b"accept")
        ]
        asked = client.build_request(
            request.method, f"{upstream}{request.url.path}", headers=headers, content=await request.body()
        )
        reply = await client.send(asked, stream=True)
        kept = {
            name: reply.headers[name] for name in ("content-type", "content-length") if name in reply.headers
        }
        return StreamingResponse(_closed(reply), reply.status_code, kept)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await client.aclose()

    return Starlette(routes=[Route("/{path:path}", forward, methods=["POST"])], lifespan=lifespan)


async def _closed(reply: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in reply.aiter_raw():
            yield chunk
    finally:
        await reply.aclose()


def sqlite(upstream: str, folder: Path) -> Any:
    """The proxy as it is shipped: a file, the local model."""
    return _proxy(upstream, SemanticCache(folder / "answers.db"))


def memory(upstream: str, _: Path) -> Any:
    """The same in memory."""
    return _proxy(upstream, SemanticCache())


def small(upstream: str, folder: Path) -> Any:
    """With room for few entries, so that they come and go: for what memory a long run takes."""
    return _proxy(upstream, SemanticCache(folder / "answers.db", max_entries=2_000))


def _proxy(upstream: str, cache: SemanticCache) -> Any:
    keep_memory_level()
    settings = ProxySettings(
        upstream=UpstreamSettings(openai=f"{upstream}/v1", anthropic=upstream), cache=CacheSettings()
    )
    return create_app(settings, cache)


SERVERS: dict[str, Callable[[str, Path], Any]] = {
    "forwarder": forwarder,
    "sqlite": sqlite,
    "memory": memory,
    "small": small,
}


async def _serve(app: Any) -> None:
    listening = bound_socket("127.0.0.1", 0, "port")
    config = uvicorn.Config(
        app, http="h11", ws="none", loop="asyncio", log_level="warning", access_log=False, backlog=1024
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    print(listening.getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_serve(SERVERS[sys.argv[1]](sys.argv[2], Path(name))))
