"""What nobody may do by a request: choose where it goes, see another's answers, find another's secrets."""

import io
import json
import logging
import socket
from contextlib import ExitStack
from hashlib import sha256

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from binary_semantic_cache.proxy.settings import KnownKey, TracingSettings
from binary_semantic_cache.proxy.watching.access_log import AccessLog
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.proxy.watching.tracing import Tracing
from model_misdeeds import answers, more_headers, redirects
from model_server import ModelServer
from proxy_server import chat_body, headers_of, message_body, serving
from torture import make_cache

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"
CHAT = "/v1/chat/completions"


@pytest.fixture
def model():
    with ModelServer() as made:
        yield made


@pytest.fixture
def proxy(model):
    with serving(model) as made:
        yield made


@pytest.fixture(scope="module")
def three():
    """The upstream, a server that nobody may be led to, and the proxy; for requests that leave nothing."""
    with ModelServer() as model, ModelServer() as evil, serving(model) as proxy:
        yield model, evil, proxy


def raw_reply(proxy, head: str, body: bytes = b"") -> bytes:
    """What comes back for these very bytes, until the connection ends or falls silent after a reply."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as link:
        link.sendall(head.encode("latin-1") + b"\r\n\r\n" + body)
        reply = b""
        while more := link.recv(65536):
            reply += more
        return reply


def post(http, question=QUESTION, **more):
    return http.post(CHAT, json=chat_body(question, **more))


# Where a request goes

HOSTILE = [
    "http://{evil}",
    "http://{evil}/v1",
    "http://{evil}@127.0.0.1/v1",
    "http://127.0.0.1@{evil}/v1",
    "//{evil}/v1",
    "http://2130706433:{port}/v1",
    "http://0x7f000001:{port}/v1",
    "http://0177.0.0.1:{port}/v1",
    "http://127.1:{port}/v1",
    "http://[::ffff:127.0.0.1]:{port}/v1",
    "http://localhost:{port}/v1",
    "http://169.254.169.254/latest/meta-data",
    "file:///etc/passwd",
    "gopher://{evil}/_GET",
]
FIELDS = ["api_base", "base_url", "api_url", "endpoint", "url", "host", "proxy", "custom_llm_provider"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("address", HOSTILE)
def test_a_field_of_the_body_travels_but_leads_nowhere(three, field, address):
    model, evil, proxy = three
    value = address.format(evil=evil.url.removeprefix("http://"), port=evil.port)
    body = chat_body(f"{field} {value}", **{field: value})
    before = len(model.asked)
    with proxy.http() as http:
        assert http.post(CHAT, json=body).status_code == 200
    assert [asked.json() for asked in model.asked[before:]] == [body]
    assert evil.asked == []


@pytest.mark.parametrize(
    "name",
    [
        "host",
        "x-forwarded-host",
        "forwarded",
        "x-original-url",
        "x-rewrite-url",
        "x-upstream",
        "x-bsc-upstream",
    ],
)
def test_a_header_leads_nowhere(three, name):
    model, evil, proxy = three
    before = len(model.asked)
    address = evil.url.removeprefix("http://")
    with proxy.http() as http:
        headers = {name: address, "cache-control": "no-cache"}
        reply = http.post(CHAT, json=chat_body(f"by {name}"), headers=headers)
    assert reply.status_code == 200
    (asked,) = model.asked[before:]
    assert asked.header("host") == model.url.removeprefix("http://")
    assert address not in str([pair for pair in asked.headers if pair[0] != "host"])
    assert evil.asked == []


TARGETS = [
    "http://{evil}/v1/models",
    "//{evil}/v1/models",
    "/v1//{evil}/models",
    "/v1/http://{evil}/models",
    "/v1/../{evil}/models",
    "/v1/..%2f{evil}",
    "/v1/%2e%2e/admin",
    "/v1/./models",
    "/v1/models/..",
    "/v1/models/../../admin",
    "/v1\\..\\admin",
    "/v1/models%00.txt",
    "/v1/a%2Fb",
    "/v1/%5c%5c{evil}",
    "/../v1/models",
    "/v1@{evil}/models",
    "@{evil}/v1/models",
    "/v1/@{evil}",
    "/v1:{port}/models",
    "/v1?@{evil}/",
    "/v1/models#@{evil}/",
    "/v1/models?a=b#@{evil}/",
    "/v1/chat/completions?a=b#@{evil}/",
    "/admin",
    "/metrics",
    "/",
    "*",
]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_path_leads_to_no_other_place_than_it_names(three, target, method):
    model, evil, proxy = three
    before = len(model.asked)
    named = target.format(evil=evil.url.removeprefix("http://"), port=evil.port)
    body = b"" if method == "GET" else b"{}"
    head = (
        f"{method} {named} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-alice\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}"
    )
    reply = raw_reply(proxy, head, body)
    assert reply.startswith(b"HTTP/1.1 ")
    assert int(reply.split()[1]) < 500
    assert evil.asked == []
    for asked in model.asked[before:]:
        # What passes is below /v1/, has no way up, and is what was asked.
        assert asked.target == named
        assert asked.path.startswith("/v1/")
        assert not {"..", ".", ""} & set(asked.path.split("/")[2:])
        assert not any(mark in asked.path.lower() for mark in ("%2f", "%5c", "%2e", "%00", "\\"))
        assert asked.header("host") == model.url.removeprefix("http://")


@pytest.mark.parametrize(
    "head",
    [
        "GET http://127.0.0.1/v1/models HTTP/1.1\r\nHost: x",
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked",
        "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: x",
        "GET /v1/models HTTP/1.1\r\nHost: x\r\nX: a\nY: b",
    ],
)
def test_requests_that_two_servers_may_read_in_two_ways_reach_nobody(three, head):
    model, evil, proxy = three
    before = len(model.asked)
    reply = raw_reply(proxy, f"{head}\r\nAuthorization: Bearer sk-alice\r\nConnection: close", b"0\r\n\r\n")
    status = int(reply.split()[1])
    if model.asked[before:]:
        assert status < 500
        assert [asked.path for asked in model.asked[before:]] in (["/v1/models"], [CHAT])
    else:
        assert 400 <= status < 500
    assert evil.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/embeddings"])
def test_a_redirect_takes_no_key_elsewhere(three, path, status):
    model, evil, proxy = three
    model.will(redirects(f"{evil.url}{path}", status))
    body = message_body() | {"input": f"x {status}"} | {"tag": f"{status}"}
    with proxy.http() as http:
        reply = http.post(path, json=body)
    assert (reply.status_code, reply.headers["location"]) == (status, f"{evil.url}{path}")
    assert evil.asked == []


# What travels

CANARIES = {
    "cookie": "session=canary-cookie",
    "x-forwarded-for": "canary-address",
    "x-forwarded-user": "canary-user",
    "x-real-ip": "canary-ip",
    "proxy-authorization": "Basic canary-proxy",
    "x-bsc-scope": "canary-scope",
    "x-internal-token": "canary-internal",
    "referer": "http://canary-referer",
    "origin": "http://canary-origin",
    "x-amz-security-token": "canary-cloud",
    "cf-access-jwt-assertion": "canary-jwt",
    "te": "canary-te",
    "keep-alive": "canary-alive",
    "upgrade-insecure-requests": "canary-upgrade",
}


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
def test_only_listed_headers_go_to_the_upstream(three, path):
    model, _, proxy = three
    before = len(model.asked)
    with proxy.http() as http:
        reply = http.post(path, json=chat_body(f"headers of {path}"), headers=CANARIES)
    assert reply.status_code == 200
    (asked,) = model.asked[before:]
    assert "canary" not in str(asked.headers)
    assert asked.header("authorization") == "Bearer sk-alice"


def test_a_key_of_the_configurations_own_replaces_the_callers(model):
    model.keys["sk-real"] = "company"
    known = KnownKey(name="one", sha256=sha256(b"sk-front").hexdigest(), tenant="team")
    tables = {
        "upstream": {"openai_api_key": "sk-real", "anthropic_api_key": "sk-real"},
        "keys": {"accept": "configured", "known": (known,)},
    }
    with serving(model, tables=tables) as proxy:
        with proxy.http("sk-front") as http:
            assert post(http).status_code == 200
            assert http.post("/v1/messages", json=message_body()).status_code == 200
            assert http.get("/v1/files").json()["owner"] == "company"
        with proxy.http("sk-alice") as http:
            for reply in (post(http), http.post("/v1/messages", json=message_body()), http.get("/v1/files")):
                assert reply.status_code == 401
    assert all("sk-front" not in str(asked.headers) for asked in model.asked)
    assert len(model.asked) == 3


def test_what_an_upstream_says_to_one_is_not_said_to_the_next(model, proxy):
    secret = [
        ("set-cookie", "s=canary"),
        ("www-authenticate", "canary"),
        ("x-account", "canary"),
        ("via", "canary"),
    ]
    model.will(more_headers(*secret))
    with proxy.http() as http:
        assert "canary" in str(post(http).headers)
        proxy.wait_until_quiet()
        for body in (chat_body(QUESTION), chat_body(QUESTION, stream=True), chat_body(NEAR)):
            reply = http.post(CHAT, json=body)
            assert headers_of(reply)["cache"] in ("exact", "semantic")
            assert "canary" not in str(reply.headers)


def test_an_upstream_cannot_pass_for_the_proxy(model, proxy):
    model.will(more_headers(("x-bsc-cache", "exact"), ("x-bsc-entry", "1")))
    with proxy.http() as http:
        assert headers_of(post(http)) == {"cache": "miss", "reason": "key_unknown"}


# Whose answers


def test_an_unknown_key_gets_no_hit_and_is_told_what_the_upstream_says(model, proxy):
    with proxy.http() as http, proxy.http("sk-nobody") as other:
        post(http)
        proxy.wait_until_quiet()
        for question in (QUESTION, NEAR):
            reply = post(other, question)
            assert reply.status_code == 401
            assert headers_of(reply) == {"cache": "miss", "reason": "key_unknown"}
    assert model.calls == 1


def test_no_key_at_all_gets_no_hit(model, proxy):
    with proxy.http() as http:
        post(http)
        proxy.wait_until_quiet()
        del http.headers["authorization"]
        assert post(http).status_code == 401


def test_a_revoked_key_gets_no_hit_after_the_upstream_has_said_so(model, proxy):
    with proxy.http() as http:
        post(http)
        proxy.wait_until_quiet()
        model.revoke("sk-alice")
        # Trusted a little longer, as configured; then the upstream is asked something, and knows better.
        assert headers_of(post(http))["cache"] == "exact"
        assert post(http, "who wrote hamlet").status_code == 401
        assert post(http).status_code == 401
        assert headers_of(post(http))["reason"] == "key_unknown"


def test_a_key_that_is_turned_down_where_nothing_is_cached_gets_no_hit_either(model, proxy):
    with proxy.http() as http:
        post(http)
        proxy.wait_until_quiet()
        model.revoke("sk-alice")
        assert http.get("/v1/models").status_code == 401
        assert post(http).status_code == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://site.example", 403),
        ("http://site.example:8080", 403),
        ("http://localhost.site.example", 403),
        ("http://127.0.0.1.site.example", 403),
        ("http://192.0.2.1", 403),
        ("http://[bad", 403),
        ("null", 403),
        ("http://localhost:3000", 200),
        ("http://127.0.0.1:3000", 200),
        ("http://[::1]:3000", 200),
        ("app://notes", 200),
    ],
)
def test_a_page_of_another_site_cannot_ask_where_no_key_is_needed(origin, status):
    with ModelServer(keys={"": "anybody"}) as model, serving(model) as proxy, proxy.http() as http:
        del http.headers["authorization"]
        assert post(http).status_code == 200
        proxy.wait_until_quiet()
        http.headers["origin"] = origin
        assert post(http).status_code == status
        assert http.get("/v1/models").status_code == status
        # Before a request with a key a browser asks whether it may be sent, without the key.
        assert http.options("/v1/models").status_code != 403
        http.headers["authorization"] = "Bearer sk-none"
        assert http.get("/v1/models").status_code == 401


def test_trust_in_a_key_ends_with_its_time(model):
    with serving(model, tables={"keys": {"trust_seconds": 1e-6}}) as proxy, proxy.http() as http:
        for _ in range(2):
            assert headers_of(post(http)) == {"cache": "miss", "reason": "key_unknown"}
            proxy.wait_until_quiet()
        assert model.calls == 2


def test_a_key_that_is_good_at_one_provider_is_not_so_at_the_other(model, proxy):
    with ModelServer(keys={"sk-other": "x"}) as other:
        tables = {"upstream": {"anthropic": other.url}}
        with serving(model, tables=tables) as two, two.http() as http:
            assert post(http).status_code == 200
            assert http.post("/v1/messages", json=message_body()).status_code == 401


@pytest.mark.parametrize("status", [429, 500, 400])
def test_a_key_is_not_good_because_the_upstream_had_no_time_to_look(model, proxy, status):
    with proxy.http() as http:
        model.will(answers(status, {"error": {}}))
        post(http)
        proxy.wait_until_quiet()
        assert headers_of(post(http))["reason"] == "key_unknown"


def test_two_keys_never_share(model, proxy):
    with proxy.http("sk-alice") as alice, proxy.http("sk-bob") as bob:
        for http, name in ((alice, "alice"), (bob, "bob"), (alice, "alice"), (bob, "bob")):
            for body in (chat_body(QUESTION), chat_body(NEAR), chat_body(QUESTION, stream=True)):
                reply = http.post(CHAT, json=body)
                assert name in reply.text
                assert {"alice": "bob", "bob": "alice"}[name] not in reply.text
                proxy.wait_until_quiet()
    assert model.calls == 2


def test_one_key_in_two_headers_is_one_caller_and_two_keys_are_another(model, proxy):
    with proxy.http() as http:
        http.post("/v1/messages", json=message_body(QUESTION))
        proxy.wait_until_quiet()
        told = headers_of(
            http.post("/v1/messages", json=message_body(QUESTION), headers={"x-api-key": "sk-bob"})
        )
    assert told["cache"] == "miss"
    assert model.calls == 2


def test_keys_that_the_configuration_groups_share(model):
    known = tuple(
        KnownKey(name=name, sha256=sha256(f"sk-{name}".encode()).hexdigest(), tenant="team")
        for name in ("alice", "bob")
    )
    with (
        serving(model, tables={"keys": {"known": known}}) as proxy,
        proxy.http("sk-alice") as alice,
        proxy.http("sk-bob") as bob,
    ):
        first = post(alice)
        proxy.wait_until_quiet()
        again = post(bob)
        assert headers_of(again)["cache"] == "exact"
        assert again.json() == first.json()


def test_a_tenants_name_cannot_be_had_by_a_scope_or_a_body(model, proxy):
    with proxy.http("sk-alice") as alice, proxy.http("sk-bob") as bob:
        post(alice)
        proxy.wait_until_quiet()
        scope = proxy.records[0].scope
        for body in (
            chat_body(QUESTION),
            chat_body(QUESTION, scope=scope),
            chat_body(QUESTION, user="alice"),
        ):
            for headers in ({}, {"x-bsc-scope": str(scope)}):
                assert headers_of(bob.post(CHAT, json=body, headers=headers))["cache"] == "miss"
                proxy.wait_until_quiet()


# Secrets at rest and in what is told

SECRETS = {
    "authorization": "Bearer sk-canary-key",
    "x-api-key": "sk-canary-other",
    "cookie": "c=sk-canary-cookie",
    "x-bsc-scope": "sk-canary-scope",
    "openai-organization": "sk-canary-organisation",
    "anthropic-beta": "sk-canary-beta",
    "x-secret": "sk-canary-header",
}


def test_no_secret_stands_in_the_file_the_logs_or_the_records(tmp_path):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger("binary_semantic_cache")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    keys = {"sk-canary-key": "one", "sk-canary-other": "two"}
    try:
        with ExitStack() as stack:
            model = stack.enter_context(ModelServer(keys=keys))
            model.reply_headers.append(("set-cookie", "sk-canary-reply"))
            cache = stack.enter_context(make_cache(tmp_path / "answers.db"))
            proxy = stack.enter_context(serving(model, cache))
            http = stack.enter_context(proxy.http())
            http.headers.clear()
            for query in ("", "?key=sk-canary-query"):
                for path, body in ((CHAT, chat_body()), ("/v1/messages", message_body())):
                    for _ in range(2):
                        assert http.post(path + query, json=body, headers=SECRETS).status_code == 200
                        proxy.wait_until_quiet()
                assert http.get(f"/v1/files{query}", headers=SECRETS).status_code == 200
            assert {record.outcome for record in proxy.records} == {"miss", "exact", "bypass"}
            shown = [str(record) for record in proxy.records if record.request is None]
            fields = [
                {name: getattr(record, name) for name in record.__slots__ if name != "request"}
                for record in proxy.records
            ]
            assert "sk-canary" not in json.dumps([*shown, *map(str, fields)])
            told = told_of(proxy.records, cache)
            assert "openai.chat" in told
            assert "sk-canary" not in told
            # The question itself is for the admin's page alone.
            assert "what is it" not in told
            # While it is open, and after: the log of what was written lately counts, too.
            assert_nowhere(tmp_path)
        assert_nowhere(tmp_path)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert log.getvalue()
    assert "sk-canary" not in log.getvalue()


def told_of(records, cache) -> str:
    """All that logs, metrics and traces say of requests."""
    out = io.StringIO()
    metrics, exporter = Metrics(cache), InMemorySpanExporter()
    tracing = Tracing(TracingSettings(), exporter=exporter)
    logs = [AccessLog(out, form=form) for form in ("text", "json")]
    for record in records:
        for watch in (metrics.watch, tracing.watch, *(log.watch for log in logs)):
            watch(record)
    for log in logs:
        log.close()
    assert tracing.flush()
    tracing.close()
    spans = [span.to_json() for span in exporter.get_finished_spans()]
    assert spans
    return "\n".join([out.getvalue(), metrics.exposition()[0].decode(), *spans])


def assert_nowhere(folder) -> None:
    files = list(folder.iterdir())
    assert files
    for file in files:
        assert b"sk-canary" not in file.read_bytes(), file.name


def test_a_credential_of_the_upstreams_own_is_trusted_for_itself_alone():
    tables = {"upstream": {"forward_headers": ("x-own-key",)}}
    with (
        ModelServer(keys={"": "anybody"}) as model,
        serving(model, tables=tables) as proxy,
        proxy.http() as http,
    ):
        del http.headers["authorization"]
        one, other = {"x-own-key": "1"}, {"x-own-key": "2"}

        def ask(headers):
            reply = http.post(CHAT, json=chat_body(QUESTION), headers=headers)
            proxy.wait_until_quiet()
            return reply

        assert [ask(headers).status_code for headers in (one, other)] == [200, 200]
        model.will(answers(401, {"error": {}}))
        assert http.post(CHAT, json=chat_body("who wrote hamlet"), headers=one).status_code == 401
        # The other's is still good, which says nothing of this one.
        assert headers_of(ask(other))["cache"] == "exact"
        assert headers_of(ask(one))["reason"] == "key_unknown"
