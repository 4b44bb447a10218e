"""The proxy on a real server on loopback, in a thread of its own, with all that a test wants to see of it."""

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any

import anthropic
import httpx
import openai
import uvicorn

from binary_semantic_cache.proxy.app import create_app
from binary_semantic_cache.proxy.observe import Record
from binary_semantic_cache.proxy.processes.listening import bound_socket
from binary_semantic_cache.proxy.settings import (
    CacheSettings,
    KeySettings,
    LimitSettings,
    ProxySettings,
    SteeringSettings,
    UpstreamSettings,
)
from binary_semantic_cache.text.semantic import SemanticCache
from model_server import ModelServer
from torture import make_cache

__all__ = ["NO_TLS", "ProxyServer", "chat_body", "headers_of", "message_body", "serving"]

_SECONDS = 30.0

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Knows no certificates, so that no TLS server is believed; loading them takes longer than a test asks."""


class ProxyServer:
    """A running proxy. `records` has what was told of each request, in the order in which they ended."""

    def __init__(self, settings: ProxySettings, cache: SemanticCache) -> None:
        self.cache = cache
        self.records: list[Record] = []
        self._told = threading.Condition()
        self.app = create_app(settings, cache, watchers=[self._tell])
        config = uvicorn.Config(
            self.app, http="h11", ws="none", lifespan="on", log_config=None, access_log=False, loop="asyncio"
        )
        self._server = uvicorn.Server(config)
        self._socket = bound_socket("127.0.0.1", 0, "port")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(_SECONDS), "the proxy did not start"
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(_SECONDS)
        self._socket.close()
        assert not self._thread.is_alive(), "the proxy did not end"
        if self._failure is not None:
            raise self._failure

    @property
    def port(self) -> int:
        return self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, work: Callable[[], Any]) -> Any:
        """What `work` returns, called in the proxy's event loop."""
        assert self._loop is not None

        async def call() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(_SECONDS)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Returns when `is_so`, called in the proxy's event loop, says yes."""
        deadline = monotonic() + _SECONDS
        while not self.run(is_so):
            assert monotonic() < deadline, "it did not come to that"

    def wait_for_readers(self, n: int) -> None:
        """Returns when `n` requests wait for an answer that is on its way."""
        flights = self.app.routes[-1].endpoint._gateway._rooms.flights
        self.wait_until(lambda: sum(one.flight._interested for one in flights._shared.values()) >= n)

    def wait_until_quiet(self) -> None:
        """Returns when no request is under way, and all that is to be stored is."""
        gateway = self.app.routes[-1].endpoint._gateway
        self.wait_until(lambda: not self.app.state.proxy.under_way and not gateway._tasks)

    def record(self, place: int = -1, *, of: int) -> Record:
        """A record, when there are `of` of them."""
        with self._told:
            assert self._told.wait_for(lambda: len(self.records) >= of, _SECONDS), f"{len(self.records)}"
            return self.records[place]

    def _tell(self, record: Record) -> None:
        with self._told:
            self.records.append(record)
            self._told.notify_all()

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
            while not self._server.started and not serving.done():
                await asyncio.sleep(0)
            self._ready.set()
            await serving

        try:
            asyncio.run(main())
        except BaseException as exc:
            self._failure = exc
        finally:
            self._ready.set()

    # Clients. An answer is stored after its last byte was sent: `settled` returns when it is.

    def openai(self, key: str = "sk-alice") -> openai.OpenAI:
        http = httpx.Client(verify=NO_TLS, timeout=_SECONDS)
        made = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, http_client=http)
        made.settled = self.wait_until_quiet
        return made

    def anthropic(self, key: str = "sk-alice") -> anthropic.Anthropic:
        made = anthropic.Anthropic(base_url=self.url, api_key=key, max_retries=0)
        made.settled = self.wait_until_quiet
        return made

    def http(self, key: str = "sk-alice") -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=_SECONDS, verify=NO_TLS)


@contextmanager
def serving(
    upstream: ModelServer | str,
    cache: SemanticCache | None = None,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    **cache_arguments: Any,
) -> Iterator[ProxyServer]:
    """A proxy before `upstream`.

    Args:
        upstream: the server, or the address of another.
        cache: the cache, which stays the caller's to close; a new one in memory if left out.
        tables: settings, by table.
        cache_arguments: for the new cache.
    """
    tables = tables or {}
    url = upstream if isinstance(upstream, str) else upstream.url
    addresses = {"openai": f"{url}/v1", "anthropic": url}
    settings = ProxySettings(
        upstream=UpstreamSettings(**(addresses | dict(tables.get("upstream", {})))),
        cache=CacheSettings(**({"timeout_seconds": 20.0} | dict(tables.get("cache", {})))),
        steering=SteeringSettings(**tables.get("steering", {})),
        keys=KeySettings(**tables.get("keys", {})),
        limits=LimitSettings(**tables.get("limits", {})),
    )
    with ExitStack() as stack:
        if cache is None:
            cache = stack.enter_context(make_cache(None, **cache_arguments))
        proxy = ProxyServer(settings, cache)
        proxy.start()
        stack.callback(proxy.stop)
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        yield proxy


def chat_body(content: Any = "what is it", model: str = "trial", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


def message_body(content: Any = "what is it", model: str = "trial", **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": content}], **more}


def headers_of(reply: httpx.Response) -> dict[str, str]:
    """What the proxy said of it, without the prefix."""
    return {
        name.removeprefix("x-bsc-"): value
        for name, value in reply.headers.items()
        if name.startswith("x-bsc-")
    }
