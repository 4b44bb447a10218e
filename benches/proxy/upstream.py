"""A model that answers at once, with as little work as can be: `python -m benches.proxy.upstream`.

It says what it was asked, so that the load's client can tell a right answer from another.
"""

import asyncio
import re
import sys

__all__ = ["answer_to"]

_CONTENT = re.compile(rb'"content": ?"((?:[^"\\]|\\.)*)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WORDS = b"This answer goes on for as many words as answers of models often do. " * 6


def answer_to(content: bytes) -> bytes:
    """The body of the reply."""
    return (
        b'{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"bench","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"You asked: '
        + content
        + b". "
        + _WORDS
        + b'"},"logprobs":null,'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":90,"total_tokens":102}}'
    )


class _Upstream(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._buffer, 0, end)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < whole:
                return
            asked = _CONTENT.search(bytes(self._buffer[end:whole]))
            del self._buffer[:whole]
            body = answer_to(asked[1] if asked else b"")
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
                body
            )
            self._transport.write(head + body)


async def _main() -> None:
    server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Ends with whoever started it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
