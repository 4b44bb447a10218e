"""OpenAI's responses, completions and embeddings through the proxy, by OpenAI's own SDK."""

import json

import pytest
from pydantic import BaseModel

from model_misdeeds import error_event
from model_server import ModelServer
from proxy_server import headers_of, serving

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"


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


@pytest.fixture
def client(proxy):
    with proxy.openai() as made:
        yield made


def ask(client, content=QUESTION, model="trial", **more):
    client.settled()
    raw = client.responses.with_raw_response.create(model=model, input=content, **more)
    return raw.parse(), headers_of(raw)


def streamed(client, content=QUESTION, model="trial", **more):
    """The kinds of the events, and what the SDK made of them all."""
    client.settled()
    with client.responses.stream(model=model, input=content, **more) as stream:
        kinds = [event.type for event in stream]
        return kinds, stream.get_final_response()


def plain(response) -> dict:
    """As JSON, without what the SDK's parser adds to it."""
    return json.loads(response.to_json(exclude_none=True).replace('"parsed": null,', ""))


def test_a_response_is_repeated_and_found_by_its_meaning(model, client):
    first, told = ask(client)
    assert first.output_text == f"trial tells alice about «{QUESTION}» (call 1)"
    again, told_again = ask(client)
    assert (told["cache"], told_again["cache"]) == ("miss", "exact")
    assert plain(again) == plain(first)
    assert ask(client, NEAR)[1]["cache"] == "semantic"
    assert model.calls == 1


@pytest.mark.parametrize("kind", ["trial", "trial-thinking", "trial-long"])
def test_a_stream_of_a_kept_response_says_what_the_models_own_says(model, client, kind):
    own_kinds, own = streamed(client, model=kind)
    kinds, played = streamed(client, model=kind)
    whole, told = ask(client, model=kind)
    assert told["cache"] == "exact"
    assert plain(played) == plain(own)
    assert played.output_text == own.output_text == whole.output_text
    assert without_repeats(kinds) == without_repeats(own_kinds)
    assert played.usage == own.usage
    assert model.calls == 1


def without_repeats(kinds: list[str]) -> list[str]:
    """The order of the kinds; pieces may be cut elsewhere."""
    return [kind for place, kind in enumerate(kinds) if kind != kinds[place - 1] or place == 0]


def test_a_stream_is_served_from_a_whole_response(model, client):
    whole, _ = ask(client)
    _, played = streamed(client)
    assert played.output_text == whole.output_text
    assert model.calls == 1


def test_structured_output_is_parsed_from_a_hit(model, client):
    parsed = []
    for _ in range(2):
        client.settled()
        reply = client.responses.parse(model="trial-json", input=QUESTION, text_format=Answer)
        parsed.append(reply.output_parsed)
    assert parsed[0] == parsed[1]
    assert parsed[0].number == 1
    assert model.calls == 1


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("length", "truncated"), ("filter", "content_filter"), ("refusal", "refused"), ("tools", "tool_call")],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_that_is_none_passes_and_is_not_kept(model, proxy, client, kind, stored, stream):
    for call in (1, 2):
        if stream:
            list(client.responses.create(model=f"trial-{kind}", input=QUESTION, stream=True))
        else:
            ask(client, model=f"trial-{kind}")
        assert proxy.record(of=call).stored == stored
    assert model.calls == 2
    assert len(proxy.cache) == 0


def test_a_response_that_goes_on_from_another_is_answered_from_exact_repeats_alone(model, client):
    ask(client, previous_response_id="resp_0")
    assert ask(client, NEAR, previous_response_id="resp_0")[1]["cache"] == "miss"
    assert ask(client, previous_response_id="resp_0")[1]["cache"] == "exact"


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_words_in_a_conversation_are_asked_anew_each_time(model, proxy, client, stream):
    for call in (1, 2, 3):
        made = client.responses.create(model="trial", input=QUESTION, conversation="conv_0", stream=stream)
        if stream:
            list(made)
        client.settled()
        told = proxy.record(of=call)
        assert (told.outcome, told.reason) == ("bypass", "state")
    assert model.calls == 3
    assert len(proxy.cache) == 0


def test_an_error_in_a_stream_reaches_the_sdk_and_nothing_is_kept(model, proxy, client):
    model.will(error_event(3))
    events = list(client.responses.create(model="trial", input=QUESTION, stream=True))
    assert events[-1].type == "error"
    assert proxy.record(of=1).stored == "error"
    assert ask(client)[1]["cache"] == "miss"


def test_older_completions_are_cached_in_both_forms(model, client):
    text = client.completions.create(model="trial", prompt=QUESTION).choices[0].text
    client.settled()
    pieces = client.completions.create(model="trial", prompt=QUESTION, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == text
    client.settled()
    raw = client.completions.with_raw_response.create(model="trial", prompt=NEAR)
    assert headers_of(raw)["cache"] == "semantic"
    assert model.calls == 1


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_are_kept_for_exact_repeats_alone(model, client, form):
    made = []
    for given in (["a b", "c"], ["a b", "c"], ["c", "a b"]):
        client.settled()
        raw = client.embeddings.with_raw_response.create(model="trial", input=given, encoding_format=form)
        made.append((raw.parse(), headers_of(raw)["cache"]))
    assert [cache for _, cache in made] == ["miss", "exact", "miss"]
    assert made[0][0] == made[1][0]
    assert [one.embedding for one in made[2][0].data] == [one.embedding for one in made[0][0].data][::-1]
    assert model.calls == 2


def test_what_is_asked_of_a_response_by_its_id_passes(model, proxy):
    with proxy.http() as http:
        got = http.get("/v1/responses/resp_1")
        gone = http.delete("/v1/responses/resp_1")
        cancelled = http.post("/v1/responses/resp_1/cancel")
    assert [reply.json()["method"] for reply in (got, gone, cancelled)] == ["GET", "DELETE", "POST"]
    assert {headers_of(reply)["cache"] for reply in (got, gone, cancelled)} == {"bypass"}
