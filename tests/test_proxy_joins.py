"""Several clients that ask the same at once: one answer, and nobody's leaving or failing harms another."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx
import openai
import pytest

from binary_semantic_cache.proxy.settings import KnownKey
from model_misdeeds import Gate, answers, paced, watched
from model_server import ModelServer
from proxy_server import chat_body, headers_of, serving

QUESTION = "what is the capital city of france"
FAR = "how many legs does a spider have"
USAGE = {"include_usage": True}


@pytest.fixture
def model():
    with ModelServer() as made:
        yield made


@pytest.fixture
def proxy(model):
    with serving(model) as made:
        yield made


def post(http, question=QUESTION, **more):
    return http.post("/v1/chat/completions", json=chat_body(question, **more))


def in_background(work):
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


@pytest.mark.parametrize("leads_with_stream", [False, True])
@pytest.mark.parametrize("joins_with_stream", [False, True])
def test_who_asks_the_same_meanwhile_gets_the_answer_on_its_way(
    model, proxy, leads_with_stream, joins_with_stream
):
    with proxy.http() as http:
        post(http, FAR)
    gate = Gate()
    model.will(paced(gate, at=None if leads_with_stream else 10))

    def get(stream):
        def work():
            with proxy.http() as http:
                options = {"stream": True, "stream_options": USAGE} if stream else {}
                return http.post("/v1/chat/completions", json=chat_body(QUESTION, **options))

        return work

    first = in_background(get(leads_with_stream))
    model.wait_for_requests(2)
    gate.allow(1)
    gate.wait_until_sent(1)
    second = in_background(get(joins_with_stream))
    proxy.wait_for_readers(2)
    gate.open()
    lead, joined = first.result(30), second.result(30)
    assert model.calls == 2
    assert headers_of(lead)["cache"] == "miss"
    if leads_with_stream == joins_with_stream:
        assert joined.content == lead.content
    told = headers_of(joined)
    assert (told["cache"], told["reason"]) == ("miss", "joined")
    assert said_in(lead) == said_in(joined) == f"trial tells alice about «{QUESTION}» (call 2)"
    proxy.wait_until_quiet()
    with proxy.http() as http:
        assert headers_of(post(http, stream=True))["cache"] == "exact"


def said_in(reply: httpx.Response) -> str:
    """The text of either form."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return reply.json()["choices"][0]["message"]["content"]
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    assert reply.text.endswith("data: [DONE]\n\n")
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


def test_a_crowd_that_asks_the_same_is_one_call(model, proxy):
    streamed = {"stream": True, "stream_options": USAGE}

    async def main():
        async with openai.AsyncOpenAI(
            base_url=f"{proxy.url}/v1", api_key="sk-alice", max_retries=0, timeout=60
        ) as client:
            crowd = [
                client.chat.completions.create(**chat_body(QUESTION, **(streamed if place % 2 else {})))
                for place in range(60)
            ]
            replies = await asyncio.gather(*crowd)
            texts = set()
            for reply in replies:
                if isinstance(reply, openai.AsyncStream):
                    chunks = [chunk async for chunk in reply]
                    texts.add(
                        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
                    )
                else:
                    texts.add(reply.choices[0].message.content)
        return texts

    assert asyncio.run(main()) == {f"trial tells alice about «{QUESTION}» (call 1)"}
    assert model.calls == 1


def test_a_client_that_leaves_takes_nothing_from_one_that_stays(model, proxy):
    gate = Gate()
    model.will(paced(gate))
    body = chat_body(QUESTION, stream=True)
    with proxy.http() as http, proxy.http() as other:
        with http.stream("POST", "/v1/chat/completions", json=body) as leaving:
            gate.allow(2)
            gate.wait_until_sent(2)
            arriving = leaving.iter_bytes()
            next(arriving)
            staying = in_background(lambda: other.post("/v1/chat/completions", json=body))
            proxy.wait_for_readers(2)
        gate.open()
        reply = staying.result(30)
    assert reply.text.endswith("data: [DONE]\n\n")
    assert model.calls == 1
    assert proxy.record(of=2) is not None
    assert len(proxy.cache) == 1


