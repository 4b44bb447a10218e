"""Who may come in at the admin's port: every route with no, a wrong and the right token; hosts; origins."""

import http.client
from time import monotonic
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.routing import Mount, Route

from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.proxy.admin import create_admin_app
from binary_semantic_cache.proxy.admin.doors import COOKIE
from binary_semantic_cache.proxy.configuration.values import is_loopback
from binary_semantic_cache.proxy.settings import ProxySettings, ServerSettings
from watched import TOKEN, Watched, serving

OPEN = {
    ("GET", "/"): 303,
    ("GET", "/login"): 200,
    ("POST", "/login"): 401,
    ("GET", "/healthz"): 200,
    ("GET", "/readyz"): 200,
    ("GET", "/metrics"): 200,
}
"""What needs no token, and what it answers to who has none."""
CLOSED = {
    ("POST", "/logout"),
    ("GET", "/api/summary"),
    ("GET", "/api/recent"),
    ("GET", "/api/entries"),
    ("GET", "/api/audit"),
    ("GET", "/api/budget"),
    ("POST", "/api/explain"),
    ("POST", "/api/report"),
    ("POST", "/api/invalidate"),
    ("POST", "/api/clear"),
    ("POST", "/api/budget/reset"),
}
CHANGES = sorted(path for method, path in CLOSED if method == "POST")


@pytest.fixture(scope="module")
def watched():
    made = Watched()
    made.put("a question of a canary")
    made.ask("a question of a canary")
    return made


@pytest.fixture(scope="module")
def url(watched):
    with serving(watched.app) as address:
        yield address


@pytest.fixture
def client(url):
    with httpx.Client(base_url=url, trust_env=False) as made:
        yield made


@pytest.fixture
def session(client):
    assert client.post("/login", data={"token": TOKEN}).status_code == 303
    return client


def test_the_routes_are_those_that_are_tested_here(watched):
    routes = {
        (method, route.path)
        for route in watched.app.routes
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    }
    assert routes == OPEN.keys() | CLOSED
    assert [route.path for route in watched.app.routes if isinstance(route, Mount)] == ["/static"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-but-long-enough"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"cookie": f"{COOKIE}="},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}=guessed"},
        {"x-bsc-admin": "1"},
    ],
)
@pytest.mark.parametrize(("method", "path"), sorted(CLOSED))
def test_a_closed_route_says_401_without_the_right_token(client, method, path, headers):
    answer = client.request(method, path, headers=headers, json={} if method == "POST" else None)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "unauthorised"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "canary" not in answer.text


@pytest.mark.parametrize(("method", "path"), sorted(CLOSED))
def test_a_closed_route_opens_with_the_right_token(client, method, path):
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = client.request(method, path, headers=headers, json={} if method == "POST" else None)
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize(("method", "path"), sorted(OPEN))
def test_an_open_route_answers_without_a_token_and_shows_no_content(client, method, path):
    answer = client.request(method, path)
    assert answer.status_code == OPEN[method, path]
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/api/../api/recent", "/static/../api/recent", "//api/recent", "/api/recent/", "/API/recent",
        "/api%2frecent",
        "/static/..%2f..%2fapp.py", "/static/../../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd",
        "/api/recent;/static", "/healthz/../api/recent",
    ],
)  # fmt: skip
def test_a_path_written_otherwise_opens_nothing(url, path):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status in (401, 404, 307)
    assert b"canary" not in body
    assert b"create_admin_app" not in body


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example:80", "@evil",
        "[::1].evil.example", "localhost:evil.example", "localhost@evil.example",
        "evil.example:127.0.0.1", "[localhost]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/recent", "/metrics", "/healthz", "/static/main.js"])
