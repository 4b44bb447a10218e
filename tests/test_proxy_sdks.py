"""The providers' own clients read what is played, and what is kept, as what it is."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import numpy as np
import openai
import pytest
from hypothesis import HealthCheck, given, settings

from answer_server import AnswerServer
from api_answers import CHATS, COMPLETIONS, MESSAGES, RESPONSES
from binary_semantic_cache.proxy.apis.all import APIS, error_body

USAGE = {"stream": True, "stream_options": {"include_usage": True}}
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
# What the clients add to an answer of their own.
ADDED = {"parsed", "parsed_arguments", "parsed_output", "index"}
MANY = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def server() -> Iterator[AnswerServer]:
    server = AnswerServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def openai_client(server: AnswerServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=server.url + "/v1", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def anthropic_client(server: AnswerServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client:
        yield client


def plain(value: Any) -> Any:
    """The value without what clients add, and without the nulls and empty lists that they leave out."""
    if isinstance(value, dict):
        kept = {key: plain(member) for key, member in value.items() if key not in ADDED}
        return {key: member for key, member in kept.items() if member not in (None, [])}
    return [plain(member) for member in value] if isinstance(value, list) else value


def without(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in names}


def play(server: AnswerServer, path: str, answer: dict[str, Any]) -> None:
    server.say(b"".join(APIS[path].play(answer, USAGE)), "text/event-stream; charset=utf-8")


@MANY
@given(CHATS)
def test_openais_client_puts_a_played_chat_together(
    server: AnswerServer, openai_client: openai.OpenAI, answer: dict[str, Any]
) -> None:
    # The client forgets what it does not know beside the choices and in them, and refuses a cut answer.
    answer = without(answer, "x_vendor")
    choices = [without(choice, "stop_reason") for choice in answer["choices"]]
    answer["choices"] = [{**choice, "finish_reason": "stop"} for choice in choices]
    play(server, "/v1/chat/completions", answer)
    with openai_client.chat.completions.stream(**ASKED) as stream:
        final = stream.get_final_completion().to_dict(mode="json")
    assert plain(final) == plain(answer)


@MANY
@given(RESPONSES)
def test_openais_client_puts_a_played_response_together(
    server: AnswerServer, openai_client: openai.OpenAI, answer: dict[str, Any]
) -> None:
    play(server, "/v1/responses", answer)
    with openai_client.responses.stream(model="m", input="q") as stream:
        events = list(stream)
        final = stream.get_final_response().to_dict(mode="json")
    assert plain(final) == plain(answer)
    assert [event.sequence_number for event in events] == list(range(len(events)))


@MANY
@given(RESPONSES)
def test_the_events_of_a_played_response_join_to_its_texts(
    server: AnswerServer, openai_client: openai.OpenAI, answer: dict[str, Any]
) -> None:
    play(server, "/v1/responses", answer)
    texts: dict[tuple[int, int], str] = {}
    for event in openai_client.responses.create(model="m", input="q", stream=True):
        if event.type == "response.output_text.delta":
            at = (event.output_index, event.content_index)
            texts[at] = texts.get(at, "") + event.delta
        elif event.type == "response.output_text.done":
            at = (event.output_index, event.content_index)
            assert event.text == texts.pop(at, "")
            assert event.text == answer["output"][at[0]]["content"][at[1]]["text"]
    assert texts == {}


@MANY
@given(COMPLETIONS)
def test_openais_client_reads_a_played_completion(
    server: AnswerServer, openai_client: openai.OpenAI, answer: dict[str, Any]
) -> None:
    play(server, "/v1/completions", answer)
    texts = [""] * len(answer["choices"])
    usage = None
    for chunk in openai_client.completions.create(model="m", prompt="q", stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
        usage = chunk.usage
    assert texts == [choice["text"] for choice in answer["choices"]]
    assert usage is not None
    assert usage.to_dict(mode="json") == answer["usage"]


@MANY
@given(MESSAGES)
def test_anthropics_client_puts_a_played_message_together(
    server: AnswerServer, anthropic_client: anthropic.Anthropic, answer: dict[str, Any]
) -> None:
    # Known to the client of the beta alone.
    answer = without(answer, "context_management")
    answer["content"] = [block for block in answer["content"] if block["type"] != "mcp_tool_use"]
    play(server, "/v1/messages", answer)
    with anthropic_client.messages.stream(**ASKED, max_tokens=9) as stream:
        final = stream.get_final_message().to_dict(mode="json")
    assert plain(final) == plain(answer)


@MANY
@given(MESSAGES)
def test_anthropics_client_of_the_beta_puts_a_played_message_together(
    server: AnswerServer, anthropic_client: anthropic.Anthropic, answer: dict[str, Any]
) -> None:
    play(server, "/v1/messages", answer)
    with anthropic_client.beta.messages.stream(**ASKED, max_tokens=9) as stream:
        final = stream.get_final_message().to_dict(mode="json")
    assert plain(final) == plain(answer)


@MANY
@given(CHATS, RESPONSES, MESSAGES)
def test_the_clients_read_kept_bodies(
    server: AnswerServer,
    openai_client: openai.OpenAI,
    anthropic_client: anthropic.Anthropic,
    chat: dict[str, Any],
    response: dict[str, Any],
    message: dict[str, Any],
) -> None:
    server.say(json.dumps(chat).encode())
    assert openai_client.chat.completions.create(**ASKED).to_dict(mode="json") == chat
    server.say(json.dumps(response).encode())
    assert openai_client.responses.create(model="m", input="q").to_dict(mode="json") == response
    server.say(json.dumps(message).encode())
    assert anthropic_client.beta.messages.create(**ASKED, max_tokens=9).to_dict(mode="json") == message


def test_openais_client_reads_kept_embeddings_in_base64(
    server: AnswerServer, openai_client: openai.OpenAI
) -> None:
    row = np.array([0.5, -0.25], dtype="<f4")
    data = [{"object": "embedding", "index": 0, "embedding": base64.b64encode(row.tobytes()).decode()}]
    answer = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    assert APIS["/v1/embeddings"].suits(answer, {"model": "m", "input": "a"})
    server.say(json.dumps(answer).encode())
    assert openai_client.embeddings.create(model="m", input="a").data[0].embedding == [0.5, -0.25]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504])
def test_the_clients_read_errors_of_the_proxys_own(
    server: AnswerServer, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, status: int
) -> None:
    server.say(json.dumps(error_body("openai", status, "no such mode")).encode(), status=status)
    with pytest.raises(openai.APIStatusError, match="no such mode") as caught:
        openai_client.chat.completions.create(**ASKED)
    assert caught.value.status_code == status
    assert caught.value.type in ("invalid_request_error", "rate_limit_error", "server_error")
    server.say(json.dumps(error_body("anthropic", status, "no such mode")).encode(), status=status)
    with pytest.raises(anthropic.APIStatusError, match="no such mode") as told:
        anthropic_client.messages.create(**ASKED, max_tokens=9)
    assert told.value.status_code == status
    assert told.value.type is not None
