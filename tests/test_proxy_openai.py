"""OpenAI's own SDK through the proxy: what it gets is what the model would have said."""

import asyncio

import openai
import pytest
from pydantic import BaseModel

from binary_semantic_cache.text import clock
from model_misdeeds import answers
from model_server import ModelServer
from proxy_server import chat_body, headers_of, serving

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"
FAR = "how many legs does a spider have"
USAGE = {"include_usage": True}


class Answer(BaseModel):
    answer: str
    number: int


@pytest.fixture
def model():
    with ModelServer() as made:
        yield made


@pytest.fixture
def proxy(model):
    with serving(model) as made:
        yield made


@pytest.fixture(scope="module")
def both():
    """A model and a proxy for tests that leave nothing behind."""
    with ModelServer() as model, serving(model) as proxy:
        yield model, proxy


@pytest.fixture
def client(proxy):
    with proxy.openai() as made:
        yield made


def ask(client, content=QUESTION, headers=None, **more):
    """The completion, and what the proxy said of it."""
    client.settled()
    raw = client.chat.completions.with_raw_response.create(
        **chat_body(content, **more), extra_headers=headers or {}
    )
    return raw.parse(), headers_of(raw)


def text_of(stream) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


# Hits


def test_the_first_question_is_a_miss_and_its_repeat_the_same_answer(model, client):
    first, told = ask(client)
    again, told_again = ask(client)
    assert first == again
    assert first.choices[0].message.content == f"trial tells alice about «{QUESTION}» (call 1)"
    assert told["cache"] == "miss"
    assert told_again["cache"] == "exact"
    assert told_again["similarity"] == "1.0000"
    assert float(told_again["age"]) < 60
    assert int(told_again["saved-tokens"]) == first.usage.total_tokens
    assert {"entry", "hit", "saved-cost", "saved-seconds"} <= told_again.keys()
    assert model.calls == 1


def test_a_question_in_other_words_is_a_semantic_hit_that_says_how_near(model, proxy, client):
    first, _ = ask(client)
    near, told = ask(client, NEAR)
    assert near == first
    assert told["cache"] == "semantic"
    assert 0.8 <= float(told["similarity"]) < 1
    far, told = ask(client, FAR)
    assert FAR in far.choices[0].message.content
    assert told["cache"] == "miss"
    assert proxy.cache.report(ask(client, NEAR)[1]["hit"])
    assert ask(client, NEAR)[1]["cache"] == "miss"


@pytest.mark.parametrize("other", [{"model": "trial-2"}, {"temperature": 0.5}, {"seed": 7}, {"n": 2}])
def test_another_model_or_parameter_is_another_question(model, client, other):
    ask(client)
    assert ask(client, **other)[1]["cache"] == "miss"
    assert model.calls == 2


def test_a_stream_is_served_from_a_whole_answer(model, client):
    whole, _ = ask(client)
    with client.chat.completions.stream(**chat_body(QUESTION), stream_options=USAGE) as stream:
        streamed = stream.get_final_completion()
    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert streamed.choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert streamed.usage == whole.usage
    assert (streamed.id, streamed.created, streamed.model) == (whole.id, whole.created, whole.model)
    assert streamed.system_fingerprint == whole.system_fingerprint
    assert model.calls == 1


def test_a_whole_answer_is_served_from_a_stream_that_had_its_usage(model, client):
    chunks = list(client.chat.completions.create(**chat_body(QUESTION, stream=True, stream_options=USAGE)))
    whole, told = ask(client)
    assert told["cache"] == "exact"
    assert whole.choices[0].message.content == text_of(chunks)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.object == "chat.completion"
    assert whole.usage == chunks[-1].usage
    assert model.calls == 1


def test_a_stream_without_usage_serves_streams_but_nobody_who_is_promised_usage(model, client):
    text = text_of(client.chat.completions.create(**chat_body(QUESTION, stream=True)))
    assert text_of(client.chat.completions.create(**chat_body(QUESTION, stream=True))) == text
    assert model.calls == 1
    whole, told = ask(client)
    assert (told["cache"], told["reason"]) == ("miss", "unsuitable")
    assert whole.usage is not None
    assert ask(client)[1]["cache"] == "exact"


