"""What is asked, and whether a reply answers it."""

import json
from collections.abc import Callable

from benches.proxy.load import WrongReplyError, request_bytes

__all__ = ["PATH", "ask", "question", "said", "told"]

PATH = "/v1/chat/completions"


def question(n: int) -> str:
    """Question number `n`; none answers another, for the numbers in them differ."""
    return f"Tell me something about the number {n}, please."


def ask(what: int | str, *, key: str = "sk-bench", stream: bool = False, headers: str = "") -> bytes:
    """A request for question number `what`, or for this very text.

    Args:
        what: what is asked.
        key: whose request it is.
        stream: whether the reply is to be a stream.
        headers: further lines of the head.
    """
    text = question(what) if isinstance(what, int) else what
    body = {"model": "bench", "messages": [{"role": "user", "content": text}]}
    raw = request_bytes(PATH, json.dumps(body | ({"stream": True} if stream else {})).encode(), key)
    return raw.replace(b"accept:", headers.encode() + b"accept:", 1)


def said(n: int, reply: bytes) -> None:
    """Raises `WrongReplyError` unless the reply is to question number `n`."""
    if not reply.startswith(b"HTTP/1.1 200") or b"about the number %d, please" % n not in reply:
        raise WrongReplyError(f"request {n}: {reply[:600]!r}")


def told(cache: str, text: str | None = None) -> Callable[[int, bytes], None]:
    """Checks that the proxy says `cache` of its reply, and that this answers `text`, or the number."""
    mark = b"x-bsc-cache: %b\r\n" % cache.encode()

    def check(n: int, reply: bytes) -> None:
        if mark not in reply:
            raise WrongReplyError(f"request {n}: expected {mark!r}, got {reply[:400]!r}")
        if text is not None and text.encode() not in reply:
            raise WrongReplyError(f"request {n}: {reply[:600]!r}")
        if cache in ("miss", "bypass"):
            said(n, reply)

    return check
