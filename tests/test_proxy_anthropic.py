"""Anthropic's own SDK through the proxy: what it gets is what the model would have said."""

import asyncio
import json

import anthropic
import httpx
import pytest

from model_misdeeds import altered, answers, error_event
from model_server import ModelServer
from proxy_server import chat_body, headers_of, message_body, serving

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"
VERSION = {"anthropic-version": "2023-06-01"}
TOOL = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture
def model():
    with ModelServer() as made:
        yield made


@pytest.fixture
def proxy(model):
    with serving(model) as made:
        yield made


@pytest.fixture
def client(proxy):
    with proxy.anthropic() as made:
        yield made


def ask(client, content=QUESTION, headers=None, **more):
    """The message, and what the proxy said of it."""
    client.settled()
    raw = client.messages.with_raw_response.create(
        **message_body(content, **more), extra_headers=headers or {}
    )
    return raw.parse(), headers_of(raw)


def streamed(client, content=QUESTION, **more) -> anthropic.types.Message:
    client.settled()
    with client.messages.stream(**message_body(content, **more)) as stream:
        return stream.get_final_message()


def plain(message) -> dict:
    return json.loads(message.to_json())


def test_the_first_question_is_a_miss_and_its_repeat_the_same_answer(model, client):
    first, told = ask(client)
    again, told_again = ask(client)
    assert first == again
    assert first.content[0].text == f"trial tells alice about «{QUESTION}» (call 1)"
    assert (told["cache"], told_again["cache"]) == ("miss", "exact")
    assert int(told_again["saved-tokens"]) == first.usage.input_tokens + first.usage.output_tokens
    assert ask(client, NEAR)[1]["cache"] == "semantic"
    assert model.calls == 1


@pytest.mark.parametrize("kind", ["trial", "trial-thinking", "trial-long"])
def test_a_stream_is_served_from_a_whole_answer_and_says_the_same(model, client, kind):
    whole, _ = ask(client, model=kind)
    assert plain(streamed(client, model=kind)) == plain(whole)
    assert model.calls == 1


@pytest.mark.parametrize("kind", ["trial", "trial-thinking", "trial-long"])
def test_a_whole_answer_is_served_from_a_stream_and_says_the_same(model, client, kind):
    stream = streamed(client, model=kind)
    whole, told = ask(client, model=kind)
    assert told["cache"] == "exact"
    assert plain(whole) == plain(stream)
    assert model.calls == 1


def test_the_asynchronous_client_gets_the_same(model, proxy):
    async def main():
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="sk-alice", max_retries=0) as client:
            whole = await client.messages.create(**message_body(QUESTION))
            proxy.wait_until_quiet()
            async with client.messages.stream(**message_body(NEAR)) as stream:
                texts = [text async for text in stream.text_stream]
        return whole.content[0].text, texts

    whole, texts = asyncio.run(main())
    assert "".join(texts) == whole
    assert len(texts) > 1
    assert model.calls == 1


@pytest.mark.parametrize("other", [{"system": "Be brief."}, {"max_tokens": 50}, {"tools": [TOOL]}])
def test_another_system_prompt_limit_or_tool_is_another_question(model, client, other):
    ask(client)
    assert ask(client, **other)[1]["cache"] == "miss"
    assert model.calls == 2


def test_a_marker_for_the_providers_own_cache_is_no_other_question(model, client):
    ask(client)
    marked = [{"type": "text", "text": QUESTION, "cache_control": {"type": "ephemeral"}}]
    assert ask(client, marked)[1]["cache"] == "exact"


def test_a_beta_is_another_question(model, client):
    ask(client)
    assert ask(client, headers={"anthropic-beta": "context-1m"})[1]["cache"] == "miss"
    assert ask(client, headers={"anthropic-beta": "context-1m"})[1]["cache"] == "exact"


@pytest.mark.parametrize("name", ["anthropic-workspace-id", "anthropic-user-profile-id", "anthropic-new"])
def test_who_it_is_asked_for_reaches_the_provider_and_is_another_question(model, client, name):
    for who in ("one", "two"):
        assert ask(client, headers={name: who})[1]["cache"] == "miss"
        assert model.asked[-1].header(name) == who
        assert ask(client, headers={name: who})[1]["cache"] == "exact"


def test_a_tool_call_passes_and_is_not_kept(model, proxy, client):
    for _ in range(2):
        (block,) = streamed(client, model="trial-tools", tools=[TOOL]).content
        assert (block.name, block.input) == ("get_weather", {"city": "Paris", "unit": "celsius"})
    assert model.calls == 2
    assert proxy.record(of=2).stored == "tool_call"