def test_a_stream_that_passes_is_the_models_own_byte_by_byte(model, proxy):
    body = chat_body(QUESTION, stream=True)
    with proxy.http() as http:
        ours = http.post("/v1/chat/completions", json=body)
        theirs = http.post(f"{model.url}/v1/chat/completions", json=body)
    second_as_first = theirs.content.replace(b"chatcmpl-2", b"chatcmpl-1").replace(b"2)", b"1)")
    assert ours.content == second_as_first.replace(b"1790000002", b"1790000001")
    assert ours.headers["content-type"] == theirs.headers["content-type"]


def test_several_choices_come_back_from_either_form(model, client):
    whole, _ = ask(client, n=2)
    chunks = list(client.chat.completions.create(**chat_body(QUESTION, n=2, stream=True)))
    for index in (0, 1):
        said = "".join(
            choice.delta.content or ""
            for chunk in chunks
            for choice in chunk.choices
            if choice.index == index
        )
        assert said == whole.choices[index].message.content
    assert model.calls == 1


def test_reasoning_is_kept_in_both_forms(client):
    whole, _ = ask(client, model="trial-thinking")
    chunks = list(client.chat.completions.create(**chat_body(QUESTION, "trial-thinking", stream=True)))
    reasoning = "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks)
    assert reasoning == whole.choices[0].message.reasoning_content


def test_the_asynchronous_client_gets_the_same(model, proxy):
    async def main():
        async with openai.AsyncOpenAI(
            base_url=f"{proxy.url}/v1", api_key="sk-alice", max_retries=0
        ) as client:
            whole = await client.chat.completions.create(**chat_body(QUESTION))
            proxy.wait_until_quiet()
            stream = await client.chat.completions.create(**chat_body(NEAR, stream=True))
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return whole.choices[0].message.content, "".join(pieces)

    whole, streamed = asyncio.run(main())
    assert whole == streamed
    assert model.calls == 1


# Tools and structured output


def test_a_tool_call_passes_and_is_not_kept(model, proxy, client):
    for _ in range(2):
        with client.chat.completions.stream(**chat_body(QUESTION, "trial-tools")) as stream:
            (call,) = stream.get_final_completion().choices[0].message.tool_calls
        assert call.function.arguments == '{"city": "Paris", "unit": "celsius"}'
        assert ask(client, model="trial-tools")[1]["cache"] == "miss"
    assert model.calls == 4
    assert {proxy.record(place, of=4).stored for place in range(4)} == {"tool_call"}


def test_a_tool_call_is_kept_where_the_configuration_says_so(model):
    with (
        serving(model, tables={"cache": {"tool_calls": True}}, tool_calls=True) as proxy,
        proxy.openai() as client,
    ):
        whole, _ = ask(client, model="trial-tools")
        with client.chat.completions.stream(**chat_body(QUESTION, "trial-tools")) as stream:
            streamed = stream.get_final_completion()
        ours, theirs = (one.choices[0].message.tool_calls[0] for one in (streamed, whole))
        assert (ours.id, ours.function.name, ours.function.arguments) == (
            theirs.id,
            theirs.function.name,
            theirs.function.arguments,
        )
        assert streamed.choices[0].finish_reason == "tool_calls"
        assert model.calls == 1


def test_structured_output_is_parsed_from_a_hit_of_either_form(model, client):
    body = chat_body(QUESTION, "trial-json")
    first = client.chat.completions.parse(**body, response_format=Answer)
    again = client.chat.completions.parse(**body, response_format=Answer)
    with client.chat.completions.stream(**body, response_format=Answer) as stream:
        streamed = stream.get_final_completion()
    parsed = [one.choices[0].message.parsed for one in (first, again, streamed)]
    assert parsed[0].number == 1
    assert parsed[0] == parsed[1] == parsed[2]
    assert model.calls == 1


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("length", "truncated"), ("filter", "content_filter"), ("refusal", "refused"), ("empty", "empty")],
)
def test_an_answer_that_is_none_passes_and_is_not_kept(model, proxy, client, kind, stored):
    whole, _ = ask(client, model=f"trial-{kind}")
    chunks = list(client.chat.completions.create(**chat_body(QUESTION, f"trial-{kind}", stream=True)))
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert model.calls == 2
    assert [proxy.record(place, of=2).stored for place in (0, 1)] == [stored, stored]
    assert len(proxy.cache) == 0


