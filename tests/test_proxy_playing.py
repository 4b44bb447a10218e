"""A kept answer is played as a stream that says all of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_answers import CHATS, COMPLETIONS, MESSAGES, RESPONSES
from binary_semantic_cache.proxy.apis.all import APIS
from binary_semantic_cache.proxy.sse import EventReader

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
