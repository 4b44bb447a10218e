"""Who may come in at the admin's port.

- Host: a page of another site can point its own name at this machine (DNS rebinding), and its requests then
  look like ours. Such requests carry that name, so only known names and bare addresses are answered.
- Token: as `Authorization: Bearer`, or exchanged at the login form for a session, whose cookie scripts cannot
  read and other sites cannot send. Whoever sends wrong ones is soon not listened to for a while.
- Origin: a change by cookie needs a header that no form of another site can set, and no foreign `Origin`.
"""

import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
from collections.abc import Iterable
from time import monotonic
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.proxy.admin.answers import Fault
from binary_semantic_cache.proxy.admin.guesses import MOST_GUESSES, Guesses

__all__ = ["CHANGE_HEADER", "COOKIE", "Doors", "KnownHosts"]

_logger = logging.getLogger(__name__)

COOKIE: Final = "bsc_admin"
CHANGE_HEADER: Final = "x-bsc-admin"
_LEAST_TOKEN_CHARS = 16
_SESSION_SECONDS = 12 * 3600.0
_MOST_SESSIONS = 64
_HOST = re.compile(r"(?:\[(?P<bare>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:@]+))(?::[0-9]*)?")
"""An address of IPv6, or a name; a port. Source: RFC 3986, section 3.2.2."""


class KnownHosts:
    """ASGI middleware: answers requests for known names and for bare IP addresses, no others.

    Args:
        app: what answers them.
        names: beside `localhost`.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and not self._knows(Request(scope)):
            fault = Fault(
                421, "unknown_host", "expected a known name in the host header; `admin_names` adds names"
            )
            await fault.answer()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, request: Request) -> bool:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1:
            return False
        name = _without_port(hosts[0]).lower().rstrip(".")
        return name in self._names or _is_address(name)


class Doors:
    """Checks tokens and keeps sessions.

    Args:
        token: what opens the doors, 16 characters or more.

    Raises:
        InvalidValueError: `token` is so short that it could be guessed.
    """

    def __init__(self, token: str) -> None:
        if len(token) < _LEAST_TOKEN_CHARS:
            raise InvalidValueError(
                f"expected an admin token of {_LEAST_TOKEN_CHARS} characters or more, got {len(token)}"
            )
        self._token = _digest(token)
        self._sessions: dict[bytes, float] = {}
        """When each session ends, by the digest of its id."""
        self._at_form, self._as_bearer = Guesses(repeats=True), Guesses(repeats=False)

    def is_token(self, given: str, request: Request) -> bool:
        """Whether `given`, typed into the form, is the token.

        Raises:
            Fault: too many from there were not; this one was not looked at.
        """
        return self._is_token(given, request, self._at_form)

    def caller(self, request: Request) -> str | None:
        """Who asks, in words of the audit; `None` for who may not.

        Raises:
            Fault: too many tokens from there were wrong; this one was not looked at.
        """
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme:
            # Whoever shows a token is judged by it, whatever cookie comes along.
            is_bearer = scheme.lower() == "bearer"
            return "bearer" if is_bearer and self._is_token(given.strip(), request, self._as_bearer) else None
        session = _digest(request.cookies.get(COOKIE, ""))
        return None if monotonic() >= self._sessions.get(session, 0.0) else _label(session)

    def _is_token(self, given: str, request: Request, guesses: Guesses) -> bool:
        """The time it takes does not depend on how much of `given` is right."""
        address = "" if request.client is None else request.client.host
        if wait := guesses.wait_seconds(address):
            raise Fault(
                429,
                "too_many_guesses",
                f"expected fewer than {MOST_GUESSES} wrong tokens in a minute; try again in {wait} s",
                retry_after=wait,
            )
        digest = _digest(given)
        if hmac.compare_digest(digest, self._token):
            return True
        if guesses.wrong(address, digest):
            _logger.warning(
                "%d wrong admin tokens from %s in a minute: more are not looked at", MOST_GUESSES, address
            )
        return False

    def admit(self, request: Request) -> str:
        """Who asks.

        Raises:
            Fault: the caller has no right to, or it is a change that another site may have sent.
        """
        who = self.caller(request)
        if who is None:
            raise Fault(401, "unauthorised", "expected the admin token as bearer, or a session")
        if request.method not in ("GET", "HEAD") and who != "bearer":
            check_origin(request)
            if request.headers.get(CHANGE_HEADER) != "1":
                raise Fault(403, "cross_site", f"expected the header {CHANGE_HEADER}: 1 with a change")
        return who

    def begin(self, response: Response, *, secure: bool) -> str:
        """Begins a session and puts its cookie on `response`; returns who it is."""
        now = monotonic()
        self._sessions = {digest: ends for digest, ends in self._sessions.items() if ends > now}
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        value = secrets.token_urlsafe(32)
        session = _digest(value)
        self._sessions[session] = now + _SESSION_SECONDS
        response.set_cookie(
            COOKIE,
            value,
            max_age=round(_SESSION_SECONDS),
            path="/",
            secure=secure,
            httponly=True,
            samesite="strict",
        )
        return _label(session)

    def end(self, request: Request, response: Response) -> None:
        """Ends the session of `request`, if it has one."""
        self._sessions.pop(_digest(request.cookies.get(COOKIE, "")), None)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def check_origin(request: Request) -> None:
    """Refuses what a page of another site sent.

    Raises:
        Fault: the browser says that it did.
    """
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    foreign = origin is not None and origin.lower() not in (
        f"http://{host}".lower(),
        f"https://{host}".lower(),
    )
    if foreign or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Fault(403, "cross_site", "expected a request of this page, got one of another site")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _label(session: bytes) -> str:
    # Of the digest's digest: the digest is what sessions are found by.
    return f"session:{hashlib.sha256(session).hexdigest()[:8]}"


def _without_port(host: str) -> str:
    """The name in a host header; empty for what is none."""
    found = _HOST.fullmatch(host)
    return "" if found is None else found["bare"] or found["name"]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
