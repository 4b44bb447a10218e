"""The models' APIs over HTTP. Where a request goes is for the configuration alone to say."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from binary_semantic_cache.proxy.apis import Provider
from binary_semantic_cache.proxy.clients import Clients
from binary_semantic_cache.proxy.headers import CREDENTIALS, Headers
from binary_semantic_cache.proxy.settings import UpstreamSettings

__all__ = ["Upstream", "UpstreamError", "is_plain_path", "is_plain_query"]

_PREFIX = b"/v1"
# What a path may not hold: anything that some server takes for another path than this proxy did.
_SUSPECT = re.compile(rb"//|\\|%2f|%5c|%2e|%00|[\x00-\x20#\x7f-\xff]|/\.\.?(/|$)", re.IGNORECASE)


class UpstreamError(Exception):
    """The upstream gave no reply; the message names no address."""

    def __init__(self, message: str, *, timed_out: bool) -> None:
        super().__init__(message)
        self.timed_out = timed_out


def is_plain_path(raw_path: bytes) -> bool:
    """Whether a path below `/v1` means the same to everybody who reads it."""
    return raw_path.startswith(_PREFIX + b"/") and _SUSPECT.search(raw_path) is None


def is_plain_query(query: bytes) -> bool:
    """Whether all of a query is one: a fragment is never sent, so that what holds one is no address."""
    return b"#" not in query


class Upstream:
    """Sends requests on.

    Redirects are not followed, for the key would follow them, and neither proxies nor credentials are taken
    from the environment.
    """

    def __init__(self, settings: UpstreamSettings) -> None:
        self._bases: dict[Provider, httpx.URL] = {
            "openai": httpx.URL(settings.openai.rstrip("/")),
            "anthropic": httpx.URL(settings.anthropic.rstrip("/") + "/v1"),
        }
        self._keys: dict[Provider, tuple[bytes, bytes] | None] = {
            "openai": (b"authorization", b"Bearer " + settings.openai_api_key.encode())
            if settings.openai_api_key
            else None,
            "anthropic": (b"x-api-key", settings.anthropic_api_key.encode())
            if settings.anthropic_api_key
            else None,
        }
        self._clients = Clients(
            httpx.Timeout(settings.read_seconds, connect=settings.connect_seconds), settings.max_connections
        )

    @asynccontextmanager
    async def sent(
        self,
        provider: Provider,
        method: str,
        raw_path: bytes,
        query: bytes,
        headers: Headers,
        content: bytes | AsyncIterator[bytes] | None,
    ) -> AsyncIterator[httpx.Response]:
        """The reply, its body still to be read with `aiter_raw`.

        Args:
            provider: whose API.
            method: the verb.
            raw_path: as it came, `is_plain_path`.
            query: without the question mark, `is_plain_query`.
            headers: those that are to travel.
            content: the body.

        Raises:
            UpstreamError: there is no reply. Errors while the body is read are httpx's.
        """
        base = self._bases[provider]
        target = base.raw_path.rstrip(b"/") + raw_path.removeprefix(_PREFIX)
        own = self._keys[provider]
        if own is not None:
            headers = [(name, value) for name, value in headers if name not in CREDENTIALS] + [own]
        url = base.copy_with(raw_path=target + (b"?" + query if query else b""))
        with self._clients.one() as client:
            request = client.build_request(method, url, headers=headers, content=content)
            failure: UpstreamError | None = None
            try:
                response = await client.send(request, stream=True)
            except httpx.TimeoutException as exc:
                failure = UpstreamError(
                    f"the upstream did not answer in time ({type(exc).__name__})", timed_out=True
                )
            except httpx.HTTPError as exc:
                failure = UpstreamError(
                    f"the upstream could not be reached ({type(exc).__name__})", timed_out=False
                )
            if failure is not None:
                # Raised out here, so that it is not chained to httpx's, which holds the request and its key.
                raise failure
            try:
                yield response
            finally:
                await response.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._clients.aclose()
