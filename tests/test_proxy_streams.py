"""Streams are put together into the answers they say, however their bytes are cut; others into nothing."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache.proxy.apis import Assembler
from binary_semantic_cache.proxy.apis.all import APIS
from binary_semantic_cache.proxy.sse import Event, EventReader
from binary_semantic_cache.text.admission import Refusal, refusal_to_store, usage_of

STREAMS = Path(__file__).parent / "fixtures" / "streams"
PATHS = {
    "chat": "/v1/chat/completions",
    "completion": "/v1/completions",
    "message": "/v1/messages",
    "response": "/v1/responses",
}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}

# What each stream says, text by text, and why the answer is not stored, if it is not.
WHOLE: dict[str, tuple[list[str], Refusal | None]] = {
    "chat-text": (["The capital of France is Paris."], None),
    "chat-usage": (["Paris."], None),
    "chat-tool-calls": (['{"location":"Paris, France"}', "{}"], Refusal.TOOL_CALL),
    "chat-function-call": (['{"word": "tide"}'], Refusal.TOOL_CALL),
    "chat-refusal": (["I can't help with that."], Refusal.REFUSED),
    "chat-length": (["Once upon a"], Refusal.TRUNCATED),
    "chat-three-choices": (["Blue", "Red.", "Green"], None),
    "chat-logprobs": (["Yes!"], None),
    "chat-unicode-crlf": (["Zażółć 日本 👩‍👩‍👧 a\u2028b"], None),
    "chat-reasoning": (["Odd.", "17 is odd."], None),
    "chat-annotations": (["See the docs."], None),
    "chat-cut-surrogates": (["Hi 😀!"], None),
    "completion-text": (["The tide is high"], None),
    "completion-logprobs": ([" tides"], None),
    "message-text": (["Hello, the tide is high."], None),
    "message-tool-use": (["I'll check.", "San Francisco"], Refusal.TOOL_CALL),
    "message-thinking": (["Let me count.", "Three."], None),
    "message-citations": (["The sea is salt.", " So swim."], None),
    "message-web-search": (["tide today", "High at noon."], None),
    "message-max-tokens": (["Once upon a"], Refusal.TRUNCATED),
    "message-refusal": (["I"], Refusal.REFUSED),
    "message-unicode-cr": (["naïve 日本 👋🏽"], None),
    "response-text": (["Hi there!"], None),
    "response-reasoning": (["**Adding** 2 and 2", "4"], None),
    "response-function-call": (['{"location":"Paris"}'], Refusal.TOOL_CALL),
    "response-incomplete": (["Once upon"], Refusal.TRUNCATED),
    "response-refusal": (["I can't help with that."], Refusal.REFUSED),
}
BROKEN = {
    "chat-error-in-the-middle": "error",
    "chat-audio": "unknown_delta",
    "message-error-in-the-middle": "error",
    "message-unknown-event": "unknown_event",
    "message-unknown-delta": "unknown_delta",
    "response-failed": "error",
    "response-error-in-the-middle": "error",
    "response-lost-item": "malformed",
}


def path_of(name: str) -> str:
    return PATHS[name.partition("-")[0]]


def assembler_of(name: str) -> Assembler:
    return APIS[path_of(name)].assembler()


def read(name: str) -> bytes:
    return (STREAMS / f"{name}.sse").read_bytes()


def feed(assembler: Assembler, reader: EventReader, chunk: bytes) -> Any:
    for event in reader.feed(chunk):
        assembler.feed(event)
    return assembler.answer()


def assembled(name: str, stream: bytes) -> Any:
    return feed(assembler_of(name), EventReader(), stream)


def texts(value: Any) -> Iterator[str]:
    """All that an answer says, in its order."""
    if isinstance(value, list):
        for member in value:
            yield from texts(member)
    elif isinstance(value, dict):
        for key, member in value.items():
            spoken = (
                "content",
                "text",
                "refusal",
                "thinking",
                "arguments",
                "reasoning_content",
                "query",
                "location",
            )
            if isinstance(member, str) and key in spoken and member:
                yield member
            elif key in (
                "choices",
                "message",
                "content",
                "output",
                "summary",
                "tool_calls",
                "input",
                "function",
                "function_call",
            ):
                yield from texts(member)


def test_every_recorded_stream_is_tested() -> None:
    assert {path.stem for path in STREAMS.iterdir()} == WHOLE.keys() | BROKEN.keys()


@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_is_put_together_into_what_it_says(name: str) -> None:
    said, refusal = WHOLE[name]
    answer = assembled(name, read(name))
    assert sorted(texts(answer)) == sorted(said)
    assert refusal_to_store(answer, max_response_bytes=10_000) == refusal


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_from_a_stream_suits_who_asks_for_such_a_stream(name: str) -> None:
    api, answer = APIS[path_of(name)], assembled(name, read(name))
    assert api.suits(answer, {"stream": True, "input": "q"})
    assert api.suits(answer, USAGE) == (usage_of(answer) is not None)
    assert api.suits(answer, {}) == (usage_of(answer) is not None)


@pytest.mark.parametrize("name", WHOLE)
def test_what_was_assembled_is_played_and_assembled_to_itself(name: str) -> None:
    answer = assembled(name, read(name))
    body = USAGE if "usage" in answer else {"stream": True}
    assert assembled(name, b"".join(APIS[path_of(name)].play(answer, body))) == answer


@pytest.mark.parametrize("name", WHOLE)
def test_no_prefix_of_a_stream_is_an_answer(name: str) -> None:
    stream = read(name)
    assembler, reader = assembler_of(name), EventReader()
    # The last event counts when its blank line has come: one line end is not enough.
    last = len(stream.rstrip(b"\r\n")) + 1
    for at in range(last):
        assert feed(assembler, reader, stream[at : at + 1]) is None
        assert assembler.failure is None
    assert feed(assembler, reader, stream[last:]) == assembled(name, stream)


@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_in_two_parts_says_the_same_wherever_it_is_cut(name: str) -> None:
    stream = read(name)
    whole = EventReader().feed(stream)
    for cut in range(len(stream)):
        reader = EventReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == whole


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_no_answer_at_any_point(name: str) -> None:
    stream = read(name)
    assembler, reader = assembler_of(name), EventReader()
    for at in range(len(stream)):
        assert feed(assembler, reader, stream[at : at + 1]) is None
    assert assembler.failure == BROKEN[name]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    ("event", "failure"),
    [
        (Event("", "{}"), "malformed"),
        (Event("", "nonsense"), "malformed"),
        (Event("error", '{"type":"error","error":{"type":"api_error"}}'), "error"),
    ],
)
def test_what_follows_the_end_takes_the_answer_back(name: str, event: Event, failure: str) -> None:
    assembler = assembler_of(name)
    assert feed(assembler, EventReader(), read(name)) is not None
    assembler.feed(event)
    assert assembler.answer() is None
    assert assembler.failure == failure


CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(**choice: Any) -> str:
    return json.dumps({**CHUNK, "choices": [{"index": 0, **choice}]})


HOSTILE = {
    "no JSON": "{",
    "a list": "[]",
    "a number": "3",
    "no choices": "{}",
    "choices that are none": '{"choices":[1]}',
    "a key twice": '{"choices":[],"id":"a","id":"b"}',
    "a key twice inside": '{"choices":[{"index":0,"delta":{"content":"a","content":"b"}}]}',
    "not a number": '{"choices":[],"x":NaN}',
    "infinity": '{"choices":[],"x":1e999}',
    "a long integer": '{"choices":[],"x":' + "9" * 5000 + "}",
    "deep": '{"choices":[],"x":' + "[" * 60 + "]" * 60 + "}",
    "very deep": '{"choices":[],"x":' + "[" * 100_000 + "]" * 100_000 + "}",
    "a negative index": chunk(index=-1),
    "a bool for an index": chunk(index=True),
    "no index": chunk(index=None),
    "a delta that is none": chunk(delta="a"),
    "calls that are none": chunk(delta={"tool_calls": [3]}),
    "calls without index": chunk(delta={"tool_calls": [{"id": "a"}]}),
    "a function that is none": chunk(delta={"tool_calls": [{"index": 0, "function": "f"}]}),
    "usage that is none": json.dumps({**CHUNK, "choices": [], "usage": 3}),
    "logprobs that are none": chunk(logprobs=[1]),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_chunk_is_given_up_at_once(data: str) -> None:
    assembler = APIS["/v1/chat/completions"].assembler()
    assembler.feed(Event("", chunk(delta={"content": "a"}, finish_reason="stop")))
    assembler.feed(Event("", data))
    assert assembler.failure == "malformed"
    assembler.feed(Event("", "[DONE]"))
    assert assembler.answer() is None


@pytest.mark.parametrize(
    "deltas",
    [
        [{"tool_calls": [{"index": 0, "id": "a"}]}, {"tool_calls": [{"index": 0, "id": "b"}]}],
        [{"function_call": {"name": "get"}}, {"function_call": {"name": "get"}}],
        [{"role": "assistant"}, {"role": "user"}],
        [{"mood": ["calm"]}, {"mood": ["glad"]}],
        [{"level": 1}, {"level": 2}],
        [{"content": "a"}, {"content": ["b"]}],
        [{"annotations": {"a": 1}}],
        [{"audio": {"id": "a"}}],
    ],
)
def test_what_can_be_joined_in_more_ways_than_one_is_not_kept(deltas: list[Any]) -> None:
    assembler = APIS["/v1/chat/completions"].assembler()
    for delta in deltas:
        assembler.feed(Event("", chunk(delta=delta)))
    assert assembler.failure == "unknown_delta"


def test_what_servers_repeat_with_each_chunk_is_kept_once() -> None:
    assembler = APIS["/v1/chat/completions"].assembler()
    for text in ("Hi", " you"):
        call = {"index": 0, "id": "call", "type": "function", "function": {"arguments": text}}
        delta = {"role": "assistant", "content": text, "tool_calls": [call], "level": 1}
        assembler.feed(Event("", chunk(delta=delta, native_finish_reason="end")))
    assembler.feed(Event("", "[DONE]"))
    answer = assembler.answer()
    assert answer is not None
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi you",
                "tool_calls": [{"id": "call", "type": "function", "function": {"arguments": "Hi you"}}],
                "level": 1,
            },
            "native_finish_reason": "end",
        }
    ]


def test_a_huge_index_takes_no_room_and_is_not_kept() -> None:
    tracemalloc.start()
    assembler = APIS["/v1/chat/completions"].assembler()
    assembler.feed(Event("", chunk(index=10**9, delta={"content": "a"})))
    assembler.feed(Event("", chunk(delta={"tool_calls": [{"index": 10**9, "id": "a"}]})))
    assembler.feed(Event("", "[DONE]"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000
    assert assembler.answer() is None
    assert assembler.failure == "malformed"


def test_half_a_character_is_not_kept() -> None:
    assembler = APIS["/v1/chat/completions"].assembler()
    assembler.feed(Event("", chunk(delta={"content": "Hi \ud83d"}, finish_reason="stop")))
    assembler.feed(Event("", "[DONE]"))
    assert assembler.answer() is None
    assert assembler.failure == "malformed"


VALUES = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        10**9,
        2.5,
        "",
        "a",
        "assistant",
        "text_delta",
        "stop",
        [],
        [1],
        [{}],
        {},
        {"index": 0},
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all members of a JSON value."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        yield (*path, key)
        yield from places(member, (*path, key))


@given(st.data())
def test_no_stream_makes_an_assembler_raise(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(WHOLE)))
    events = EventReader().feed(read(name))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(events) - 1))
        event = events[at]
        said = {} if event.data == "[DONE]" else json.loads(event.data)
        paths = sorted(places(said), key=repr)
        if not paths:
            continue
        path = data.draw(st.sampled_from(paths))
        holder = said
        for step in path[:-1]:
            holder = holder[step]
        if data.draw(st.booleans()):
            holder[path[-1]] = data.draw(VALUES)
        else:
            del holder[path[-1]]
        events[at] = Event(data.draw(st.sampled_from([event.name, "", "error", "ping"])), json.dumps(said))
    if data.draw(st.booleans()):
        events = data.draw(st.permutations(events))
    assembler = assembler_of(name)
    for event in events:
        assembler.feed(event)
    answer = assembler.answer()
    assert (answer is None) or assembler.failure is None
    if answer is not None and APIS[path_of(name)].suits(answer, {"stream": True}):
        refusal_to_store(answer, max_response_bytes=10_000)
        assert b"".join(APIS[path_of(name)].play(answer, {"stream": True}))


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.binary(max_size=40), max_size=5))
def test_garbage_is_never_an_answer(name: str, chunks: list[bytes]) -> None:
    assembler, reader = assembler_of(name), EventReader()
    for raw in (*chunks, b"\n\n", *(b"data: " + raw + b"\n\n" for raw in chunks)):
        assert feed(assembler, reader, raw) is None