def test_a_tool_call_is_kept_where_the_configuration_says_so(model):
    with (
        serving(model, tables={"cache": {"tool_calls": True}}, tool_calls=True) as proxy,
        proxy.anthropic() as client,
    ):
        whole, _ = ask(client, model="trial-tools", tools=[TOOL])
        assert plain(streamed(client, model="trial-tools", tools=[TOOL])) == plain(whole)
        assert model.calls == 1


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("length", "truncated"), ("filter", "refused"), ("refusal", "refused"), ("empty", "empty")],
)
def test_an_answer_that_is_none_passes_and_is_not_kept(model, proxy, client, kind, stored):
    whole, _ = ask(client, model=f"trial-{kind}")
    assert streamed(client, model=f"trial-{kind}").stop_reason == whole.stop_reason
    assert model.calls == 2
    assert [proxy.record(place, of=2).stored for place in (0, 1)] == [stored, stored]


def test_an_error_is_the_upstreams_own(model, proxy, client):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    model.will(answers(529, error), answers(529, error))
    with pytest.raises(anthropic.APIStatusError, match="Overloaded") as raised:
        ask(client)
    assert raised.value.status_code == 529
    with proxy.http() as http:
        reply = http.post("/v1/messages", json=message_body(QUESTION), headers=VERSION)
    assert reply.content == json.dumps(error).encode()


def test_an_error_in_a_stream_reaches_the_sdk_and_nothing_is_kept(model, proxy, client):
    model.will(error_event(4))
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        streamed(client)
    assert proxy.record(of=1).stored == "error"
    assert ask(client)[1]["cache"] == "miss"


def test_errors_of_the_proxys_own_are_in_the_apis_words(model, client):
    with pytest.raises(anthropic.BadRequestError, match="x-bsc-mode"):
        ask(client, headers={"x-bsc-mode": "sometimes"})
    with (
        serving("http://127.0.0.1:9") as lonely,
        lonely.anthropic() as other,
        pytest.raises(anthropic.APIStatusError) as raised,
    ):
        ask(other)
    assert raised.value.status_code == 502
    assert raised.value.body["type"] == "error"


def test_a_revoked_key_is_told_so_in_the_apis_words(model, client):
    model.revoke("sk-alice")
    with pytest.raises(anthropic.AuthenticationError, match="invalid key"):
        ask(client)


def test_counting_tokens_and_listing_models_pass_to_anthropic(model, proxy):
    with proxy.http() as http:
        counted = http.post("/v1/messages/count_tokens", json=message_body(), headers=VERSION)
        listed = http.get("/v1/models", headers=VERSION)
    assert counted.json()["target"] == "/v1/messages/count_tokens"
    assert listed.status_code == 200
    assert [asked.header("anthropic-version") for asked in model.asked] == ["2023-06-01"] * 2


def test_the_two_apis_go_to_two_upstreams(model):
    with ModelServer() as other:
        tables = {"upstream": {"openai": f"{other.url}/v1", "anthropic": model.url}}
        with serving(model, tables=tables) as proxy, proxy.http() as http:
            assert http.post("/v1/messages", json=message_body(), headers=VERSION).status_code == 200
            assert http.post("/v1/chat/completions", json=chat_body()).status_code == 200
            http.get("/v1/models", headers=VERSION)
            http.get("/v1/models")
        paths = [[asked.path for asked in one.asked] for one in (model, other)]
    assert paths == [["/v1/messages", "/v1/models"], ["/v1/chat/completions", "/v1/models"]]


def test_a_stream_of_events_has_the_providers_headers(model, proxy):
    with proxy.http() as http:
        body = message_body(QUESTION, stream=True)
        replies: list[httpx.Response] = []
        for _ in range(2):
            replies.append(http.post("/v1/messages", json=body, headers=VERSION))
            proxy.wait_until_quiet()
    passed, played = replies
    assert passed.headers["content-type"] == played.headers["content-type"]
    assert headers_of(played)["cache"] == "exact"
    assert [line for line in passed.text.splitlines() if line.startswith("event:")][
        -1
    ] == "event: message_stop"
    assert played.text.rstrip().endswith('{"type":"message_stop"}')


FAILED_SEARCH = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
}


def search_failed(said):
    """An answer, or its events, with a search in it that failed."""
    if isinstance(said, dict):
        return said | {"content": [FAILED_SEARCH, *said["content"]]}
    events = (
        {"type": "content_block_start", "index": 1, "content_block": FAILED_SEARCH},
        {"type": "content_block_stop", "index": 1},
    )
    written = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    end = next(place for place, piece in enumerate(said) if b"event: message_delta" in piece)
    return [*said[:end], *written, *said[end:]]


@pytest.mark.parametrize("as_stream", [False, True])
def test_an_answer_after_a_search_that_failed_is_passed_on_and_not_kept(model, proxy, client, as_stream):
    model.will(altered(search_failed))
    given = streamed(client) if as_stream else ask(client)[0]
    assert "web_search_tool_result" in [part.type for part in given.content]
    client.settled()
    assert proxy.record(of=1).stored == "tool_failed"
    assert ask(client)[1]["cache"] == "miss"
    assert model.calls == 2