def test_when_all_have_left_the_upstream_is_left_too_and_nothing_is_kept(model, proxy):
    gate = Gate()
    model.will(watched(gate))
    body = chat_body(QUESTION, stream=True)
    with proxy.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as leaving:
        gate.wait_until_sent(1)
        arriving = leaving.iter_bytes()
        next(arriving)
    assert gate.left.wait(30)
    assert proxy.record(of=1).stored == "client_left"
    assert len(proxy.cache) == 0
    with proxy.http() as http:
        assert headers_of(http.post("/v1/chat/completions", json=chat_body(QUESTION)))["cache"] == "miss"


def test_an_answer_that_all_have_left_is_finished_where_the_configuration_says_so(model):
    gate = Gate()
    model.will(paced(gate))
    with serving(model, tables={"cache": {"finish_abandoned": True}}) as proxy, proxy.http() as http:
        with http.stream("POST", "/v1/chat/completions", json=chat_body(QUESTION, stream=True)) as leaving:
            gate.allow(1)
            arriving = leaving.iter_bytes()
            next(arriving)
        gate.open()
        assert proxy.record(of=1).stored == "stored"
        assert http.post("/v1/chat/completions", json=chat_body(QUESTION, stream=True)).text.endswith(
            "data: [DONE]\n\n"
        )
    assert model.calls == 1


def test_a_failure_reaches_all_who_wait_for_it_and_the_next_one_asks_again(model, proxy):
    gate = Gate()
    with proxy.http() as http:
        post(http, FAR)

        def fail(exchange):
            gate.pass_one()
            answers(503, {"error": {"message": "full"}})(exchange)

        model.will(fail)
        first = in_background(lambda: post(http))
        model.wait_for_requests(2)
        others = [in_background(lambda: post(http)) for _ in range(3)]
        proxy.wait_for_readers(4)
        gate.open()
        replies = [one.result(30) for one in (first, *others)]
        assert {(reply.status_code, reply.text) for reply in replies} == {
            (503, '{"error": {"message": "full"}}')
        }
        assert model.calls == 2
        assert post(http).status_code == 200


def test_a_stream_that_breaks_off_breaks_off_for_all(model, proxy):
    gate = Gate()

    def breaks(exchange):
        reply = exchange.reply
        exchange.send(reply.head() + reply.framed(reply.pieces[0]))
        gate.pass_one()
        exchange.reset()

    def read(http):
        with pytest.raises(httpx.RemoteProtocolError):
            post(http, stream=True)
        return True

    with proxy.http() as http:
        post(http, FAR)
        model.will(breaks)
        both = [in_background(lambda: read(http))]
        model.wait_for_requests(2)
        both.append(in_background(lambda: read(http)))
        proxy.wait_for_readers(2)
        gate.open()
        assert [one.result(30) for one in both] == [True, True]
        assert model.calls == 2
        assert len(proxy.cache) == 1
        assert headers_of(post(http, stream=True))["cache"] == "miss"


def test_nobody_joins_with_another_key_good_or_bad(model, proxy):
    gate = Gate()
    with proxy.http() as alice, proxy.http("sk-bob") as bob, proxy.http("sk-nobody") as nobody:
        for http in (alice, bob):
            post(http, FAR)
        model.will(paced(gate))
        gate.allow(1)
        first = in_background(lambda: post(alice, stream=True))
        gate.wait_until_sent(1)
        assert post(nobody, stream=True).status_code == 401
        own = post(bob, stream=True)
        assert headers_of(own)["reason"] == "below_threshold"
        assert "bob" in own.text
        assert "alice" not in own.text
        gate.open()
        assert "bob" not in first.result(30).text
    assert model.calls == 4


def grouped():
    known = [
        KnownKey(name=name, sha256=sha256(key.encode()).hexdigest(), tenant="both")
        for name, key in (("alice", "sk-alice"), ("bob", "sk-bob"))
    ]
    return {"keys": {"accept": "configured", "known": tuple(known)}}


@pytest.mark.parametrize("status", [400, 402, 404, 429, 503])
def test_what_the_upstream_refuses_to_one_key_is_asked_again_with_the_other(model, status):
    gate = Gate()

    def refuse(exchange):
        gate.pass_one()
        answers(status, {"error": {"message": "not you"}})(exchange)

    with serving(model, tables=grouped()) as proxy, proxy.http() as alice, proxy.http("sk-bob") as bob:
        model.will(refuse)
        first = in_background(lambda: post(alice))
        model.wait_for_requests(1)
        second = in_background(lambda: post(bob))
        proxy.wait_for_readers(2)
        gate.open()
        assert first.result(30).status_code == status
        assert second.result(30).status_code == 200
    assert model.calls == 2


