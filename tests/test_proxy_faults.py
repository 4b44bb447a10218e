"""A fault table: whatever the upstream does wrong, the client sees it, and nothing of it is kept."""

import hashlib
import http.client
import json
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from binary_semantic_cache.proxy.apis.all import APIS
from binary_semantic_cache.proxy.sse import EventReader
from model_answers import events_of, say
from model_misdeeds import (
    altered,
    answers,
    compressed,
    cut,
    drip,
    error_event,
    hangs_up,
    more_headers,
    redirects,
    unended,
    wrong_length,
)
from model_server import ModelServer
from proxy_server import headers_of, serving
from torture import TIMES

ROOM = Path(__file__).parent / "fixtures" / "streams"


class Asking(NamedTuple):
    """One API as it is asked here."""

    path: str
    field: str

    def body(self, question: str, *, stream: bool) -> dict:
        content = [{"role": "user", "content": question}] if self.field == "messages" else question
        body = {"model": "trial", self.field: content, "max_tokens": 100, "stream": stream}
        if self.field == "input":
            body.pop("max_tokens")
        return body


CHAT = Asking("/v1/chat/completions", "messages")
OLDER = Asking("/v1/completions", "prompt")
RESPONSES = Asking("/v1/responses", "input")
MESSAGES = Asking("/v1/messages", "messages")
ALL = pytest.mark.parametrize("api", [CHAT, OLDER, RESPONSES, MESSAGES], ids=lambda api: api.path[4:])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def both():
    """A model and a proxy that all lines of the table share."""
    with ModelServer() as model, serving(model) as proxy:
        yield model, proxy


@pytest.fixture
def question(request) -> str:
    """A question of its own for each line, in words of its own, so that none finds another's answer."""
    digest = hashlib.sha256(request.node.name.encode()).hexdigest()
    return " ".join(digest[at : at + 8] for at in range(0, 48, 8))


class Seen(NamedTuple):
    """What a client sees of a reply."""

    status: int | str
    body: bytes
    kind: str | None


def seen(url: str, api: Asking, question: str, *, stream: bool) -> Seen:
    """By a client that shows what came before a reply broke off."""
    headers = {"authorization": "Bearer sk-alice", "content-type": "application/json"}
    link = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        link.request("POST", api.path, json.dumps(api.body(question, stream=stream)), headers)
        reply = link.getresponse()
        try:
            return Seen(reply.status, reply.read(), reply.headers["content-type"])
        except http.client.IncompleteRead as exc:
            return Seen("broken off", exc.partial, reply.headers["content-type"])
        except ConnectionResetError:
            return Seen("broken off", b"", reply.headers["content-type"])
    finally:
        link.close()


def check(both, api, question, stream, misdeed, *, stored, is_same=True) -> None:
    """The client sees by the proxy what it sees without, nothing is stored, and the next one asks again."""
    model, proxy = both
    proxy.wait_until_quiet()
    entries, told = len(proxy.cache), len(proxy.records)
    model.will(misdeed)
    theirs = seen(model.url, api, question, stream=stream)
    model.will(misdeed)
    ours = seen(proxy.url, api, question, stream=stream)
    if is_same:
        assert ours._replace(body=anonymous(ours.body)) == theirs._replace(body=anonymous(theirs.body))
    assert proxy.record(of=told + 1).stored in stored
    proxy.wait_until_quiet()
    assert len(proxy.cache) == entries
    calls = model.calls
    assert "call" in seen(proxy.url, api, question, stream=stream).body.decode()
    assert model.calls == calls + 1


def anonymous(body: bytes) -> bytes:
    """Without digits, which count the calls."""
    return body.translate(None, b"0123456789")


@ALL
@STREAM
@pytest.mark.parametrize("status", [201, 204, 206, 301, 400, 401, 403, 404, 408, 409, 429, 500, 503, 529])
def test_another_status_is_passed_on(both, api, question, stream, status):
    body = b"" if status == 204 else {"error": {"message": "no"}, "choices": []}
    check(both, api, question, stream, answers(status, body), stored={"status"})


