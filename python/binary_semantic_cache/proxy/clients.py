"""Many HTTP clients in the place of one.

For each request httpx's pool goes through all the connections that it has: with 64 under way one client made
a sixth of the requests a second that 16 clients made (`python -m benches.proxy --connections 64`, the plain
forwarder has one). Each of these keeps few.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

__all__ = ["Clients"]

_MOST_CLIENTS = 64


class Clients:
    """The least busy of them takes the next request, the first one among equals, so that few stay warm.

    Args:
        timeout: of each request.
        max_connections: of all together.
    """

    def __init__(self, timeout: httpx.Timeout, max_connections: int) -> None:
        n = min(_MOST_CLIENTS, max_connections)
        each = max_connections // n
        limits = httpx.Limits(max_connections=each, max_keepalive_connections=each)
        # Certificates are read once.
        trusted = httpx.create_ssl_context(trust_env=False)
        self._clients = [
            httpx.AsyncClient(
                follow_redirects=False, trust_env=False, timeout=timeout, limits=limits, verify=trusted
            )
            for _ in range(n)
        ]
        for client in self._clients:
            # httpx adds headers of its own, which the caller did not send.
            client.headers.clear()
        self._under_way = [0] * n

    @contextmanager
    def one(self) -> Iterator[httpx.AsyncClient]:
        """A client, for one request and its reply."""
        at = min(range(len(self._clients)), key=self._under_way.__getitem__)
        self._under_way[at] += 1
        try:
            yield self._clients[at]
        finally:
            self._under_way[at] -= 1

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self._clients:
            await client.aclose()
