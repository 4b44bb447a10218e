"""Which headers travel, and which paths: the proxy's lists."""

import pytest

from binary_semantic_cache.proxy.headers import requested, returned, value_of
from binary_semantic_cache.proxy.upstream import is_plain_path

FORWARDED = [
    b"authorization",
    b"x-api-key",
    b"anthropic-version",
    b"anthropic-workspace-id",
    b"anthropic-user-profile-id",
    b"anthropic-never-heard-of",
    b"openai-organization",
    b"openai-never-heard-of",
    b"content-type",
    b"accept",
    b"user-agent",
    b"x-stainless-lang",
    b"traceparent",
    b"idempotency-key",
]
KEPT_BACK = [
    b"cookie",
    b"host",
    b"connection",
    b"transfer-encoding",
    b"content-length",
    b"proxy-authorization",
    b"x-forwarded-for",
    b"forwarded",
    b"x-real-ip",
    b"referer",
    b"origin",
    b"x-bsc-mode",
    b"cache-control",
    b"x-anything-else",
]


@pytest.mark.parametrize("name", FORWARDED)
def test_what_the_api_needs_goes_to_the_upstream(name: bytes):
    assert (name, b"v") in requested([(name, b"v")], frozenset(), encodings=False)


@pytest.mark.parametrize("name", KEPT_BACK)
def test_what_the_api_does_not_need_stays_here(name: bytes):
    assert all(key != name for key, _ in requested([(name, b"v")], frozenset(), encodings=True))


def test_the_configuration_may_add_names_but_none_of_the_connections_own():
    further = frozenset((b"x-team", b"connection"))
    sent = requested([(b"x-team", b"a"), (b"connection", b"close")], further, encodings=False)
    assert (b"x-team", b"a") in sent
    assert all(name != b"connection" for name, _ in sent)


def test_a_reply_that_is_to_be_read_is_asked_for_plain():
    headers = [(b"accept-encoding", b"br, gzip")]
    assert requested(headers, frozenset(), encodings=False) == [(b"accept-encoding", b"identity")]
    assert requested(headers, frozenset(), encodings=True) == headers


def test_a_reply_comes_back_but_for_what_is_of_one_connection():
    reply = [
        (b"Content-Type", b"application/json"),
        (b"X-Request-Id", b"1"),
        (b"Set-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Server", b"theirs"),
        (b"Date", b"then"),
        (b"x-bsc-cache", b"exact"),
    ]
    assert returned(reply) == [
        (b"content-type", b"application/json"),
        (b"x-request-id", b"1"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
    ]


def test_repeats_of_a_header_are_one_value():
    assert value_of([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], b"a") == b"1, 3"
    assert value_of([], b"a") is None


@pytest.mark.parametrize(
    "path",
    [b"/v1/models", b"/v1/files/file-1/content", b"/v1/a.b/..c/~x", b"/v1/models/ft:gpt%3Aone", b"/v1/a@b"],
)
def test_a_plain_path_is_passed_on(path: bytes):
    assert is_plain_path(path)


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/v2/models",
        b"/v1",
        b"v1/models",
        b"http://evil/v1/models",
        b"//evil/v1/models",
        b"/v1//models",
        b"/v1/../admin",
        b"/v1/a/..",
        b"/v1/./models",
        b"/v1/%2e%2e/admin",
        b"/v1/%2E/admin",
        b"/v1/a%2Fb",
        b"/v1/a%5cb",
        b"/v1/a\\b",
        b"/v1/a%00",
        b"/v1/a b",
        b"/v1/a\r\nhost: evil",
        b"/v1/\xc3\xa4",
        b"/v1/a;b\x7f",
    ],
)
def test_a_path_that_may_be_read_in_two_ways_is_not(path: bytes):
    assert not is_plain_path(path)