def test_who_joins_a_refusal_is_told_when_to_ask_again(model, proxy):
    gate = Gate()

    def refuse(exchange):
        gate.pass_one()
        more = {"retry_after": "7", "retry_after_ms": "6500", "x_should_retry": "true", "set_cookie": "a=b"}
        answers(429, {"error": {"message": "slowly"}}, **more)(exchange)

    with proxy.http() as http:
        post(http, FAR)
        model.will(refuse)
        both = [in_background(lambda: post(http))]
        model.wait_for_requests(2)
        both.append(in_background(lambda: post(http)))
        proxy.wait_for_readers(2)
        gate.open()
        first, joined = (one.result(30) for one in both)
    assert (first.status_code, joined.status_code) == (429, 429)
    for name in ("retry-after", "retry-after-ms", "x-should-retry", "content-type"):
        assert joined.headers[name] == first.headers[name]
    assert "set-cookie" not in joined.headers


@pytest.mark.parametrize(
    "spoilt",
    [b'"\\ud800', b'"\xed\xa0\x80', b'"x":NaN,"', b'"model":"other","'],
    ids=["half", "raw", "nan", "twice"],
)
def test_what_readers_may_take_in_two_ways_is_for_who_asked_alone(model, proxy, spoilt):
    gate = Gate()

    def spoil(exchange):
        gate.pass_one()
        body = exchange.reply.body
        exchange.reply.pieces = [body.replace(b'"', spoilt, 1)]
        exchange.send_reply()

    with proxy.http() as http:
        post(http, FAR)
        model.will(spoil)
        first = in_background(lambda: post(http))
        model.wait_for_requests(2)
        second = in_background(lambda: post(http, stream=True))
        proxy.wait_for_readers(2)
        gate.open()
        assert spoilt in first.result(30).content
        own = second.result(30)
    assert said_in(own) == f"trial tells alice about «{QUESTION}» (call 3)"
    proxy.wait_until_quiet()
    assert sorted(one.stored for one in proxy.records) == ["malformed", "stored", "stored"]


def test_figures_beyond_all_use_are_none(model):
    gate = Gate()

    def boast(exchange):
        gate.pass_one()
        many = b'"prompt_tokens": 1' + 4000 * b"0"
        exchange.reply.pieces = [exchange.reply.body.replace(b'"prompt_tokens": ', many)]
        exchange.send_reply()

    prices = {"cache": {"prices": {"trial": (1.0, 1.0)}}}
    with serving(model, tables=prices) as proxy, proxy.http() as http:
        post(http, FAR)
        model.will(boast)
        first = in_background(lambda: post(http))
        model.wait_for_requests(2)
        second = in_background(lambda: post(http))
        proxy.wait_for_readers(2)
        gate.open()
        assert first.result(30).content == second.result(30).content
        proxy.wait_until_quiet()
        (joined,) = (one for one in proxy.records if one.reason == "joined")
    assert (joined.saved.input_tokens, joined.saved.cost) == (0, 0.0)


def test_a_crowd_larger_than_the_pool_of_lookups_is_served_by_the_cache(model, proxy):
    async def main():
        headers = {"authorization": "Bearer sk-alice"}
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(base_url=proxy.url, headers=headers, limits=limits, timeout=60) as http:
            await http.post("/v1/chat/completions", json=chat_body(QUESTION))
            crowd = [http.post("/v1/chat/completions", json=chat_body(QUESTION)) for _ in range(300)]
            return [headers_of(reply).get("reason") for reply in await asyncio.gather(*crowd)]

    assert "cache_busy" not in asyncio.run(main())
    assert model.calls == 1


def test_a_request_over_the_limit_is_refused_and_told_like_any_other(model):
    limited = serving(model, tables={"limits": {"max_concurrent": 1}})
    with limited as proxy, proxy.http() as http, proxy.http() as another:
        gate = Gate()
        model.will(paced(gate))
        first = in_background(lambda: post(another, QUESTION))
        model.wait_for_requests(1)
        refused = post(http, FAR)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        told = proxy.record(of=1)
        assert (told.status, told.outcome, told.reason) == (503, "bypass", "overloaded")
        assert told.response_bytes == len(refused.content)
        gate.open()
        assert first.result(30).status_code == 200