def test_a_name_that_is_not_ours_is_answered_nothing(client, host, path):
    answer = client.get(path, headers={"host": host, "authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 421
    assert "canary" not in answer.text


@pytest.mark.parametrize("host", ["localhost:81", "LOCALHOST", "127.0.0.1", "[::1]:8081", "10.1.2.3:8081"])
def test_localhost_and_bare_addresses_are_answered(client, host):
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_two_host_headers_are_answered_nothing(url):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.putrequest("GET", "/healthz", skip_host=True)
    connection.putheader("host", "evil.example")
    connection.putheader("host", "localhost")
    connection.endheaders()
    assert connection.getresponse().status in (400, 421)
    connection.close()


def test_a_configured_name_is_ours():
    watched = Watched(settings=ProxySettings(server=ServerSettings(admin_names=("cache.internal",))))
    with serving(watched.app) as url:
        for host, status in (("cache.internal:8081", 200), ("other.internal", 421)):
            assert httpx.get(f"{url}/healthz", headers={"host": host}, trust_env=False).status_code == status


def test_metrics_need_the_token_where_the_port_is_not_on_loopback():
    watched = Watched(settings=ProxySettings(server=ServerSettings(admin_host="0.0.0.0")))
    with serving(watched.app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("cache", False),
    ],
)
def test_loopback_is_known_by_its_address(host, expected):
    assert is_loopback(host) is expected


def test_the_login_form_gives_a_session_whose_cookie_scripts_and_other_sites_cannot_use(client):
    answer = client.post("/login", data={"token": f" {TOKEN} "})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith(COOKIE)
    assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert client.get("/").status_code == 200
    assert client.get("/api/summary").status_code == 200


@pytest.mark.parametrize("token", ["", "wrong-but-long-enough", "<script>alert(1)</script>"])
def test_a_wrong_token_at_the_login_form_gives_none(client, token):
    answer = client.post("/login", data={"token": token})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "That is not the admin token" in answer.text
    assert "<script>alert" not in answer.text


def test_a_login_form_of_another_site_gives_none(client):
    answer = client.post("/login", data={"token": TOKEN}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_body_of_any_length_is_not_read_at_the_login_form(client):
    assert client.post("/login", content=b"token=" + b"x" * 10_000).status_code == 413


@pytest.mark.parametrize("path", CHANGES)
def test_a_change_by_session_needs_the_header_that_no_form_can_send(session, path):
    answer = session.post(path, json={})
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "cross_site")


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "foreign", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_a_change_by_session_from_another_site_is_refused(session, path, foreign):
    answer = session.post(path, json={}, headers={"x-bsc-admin": "1", **foreign})
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "cross_site")


def test_a_change_by_session_from_our_own_page_is_made(session, url):
    own = {"x-bsc-admin": "1", "origin": url, "sec-fetch-site": "same-origin"}
    assert session.post("/api/invalidate", json={"tag": "none"}, headers=own).status_code == 200


def test_logging_out_ends_the_session_even_for_who_kept_the_cookie(session):
    kept = dict(session.cookies)
    assert session.post("/logout", headers={"x-bsc-admin": "1"}).status_code == 200
    session.cookies.clear()
    session.cookies.update(kept)
    assert session.get("/api/summary").status_code == 401


def test_a_wrong_bearer_is_refused_whatever_session_comes_along(session):
    assert session.get("/api/summary", headers={"authorization": "Bearer wrong"}).status_code == 401


def test_a_session_ends_after_twelve_hours(session, monkeypatch):
    later = monotonic() + 12 * 3600 + 1
    monkeypatch.setattr("binary_semantic_cache.proxy.admin.doors.monotonic", lambda: later)
    assert session.get("/api/summary").status_code == 401


def test_of_very_many_sessions_the_oldest_end(session):
    first = dict(session.cookies)
    for _ in range(64):
        session.post("/login", data={"token": TOKEN})
    assert session.get("/api/summary").status_code == 200
    session.cookies.clear()
    session.cookies.update(first)
    assert session.get("/api/summary").status_code == 401


@pytest.mark.parametrize("path", ["/", "/login", "/static/main.js", "/api/summary", "/nothing", "/metrics"])
def test_every_reply_carries_the_headers_that_keep_browsers_safe(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"


def test_no_other_site_is_told_that_it_may_read(client):
    answer = client.options(
        "/api/recent", headers={"origin": "http://evil.example", "access-control-request-method": "GET"}
    )
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_wrong_method_and_an_unknown_path_are_typed_errors(client):
    assert client.get("/api/clear").json()["error"]["type"] == "method"
    assert client.get("/nothing").json()["error"]["type"] == "not_found"


@pytest.mark.parametrize("token", ["", "short", "x" * 15])
def test_a_token_that_could_be_guessed_is_refused_at_the_start(watched, token):
    with pytest.raises(InvalidValueError, match="expected an admin token of 16 characters or more, got"):
        create_admin_app(
            cache=watched.cache,
            settings=ProxySettings(),
            recents=watched.recents,
            metrics=watched.metrics,
            token=token,
        )
