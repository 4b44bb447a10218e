"""Replies of the admin's port: JSON, typed errors, and the headers that every reply carries."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Fault", "SafeHeaders", "body_of", "json_answer", "json_body"]

_MOST_BODY_BYTES = 2**20

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: with it a browser calls the origin of our own login form `null`.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Fault(Exception):  # noqa: N818 - an answer, not a programming error
    """Ends a request with an error that its caller can act on.

    Args:
        status: of the reply.
        kind: one word for programs.
        message: for people; no content of the cache.
        retry_after: seconds after which another try makes sense; 0 for nothing about it.
    """

    def __init__(self, status: int, kind: str, message: str, *, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.retry_after = retry_after

    def answer(self) -> Response:
        """The reply."""
        headers = {"www-authenticate": 'Bearer realm="bsc admin"'} if self.status == 401 else {}
        if self.retry_after:
            headers["retry-after"] = str(self.retry_after)
        error = {"error": {"type": self.kind, "message": self.message}}
        return json_answer(error, status=self.status, headers=headers)


class SafeHeaders:
    """ASGI middleware: the headers that keep a browser from doing what a page here never needs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_safe if scope["type"] == "http" else send)


def json_answer(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON in ASCII, whatever characters it holds."""
    return Response(
        json.dumps(content, allow_nan=False, separators=(",", ":")),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


async def body_of(request: Request, most: int = _MOST_BODY_BYTES) -> bytes:
    """The request's body.

    Raises:
        Fault: it is longer than `most` bytes, or the client left.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise Fault(413, "too_large", f"expected a body of at most {most} bytes, got more")
    except ClientDisconnect as exc:
        raise Fault(400, "client_left", "the client left before its request had ended") from exc
    return bytes(body)


async def json_body(request: Request, *names: str) -> dict[str, Any]:
    """The request's body, an object with no other members than `names`.

    Raises:
        Fault: it is none.
    """
    # A form of another site can send text, but not this without being asked first.
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != "application/json":
        raise Fault(415, "content_type", "expected content-type application/json")
    try:
        body = json.loads(await body_of(request))
    except (ValueError, RecursionError) as exc:
        raise Fault(400, "malformed", "expected a body of JSON") from exc
    if not isinstance(body, dict):
        raise Fault(400, "malformed", f"expected an object, got {type(body).__name__}")
    unknown = sorted(set(body) - set(names))
    if unknown:
        raise Fault(400, "unknown_field", f"expected fields among {', '.join(names)}, got {unknown[0]!r}")
    return body
