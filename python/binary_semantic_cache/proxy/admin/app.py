"""The routes of the admin's port. Each is closed unless it is opened here, whatever its path looks like."""

import logging
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from binary_semantic_cache.errors import BinarySemanticCacheError, EmbedderError, StoreError
from binary_semantic_cache.proxy.admin.answers import Fault, SafeHeaders, body_of, json_answer
from binary_semantic_cache.proxy.admin.audit import Audit
from binary_semantic_cache.proxy.admin.changing import Changing
from binary_semantic_cache.proxy.admin.doors import Doors, KnownHosts, check_origin
from binary_semantic_cache.proxy.admin.reading import Reading, store_answers
from binary_semantic_cache.proxy.configuration.values import is_loopback
from binary_semantic_cache.proxy.settings import ProxySettings
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.proxy.watching.recents import Recents
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["create_admin_app"]

_logger = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]

_STATIC: Final = Path(str(files("binary_semantic_cache.proxy.admin"))) / "static"
_REFUSED: Final = b"<!-- refused -->"
_MOST_LOGIN_BYTES = 4096


def create_admin_app(
    *,
    cache: SemanticCache,
    settings: ProxySettings,
    recents: Recents,
    metrics: Metrics,
    token: str,
    ready: Callable[[], str | None] | None = None,
) -> Starlette:
    """The ASGI application of the admin's port.

    `/metrics` is open where `settings.server.admin_host` is a loopback address, else it needs the token as
    all but the health checks do.

    Args:
        cache: what is looked at and changed.
        settings: of the proxy.
        recents: what the page shows of requests.
        metrics: what `/metrics` tells.
        token: 16 characters or more.
        ready: why the proxy is not ready, `None` when it is; if left out, whether the store answers.

    Raises:
        InvalidValueError: the token is too short.
    """
    doors, audit = Doors(token), Audit()
    reading = Reading(cache, settings, recents, metrics, audit, ready or store_answers(cache))
    changing = Changing(cache, recents, audit)
    entrance = _Entrance(doors, audit)

    def closed(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
        async def admitted(request: Request) -> Response:
            request.state.who = doors.admit(request)
            return await endpoint(request)

        return _route(path, admitted, method)

    server = settings.server
    metrics_route = _route if is_loopback(server.admin_host) else closed
    routes: list[BaseRoute] = [
        _route("/", entrance.page),
        _route("/login", entrance.form),
        _route("/login", entrance.log_in, "POST"),
        closed("/logout", entrance.log_out, "POST"),
        _route("/healthz", reading.health),
        _route("/readyz", reading.readiness),
        metrics_route("/metrics", reading.exposition),
        closed("/api/summary", reading.summary),
        closed("/api/recent", reading.recent),
        closed("/api/entries", reading.entries),
        closed("/api/audit", reading.audited),
        closed("/api/budget", reading.budgeted),
        closed("/api/explain", reading.explain, "POST"),
        closed("/api/report", changing.report, "POST"),
        closed("/api/invalidate", changing.invalidate, "POST"),
        closed("/api/clear", changing.clear, "POST"),
        closed("/api/budget/reset", changing.reset_budget, "POST"),
        # Nothing in there depends on the cache: the login form needs some of it.
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    names = (*server.admin_names, server.admin_host)
    return Starlette(
        routes=routes,
        middleware=[Middleware(SafeHeaders), Middleware(KnownHosts, names=names)],
        exception_handlers={HTTPException: _http_fault},
    )


class _Entrance:
    """The page itself, and the way to a session."""

    def __init__(self, doors: Doors, audit: Audit) -> None:
        self._doors = doors
        self._audit = audit
        self._page = (_STATIC / "index.html").read_bytes()
        self._form = (_STATIC / "login.html").read_bytes()

    async def page(self, request: Request) -> Response:
        if self._doors.caller(request) is None:
            return RedirectResponse("/login", status_code=303)
        return Response(self._page, media_type="text/html")

    async def form(self, request: Request) -> Response:
        return Response(self._form, media_type="text/html")

    async def log_in(self, request: Request) -> Response:
        check_origin(request)
        given = parse_qs((await body_of(request, _MOST_LOGIN_BYTES)).decode("utf-8", "replace"))
        try:
            is_token = self._doors.is_token(given.get("token", [""])[0].strip(), request)
        except Fault as fault:
            # Not written down each time: that would drive out what was changed.
            why = f"Too many wrong tokens. Try again in {fault.retry_after} seconds."
            return self._refused(fault.status, why, fault.retry_after)
        if not is_token:
            self._audit.note("nobody", "login", "token", "refused")
            return self._refused(401, "That is not the admin token of this proxy.")
        answer = RedirectResponse("/", status_code=303)
        who = self._doors.begin(answer, secure=request.url.scheme == "https")
        self._audit.note(who, "login", "token", "admitted")
        return answer

    def _refused(self, status: int, why: str, retry_after: int = 0) -> Response:
        headers = {"retry-after": str(retry_after)} if retry_after else {}
        page = self._form.replace(_REFUSED, why.encode())
        return Response(page, status_code=status, headers=headers, media_type="text/html")

    async def log_out(self, request: Request) -> Response:
        answer = json_answer({"status": "logged out"})
        self._doors.end(request, answer)
        return answer


def _route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Fault as fault:
            return fault.answer()
        except (StoreError, EmbedderError) as exc:
            # By class alone: a path or an upstream's words are not for the page to judge.
            return Fault(503, "unavailable", f"the cache failed: {type(exc).__name__}").answer()
        except BinarySemanticCacheError as exc:
            return Fault(400, "invalid", str(exc)).answer()
        except Exception as exc:  # a traceback could show content in the log
            _logger.error("%s failed: %s", path, type(exc).__name__)  # noqa: TRY400
            return Fault(500, "failed", f"this failed: {type(exc).__name__}").answer()

    return Route(path, answered, methods=[method])


async def _http_fault(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    kind = {404: "not_found", 405: "method"}.get(exc.status_code, "http")
    return Fault(exc.status_code, kind, exc.detail.lower()).answer()