@ALL
@STREAM
@pytest.mark.parametrize(
    ("body", "stored"),
    [
        ({"error": {"message": "no", "type": "x"}}, "unsuitable"),
        ({"type": "error", "error": {"type": "x", "message": "no"}}, "unsuitable"),
        ({}, "unsuitable"),
        (b"", "malformed"),
        (b"null", "malformed"),
        (b"[1]", "malformed"),
        (b"<html>gateway</html>", "malformed"),
        (b'{"choices": [', "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 100_000, "malformed"),
    ],
    ids=["error", "claude-error", "empty", "nothing", "null", "list", "html", "half", "bytes", "deep"],
)
def test_a_body_that_is_no_answer_is_passed_on_though_its_status_is_200(
    both, api, question, stream, body, stored
):
    check(both, api, question, stream, answers(200, body), stored={stored})


@ALL
@STREAM
@pytest.mark.parametrize("at", [0, 1, 60, 200])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_reply_that_is_cut_stays_cut(both, api, question, stream, at, reset):
    # After a reset it is the kernel's to say how much of what came before is still delivered.
    misdeed = cut(at, reset=reset)
    check(both, api, question, stream, misdeed, stored={"broken_off"}, is_same=not reset)


@ALL
@pytest.mark.parametrize("at", [0, 1, 60, 200, -1, -2, -3])
def test_a_stream_without_its_end_is_passed_on(both, api, question, at):
    check(both, api, question, True, unended(at), stored={"incomplete"})


@ALL
@STREAM
def test_a_connection_that_ends_before_its_reply_is_a_bad_gateway(both, api, question, stream):
    model, proxy = both
    proxy.wait_until_quiet()
    entries = len(proxy.cache)
    model.will(hangs_up)
    reply = seen(proxy.url, api, question, stream=stream)
    assert reply.status == 502
    assert b"error" in reply.body
    proxy.wait_until_quiet()
    assert len(proxy.cache) == entries
    assert seen(proxy.url, api, question, stream=stream).status == 200


@ALL
@pytest.mark.parametrize("by", [-5, 7])
def test_a_length_that_is_wrong_is_nothing_to_keep(both, api, question, by):
    check(both, api, question, False, wrong_length(by), stored={"broken_off", "malformed", "unreachable"})


@ALL
@pytest.mark.parametrize("after", [0, 1, 4])
def test_an_error_within_a_stream_is_passed_on(both, api, question, after):
    check(both, api, question, True, error_event(after), stored={"error"})


@ALL
@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize(
    "event",
    [b"data: {\n\n", b"data: [1]\n\n", b'event: new.kind\ndata: {"type": "new.kind"}\n\n', b"data: \xff\n\n"],
    ids=["half", "list", "unknown", "bytes"],
)
def test_an_event_that_nobody_knows_is_passed_on_and_the_answer_not_kept(both, api, question, after, event):
    def change(events):
        return [*events[:after], event, *events[after:]]

    stored = {"malformed", "unknown_event", "unknown_delta", "error"}
    check(both, api, question, True, altered(change), stored=stored)


@ALL
@STREAM
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_passed_on_and_not_followed(both, api, question, stream, status):
    with ModelServer() as elsewhere:
        check(both, api, question, stream, redirects(f"{elsewhere.url}{api.path}", status), stored={"status"})
        assert elsewhere.asked == []


@ALL
@STREAM
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_compressed_reply_is_passed_on_as_it_is_and_not_kept(both, api, question, stream, encoding):
    check(both, api, question, stream, compressed(encoding), stored={"encoded"}, is_same=encoding == "br")


@ALL
@STREAM
def test_a_reply_that_comes_byte_by_byte_is_kept(both, api, question, stream):
    model, proxy = both
    model.will(drip)
    first = seen(proxy.url, api, question, stream=stream)
    proxy.wait_until_quiet()
    calls = model.calls
    again = seen(proxy.url, api, question, stream=stream)
    assert model.calls == calls
    if not stream:
        assert json.loads(again.body) == json.loads(first.body)


@ALL
def test_an_answer_too_large_to_keep_passes_whole(both, api, question):
    def change(body):
        return body | {"padding": "x" * 5_000_000}

    check(both, api, question, False, altered(change), stored={"too_large"})


@ALL
def test_headers_meant_for_one_caller_are_not_replayed(both, api, question):
    model, proxy = both
    secrets = [("set-cookie", "session=canary"), ("openai-organization", "org-canary"), ("x-ratelimit", "9")]
    model.will(more_headers(*secrets))
    with proxy.http() as http:
        first = http.post(api.path, json=api.body(question, stream=False))
        proxy.wait_until_quiet()
        again = http.post(api.path, json=api.body(question, stream=False))
    assert first.headers["set-cookie"] == "session=canary"
    assert headers_of(again)["cache"] == "exact"
    assert {name for name in again.headers if not name.startswith("x-bsc-")} <= {
        "content-type",
        "content-length",
        "date",
        "server",
    }


# Cut at every byte


def streams() -> list[tuple[str, str, bytes]]:
    """Name, path and bytes of streams that are whole."""
    made = []
    for api in (CHAT, OLDER, RESPONSES, MESSAGES):
        for model in ("trial", "trial-tools", "trial-thinking"):
            body = api.body("Grüße, 世界", stream=True) | {"model": model}
            made.append(
                (f"{api.path[4:]} {model}", api.path, b"".join(events_of(api.path, body, say("a", body, 1))))
            )
    return made


@pytest.mark.parametrize(
    ("name", "path", "raw"), streams(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_first_part_of_a_stream_makes_an_answer(name, path, raw):
    api = APIS[path]
    marks = [at for at in range(len(raw) + 1) if raw[:at].endswith(b"\n\n")]
    complete = []
    events, assembler = EventReader(), api.assembler()
    for at in range(len(raw)):
        if assembler.answer() is not None:
            complete.append(at)
        for event in events.feed(raw[at : at + 1]):
            assembler.feed(event)
    assert assembler.answer() is not None
    # Whole one byte early: a usage that was not asked for may follow, but never a part of what is said.
    assert all(at >= marks[-2] for at in complete), complete[:1]


def test_a_stream_that_is_cut_at_any_byte_leaves_nothing_in_the_cache(both):
    model, proxy = both
    body = CHAT.body("which byte is the last one to come", stream=True)
    raw = b"".join(events_of(CHAT.path, body, say("alice", body, 1)))
    proxy.wait_until_quiet()
    entries, calls = len(proxy.cache), model.calls
    # Each byte where the fault tests are asked for ten times as much.
    cuts = range(0, len(raw), max(1, round(29 / TIMES**1.5)))
    with proxy.http() as http:
        for at in cuts:
            model.will(cut(at) if at % 2 else unended(at))
            try:
                http.post(CHAT.path, json=body)
            except httpx.RemoteProtocolError:
                assert at % 2
    proxy.wait_until_quiet()
    assert len(proxy.cache) == entries
    assert model.calls == calls + len(cuts)


@pytest.mark.parametrize("options", ['{"a": NaN}', '{"\\ud800": 1}', '{"a": ' + "[" * 70 + "]" * 70 + "}"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
def test_options_of_a_stream_that_cannot_be_compared_are_the_upstreams_to_judge(options, path):
    said = '"messages": [{"role": "user", "content": "q"}]' if "chat" in path else '"input": "q"'
    body = f'{{"model": "trial", {said}, "stream_options": {options}}}'.encode()
    with ModelServer() as model, serving(model) as proxy, proxy.http() as http:
        for _ in range(2):
            reply = http.post(path, content=body)
            assert (reply.status_code, headers_of(reply)["reason"]) == (200, "unreadable")
        assert [one.body for one in model.asked] == [body, body]