# Errors


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529])
def test_an_error_is_the_upstreams_own_to_the_byte(both, status, stream):
    model, proxy = both
    error = {"error": {"message": "no", "type": "some_error", "param": "x", "code": "y"}}
    model.will(answers(status, error, retry_after="7"), answers(status, error, retry_after="7"))
    body = chat_body(f"{QUESTION} {status} {stream}", stream=stream)
    told = len(proxy.records)
    with proxy.http() as http:
        theirs = http.post(f"{model.url}/v1/chat/completions", json=body)
        ours = http.post("/v1/chat/completions", json=body)
    assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
    assert ours.headers["retry-after"] == "7"
    assert headers_of(ours)["cache"] == "miss"
    assert proxy.record(of=told + 1).stored == "status"


def test_the_sdk_raises_what_it_would_have_raised(model, client):
    model.will(answers(429, {"error": {"message": "slow down", "code": "rate"}}))
    with pytest.raises(openai.RateLimitError, match="slow down"):
        ask(client)
    assert ask(client)[1]["cache"] == "miss"


def test_an_upstream_that_is_not_there_is_a_bad_gateway_in_the_apis_words(model):
    nobody = "http://127.0.0.1:9"
    with serving(nobody) as proxy, proxy.openai() as client:
        with pytest.raises(openai.InternalServerError) as raised:
            ask(client)
        assert raised.value.status_code == 502
        assert raised.value.body["message"].startswith("the upstream could not be reached")
        assert "127.0.0.1" not in str(raised.value)


# Steering


def test_exact_mode_takes_no_other_words(model, client):
    ask(client)
    _, told = ask(client, NEAR, {"x-bsc-mode": "exact"})
    assert (told["cache"], told["reason"]) == ("miss", "exact_only")
    assert ask(client, NEAR, {"x-bsc-mode": "exact"})[1]["cache"] == "exact"


@pytest.mark.parametrize("headers", [{"x-bsc-mode": "refresh"}, {"cache-control": "no-cache"}])
def test_refresh_asks_the_model_and_keeps_the_newer_answer(model, client, headers):
    ask(client)
    newer, told = ask(client, headers=headers)
    assert (told["cache"], told["reason"]) == ("miss", "mode")
    assert newer.choices[0].message.content.endswith("(call 2)")
    kept, told = ask(client)
    assert told["cache"] == "exact"
    assert kept == newer


@pytest.mark.parametrize("headers", [{"x-bsc-mode": "no-store"}, {"cache-control": "no-store"}])
def test_no_store_keeps_nothing_and_may_be_served(model, proxy, client, headers):
    assert ask(client, headers=headers)[1]["cache"] == "miss"
    assert len(proxy.cache) == 0
    ask(client)
    assert ask(client, headers=headers)[1]["cache"] == "exact"


@pytest.mark.parametrize("headers", [{"x-bsc-mode": "no-store"}, {"cache-control": "no-store"}])
def test_no_store_leaves_no_content_on_the_page_either(model, proxy, client, headers):
    ask(client)
    for n, question in enumerate((QUESTION, NEAR, FAR), 2):
        ask(client, question, headers)
        told = proxy.record(of=n)
        assert (told.request, told.prompt) == (None, None)
        assert told.tenant
        assert told.model == "trial"
    assert [one.outcome for one in proxy.records] == ["miss", "exact", "semantic", "miss"]


def test_of_a_models_name_a_record_keeps_the_beginning(proxy):
    with proxy.http() as http:
        http.post("/v1/chat/completions", json=chat_body(model="m" * 2**20))
    assert proxy.record(of=1).model == "m" * 200


