"""A kept answer is played as a stream that says all of it."""

import itertools
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_answers import CHATS, COMPLETIONS, MESSAGES, RESPONSES, TEXTS
from binary_semantic_cache.errors import InvalidTypeError
from binary_semantic_cache.proxy.apis.all import APIS
from binary_semantic_cache.proxy.apis.pieces import pieces
from binary_semantic_cache.proxy.sse import Event, EventReader
from binary_semantic_cache.text.request import ExactOnly

USAGE = {"stream": True, "stream_options": {"include_usage": True}}
ANSWERS = {
    "/v1/chat/completions": CHATS,
    "/v1/completions": COMPLETIONS,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
}
PLAYED = st.sampled_from(sorted(ANSWERS)).flatmap(lambda path: st.tuples(st.just(path), ANSWERS[path]))


def assembled(path: str, stream: bytes) -> Any:
    """What the stream is put together to."""
    assembler, reader = APIS[path].assembler(), EventReader()
    for event in reader.feed(stream):
        assembler.feed(event)
    assert assembler.failure is None
    return assembler.answer()


@given(PLAYED)
def test_a_played_answer_is_assembled_to_itself(played: tuple[str, dict[str, Any]]) -> None:
    path, answer = played
    assert APIS[path].suits(answer, USAGE)
    assert assembled(path, b"".join(APIS[path].play(answer, USAGE))) == answer


@given(CHATS)
def test_a_chat_that_was_not_asked_for_its_usage_does_not_tell_it(answer: dict[str, Any]) -> None:
    path = "/v1/chat/completions"
    told = assembled(path, b"".join(APIS[path].play(answer, {"stream": True})))
    assert told == {key: value for key, value in answer.items() if key != "usage"}
    assert APIS[path].suits(told, {"stream": True})
    assert not APIS[path].suits(told, USAGE)
    assert not APIS[path].suits(told, {})


@pytest.mark.parametrize("path", sorted(ANSWERS))
def test_each_api_stands_under_its_own_path(path: str) -> None:
    assert APIS[path].path == path


LONG = "word " * 200_000


def chat_of(**message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 1}}


def message_of(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"id": "m", "type": "message", "content": list(blocks), "stop_reason": "end_turn", "usage": {}}


def response_of(*items: dict[str, Any]) -> dict[str, Any]:
    return {"id": "r", "object": "response", "status": "completed", "output": list(items), "usage": {}}


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/chat/completions", chat_of(content=LONG)),
        ("/v1/completions", {"choices": [{"index": 0, "text": LONG}], "usage": {}}),
        ("/v1/messages", message_of({"type": "text", "text": LONG})),
        (
            "/v1/responses",
            response_of({"type": "message", "content": [{"type": "output_text", "text": LONG}]}),
        ),
    ],
)
def test_a_long_answer_is_played_piece_by_piece(path: str, answer: dict[str, Any]) -> None:
    stream = APIS[path].play(answer, {"stream": True})
    tracemalloc.start()
    first = list(itertools.islice(stream, 20))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < len(LONG) / 10
    assert b"word word" in b"".join(first)
    assert max(map(len, first)) < 1000


@given(TEXTS)
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_pieces_are_a_few_words_cut_between_words() -> None:
    assert list(pieces("one two three four five\n\nsix ")) == ["one two three four", " five\n\nsix", " "]


@pytest.mark.parametrize("text", [LONG, " " * 10**6, "a" * 10**6, "水" * 10**6, " \n" * 10**5 + "a"])
def test_no_piece_is_long(text: str) -> None:
    found = list(pieces(text))
    assert "".join(found) == text
    assert max(map(len, found)) <= 400


EMBEDDING = {"object": "embedding", "index": 0, "embedding": [0.5, 1]}
TOKENS_USED = {"prompt_tokens": 1, "total_tokens": 1}


def embeddings_of(*rows: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(rows), "model": "m", "usage": TOKENS_USED}


@pytest.mark.parametrize("asked", ["a", ["a"], [1, 2, 3], [[1, 2, 3]]])
def test_one_embedding_answers_one_input_of_any_form(asked: Any) -> None:
    assert APIS["/v1/embeddings"].suits(embeddings_of(EMBEDDING), {"input": asked})


