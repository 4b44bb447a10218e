"""The model's server itself: the official SDKs take it for the real thing."""

import asyncio
import json

import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel

from model_misdeeds import Gate, answers, compressed, cut, drip, error_event, paced, unended
from model_server import ModelServer

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
                "required": ["city", "unit"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
]


class Answer(BaseModel):
    answer: str
    number: int


@pytest.fixture
def server():
    with ModelServer() as made:
        yield made


@pytest.fixture
def chat(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-alice", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(server):
    with anthropic.Anthropic(base_url=server.url, api_key="sk-bob", max_retries=0) as client:
        yield client


def ask(content="what is it", model="trial", **more):
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


def test_openai_chat_answers_whole_and_as_a_stream(chat):
    whole = chat.chat.completions.create(**ask())
    assert whole.choices[0].message.content == "trial tells alice about «what is it» (call 1)"
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(chat.chat.completions.create(**ask(stream=True, stream_options={"include_usage": True})))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "trial tells alice about «what is it» (call 2)"
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize("model", ["trial", "trial-json", "trial-tools", "trial-thinking"])
def test_openai_chat_streams_what_it_answers_whole(chat, model):
    whole = chat.chat.completions.create(**ask(model=model))
    with chat.chat.completions.stream(**ask(model=model)) as stream:
        streamed = stream.get_final_completion()
    ours, theirs = whole.choices[0].message, streamed.choices[0].message
    assert (theirs.content or "").replace("(call 2)", "(call 1)").replace(": 2}", ": 1}") == (
        ours.content or ""
    )
    assert [call.function.arguments for call in theirs.tool_calls or []] == [
        call.function.arguments for call in ours.tool_calls or []
    ]


def test_openai_chat_parses_structured_output_and_tools(chat):
    parsed = chat.chat.completions.parse(**ask(model="trial-json"), response_format=Answer)
    assert parsed.choices[0].message.parsed.number == 1
    called = chat.chat.completions.parse(**ask(model="trial-tools"), tools=TOOLS)
    (call,) = called.choices[0].message.tool_calls
    assert call.function.parsed_arguments == {"city": "Paris", "unit": "celsius"}


@pytest.mark.parametrize("model", ["trial", "trial-tools", "trial-thinking", "trial-refusal", "trial-length"])
def test_openai_responses_stream_what_they_answer_whole(chat, model):
    whole = chat.responses.create(model=model, input="what is it")
    with chat.responses.stream(model=model, input="what is it") as stream:
        kinds = [event.type for event in stream]
    assert kinds[0] == "response.created"
    assert kinds[-1] == f"response.{whole.status}"
    again = chat.responses.create(model=model, input="what is it")
    assert again.output_text.replace("3", "1") == whole.output_text


@pytest.mark.parametrize("model", ["trial", "trial-tools", "trial-thinking", "trial-refusal", "trial-length"])
def test_anthropic_streams_what_it_answers_whole(claude, model):
    whole = claude.messages.create(**ask(model=model), max_tokens=100)
    with claude.messages.stream(**ask(model=model), max_tokens=100) as stream:
        streamed = stream.get_final_message()
    assert whole.id == "msg_1"
    assert json.loads(streamed.to_json().replace("call 2", "call 1").replace("msg_2", "msg_1")) == json.loads(
        whole.to_json()
    )


def test_completions_embeddings_and_models_answer(chat):
    assert chat.completions.create(model="trial", prompt="Once").choices[0].text.startswith("trial tells")
    pieces = chat.completions.create(model="trial", prompt="Once", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == "trial tells alice about «Once» (call 2)"
    made = chat.embeddings.create(model="trial", input=["a", "b"])
    assert [len(one.embedding) for one in made.data] == [8, 8]
    floats = chat.embeddings.create(model="trial", input="a", encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(made.data[0].embedding)
    assert "trial" in [model.id for model in chat.models.list()]


def test_both_sdks_answer_asynchronously(server):
    async def main():
        one = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-alice", max_retries=0)
        other = anthropic.AsyncAnthropic(base_url=server.url, api_key="sk-bob", max_retries=0)
        async with one, other:
            said = await one.chat.completions.create(**ask())
            async with other.messages.stream(**ask(), max_tokens=10) as stream:
                texts = [text async for text in stream.text_stream]
        return said.choices[0].message.content, "".join(texts)

    assert asyncio.run(main()) == (
        "trial tells alice about «what is it» (call 1)",
        "trial tells bob about «what is it» (call 2)",
    )


def test_keys_that_are_unknown_or_revoked_are_refused(server, chat, claude):
    server.revoke("sk-alice")
    with pytest.raises(openai.AuthenticationError, match="invalid key"):
        chat.chat.completions.create(**ask())
    server.revoke("sk-bob")
    with pytest.raises(anthropic.AuthenticationError, match="invalid key"):
        claude.messages.create(**ask(), max_tokens=10)
    assert server.calls == 0


def test_a_request_is_kept_as_it_came(server, chat):
    chat.chat.completions.create(**ask("hé"), extra_headers={"X-Twice": "1"}, extra_query={"a": "b"})
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/v1/chat/completions?a=b")
    assert asked.header("x-twice") == "1"
    assert asked.json() == ask("hé")


def test_it_does_wrong_once_and_then_behaves(server, chat):
    server.will(answers(429, {"error": {"message": "slow down"}}, retry_after="1"))
    with pytest.raises(openai.RateLimitError, match="slow down"):
        chat.chat.completions.create(**ask())
    assert chat.chat.completions.create(**ask()).choices[0].message.content.endswith("(call 2)")


@pytest.mark.parametrize("misdeed", [cut(50), cut(50, reset=True)])
def test_a_stream_that_is_cut_is_an_error_of_the_connection(server, chat, misdeed):
    server.will(misdeed)
    with pytest.raises((openai.APIConnectionError, httpx.TransportError)):
        list(chat.chat.completions.create(**ask(stream=True)))


def test_a_stream_without_its_end_looks_whole_to_http(server, chat):
    server.will(unended(300))
    assert list(chat.chat.completions.create(**ask(stream=True)))


def test_an_error_within_a_stream_is_one_for_the_sdk(server, chat, claude):
    server.will(error_event(2), error_event(2))
    with pytest.raises(openai.APIError, match="no"):
        list(chat.chat.completions.create(**ask(stream=True)))
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        list(claude.messages.create(**ask(stream=True), max_tokens=10))


@pytest.mark.parametrize("misdeed", [compressed("gzip"), compressed("deflate"), drip])
def test_bodies_may_be_compressed_or_come_byte_by_byte(server, chat, misdeed):
    server.will(misdeed)
    assert chat.chat.completions.create(**ask()).choices[0].message.content.endswith("(call 1)")


def test_a_gate_lets_a_stream_through_piece_by_piece(server, chat):
    gate = Gate()
    server.will(paced(gate))
    gate.allow(2)
    stream = iter(chat.chat.completions.create(**ask(stream=True)))
    assert next(stream).choices[0].delta.role == "assistant"
    assert next(stream).choices[0].delta.content == "trial"
    gate.open()
    assert len(list(stream)) > 3