@pytest.mark.parametrize("headers", [{"x-bsc-mode": "bypass"}, {"cache-control": "no-store, no-cache"}])
def test_bypass_neither_looks_nor_keeps(model, proxy, client, headers):
    ask(client)
    _, told = ask(client, headers=headers)
    assert (told["cache"], told["reason"]) == ("bypass", "mode")
    assert proxy.record(of=2).stored == ""
    assert model.calls == 2
    assert ask(client, FAR, headers)[1]["cache"] == "bypass"
    assert len(proxy.cache) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"x-bsc-mode": "sometimes"},
        {"x-bsc-ttl": "soon"},
        {"x-bsc-ttl": "0"},
        {"x-bsc-ttl": "nan"},
        {"x-bsc-ttl": "-1"},
        {"x-bsc-threshold": "2"},
        {"x-bsc-threshold": "near"},
        {"x-bsc-scope": "x" * 2000},
    ],
)
def test_a_malformed_header_is_a_bad_request_in_the_apis_words(model, client, headers):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, headers=headers)
    assert raised.value.type == "invalid_request_error"
    assert next(iter(headers)) in raised.value.body["message"]
    assert model.calls == 0


def test_a_scope_shares_with_nobody_who_does_not_say_the_same(model, client):
    ask(client, headers={"x-bsc-scope": "team a"})
    for headers in ({}, {"x-bsc-scope": "team b"}):
        assert ask(client, headers=headers)[1]["cache"] == "miss"
    assert ask(client, headers={"x-bsc-scope": "team a"})[1]["cache"] == "exact"


def test_a_threshold_may_only_be_stricter(model, client):
    ask(client)
    _, told = ask(client, NEAR, {"x-bsc-threshold": "0.999", "x-bsc-mode": "no-store"})
    assert (told["cache"], told["reason"]) == ("miss", "below_threshold")
    assert ask(client, FAR, {"x-bsc-threshold": "0.0", "x-bsc-mode": "no-store"})[1]["cache"] == "miss"
    assert ask(client, NEAR, {"x-bsc-threshold": "0.0"})[1]["cache"] == "semantic"


def test_an_answer_lives_as_long_as_its_caller_said(model, client, monkeypatch):
    times = [1e9, 1000.0]
    monkeypatch.setattr(clock, "time", lambda: times[0])
    monkeypatch.setattr(clock, "monotonic", lambda: times[1])
    ask(client, headers={"x-bsc-ttl": "10"})
    ask(client, FAR)
    times[:] = [1e9 + 9, 1009.0]
    assert ask(client)[1]["cache"] == "exact"
    times[:] = [1e9 + 11, 1011.0]
    assert ask(client)[1]["cache"] == "miss"
    assert ask(client, FAR)[1]["cache"] == "exact"


def test_replies_tell_nothing_where_they_must_not(model):
    with serving(model, tables={"steering": {"response_headers": False}}) as proxy, proxy.openai() as client:
        assert ask(client)[1] == ask(client)[1] == {}
        assert model.calls == 1


def test_in_shadow_mode_every_answer_is_the_models_and_the_record_says_what_would_have_been(model):
    with serving(model, tables={"cache": {"mode": "shadow"}}) as proxy, proxy.openai() as client:
        ask(client)
        _, told = ask(client, NEAR)
        assert (told["cache"], told["reason"]) == ("miss", "shadow")
        assert proxy.record(of=2).would_be == "semantic"
        assert model.calls == 2


# What passes


def test_what_is_not_cached_passes_with_query_and_body(model, proxy):
    with proxy.http() as http:
        reply = http.post("/v1/files?purpose=x%20y", content=b"\x00\xff" * 1000)
        models = http.get("/v1/models")
    assert reply.json() == {
        "method": "POST",
        "target": "/v1/files?purpose=x%20y",
        "owner": "alice",
        "bytes": 2000,
    }
    assert model.asked[0].body == b"\x00\xff" * 1000
    assert headers_of(reply) == {"cache": "bypass", "reason": "not_cached"}
    assert [one["id"] for one in models.json()["data"]]


def test_a_question_goes_to_the_model_as_it_came(model, proxy):
    raw = b'{ "messages":[{"content":"h\\u00e9","role":"user"}],\n"model":"trial", "api_base":"http://x" }'
    with proxy.http() as http:
        http.post("/v1/chat/completions?a=1", content=raw, headers={"content-type": "application/json"})
    (asked,) = model.asked
    assert (asked.body, asked.target) == (raw, "/v1/chat/completions?a=1")