@pytest.mark.parametrize(
    "answer",
    [
        {},
        embeddings_of(),
        embeddings_of(EMBEDDING),
        embeddings_of(EMBEDDING, EMBEDDING),
        embeddings_of({**EMBEDDING, "index": 1}, EMBEDDING),
        embeddings_of(EMBEDDING, {**EMBEDDING, "index": 1, "embedding": [1]}),
        embeddings_of(EMBEDDING, {**EMBEDDING, "index": 1, "embedding": [1, None]}),
        embeddings_of(EMBEDDING, {**EMBEDDING, "index": 1, "embedding": [1, math.nan]}),
        embeddings_of(EMBEDDING, {**EMBEDDING, "index": 1, "embedding": [1, 10**400]}),
        embeddings_of(EMBEDDING, {**EMBEDDING, "index": 1, "embedding": "?"}),
        embeddings_of(*({**EMBEDDING, "index": i, "embedding": ""} for i in range(2))),
        embeddings_of(EMBEDDING, 3),
        {**embeddings_of(EMBEDDING, {**EMBEDDING, "index": 1}), "usage": None},
    ],
)
def test_embeddings_that_are_not_one_for_each_input_suit_nobody(answer: dict[str, Any]) -> None:
    api = APIS["/v1/embeddings"]
    assert api.suits(embeddings_of(EMBEDDING, {**EMBEDDING, "index": 1}), {"input": ["a", "b"]})
    assert not api.suits(answer, {"input": ["a", "b"]})


@pytest.mark.parametrize("path", sorted(APIS))
@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": [], "usage": {}},
        {"choices": [1], "usage": {}},
        {"output": 1},
        {"content": "a"},
        {"data": 3},
    ],
)
def test_what_is_no_answer_of_an_api_suits_nobody(path: str, answer: dict[str, Any]) -> None:
    assert not APIS[path].suits(answer, {"input": "a"})
    assert not APIS[path].suits(answer, {"input": "a", "stream": True})


@pytest.mark.parametrize("logprobs", ["x", [1], {"tokens": 3}, {"tokens": ["a"], "top_logprobs": {"a": 1}}])
def test_a_completion_whose_tokens_cannot_be_played_suits_nobody(logprobs: Any) -> None:
    choice = {"index": 0, "text": "a b", "logprobs": logprobs, "finish_reason": "stop"}
    answer = {"object": "text_completion", "choices": [choice], "usage": {}}
    api = APIS["/v1/completions"]
    assert not api.suits(answer, USAGE)
    choice["logprobs"] = {"tokens": ["a", " b"], "top_logprobs": None}
    assert api.suits(answer, USAGE)
    assert list(api.play(answer, USAGE))


@pytest.mark.parametrize("annotations", [3, "x", {"a": 1}])
def test_a_response_whose_annotations_are_no_list_suits_nobody(annotations: Any) -> None:
    part = {"type": "output_text", "text": "a b", "annotations": annotations}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    answer = {"object": "response", "id": "r", "status": "completed", "output": [item], "usage": {}}
    api = APIS["/v1/responses"]
    assert not api.suits(answer, {})
    part["annotations"] = None
    assert api.suits(answer, {})
    assert list(api.play(answer, {}))


def test_an_answer_that_is_heard_suits_nobody() -> None:
    answer = chat_of(content=None, audio={"id": "a", "data": "AAAA", "expires_at": 1, "transcript": "Hi"})
    assert not APIS["/v1/chat/completions"].suits(answer, {})


def test_a_stream_of_unknown_options_is_not_played() -> None:
    api, answer = APIS["/v1/chat/completions"], chat_of(content="Hi")
    for options in ({}, {"include_usage": True}, {"include_obfuscation": True}, {"new": False}):
        assert api.suits(answer, {"stream": True, "stream_options": options})
    assert not api.suits(answer, {"stream": True, "stream_options": {"continuous_usage_stats": True}})


@pytest.mark.parametrize("path", sorted(ANSWERS))
@pytest.mark.parametrize("field", [{"stream": "yes"}, {"stream": 1}, {"stream": True, "stream_options": 3}])
def test_a_body_that_others_might_read_as_a_stream_is_refused(path: str, field: dict[str, Any]) -> None:
    api = APIS[path]
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}], "input": "q", "prompt": "q"}
    assert api.request(body).text == "q"
    with pytest.raises(InvalidTypeError, match=r"^stream"):
        api.request({**body, **field})


def test_embeddings_are_never_streamed() -> None:
    api = APIS["/v1/embeddings"]
    assert api.request({"input": "a", "stream": True}).exact_only is ExactOnly.NO_TEXT
    assert not api.wants_stream({"input": "a", "stream": True})
    assembler = api.assembler()
    assembler.feed(Event("", "{}"))
    assert assembler.failure == "unknown_event"
