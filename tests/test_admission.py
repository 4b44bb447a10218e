"""Which answers are stored, and that they come back as they were."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache.errors import CorruptFileError, InvalidValueError, UnsavableResponseError
from binary_semantic_cache.text.admission import Refusal, Usage, cost_of, refusal_to_store, usage_of
from binary_semantic_cache.text.canonical import MAX_DEPTH
from binary_semantic_cache.text.payload import decode_response, encode_response

STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)


def spelled(value: Any) -> Any:
    """A value and its types, so that 1, 1.0 and True differ, and 0.0 and -0.0."""
    if isinstance(value, dict):
        return {key: spelled(member) for key, member in value.items()}
    return [spelled(member) for member in value] if isinstance(value, list) else repr(value)


@given(STRINGS | st.binary() | JSONS.filter(lambda value: value is not None))
def test_what_is_stored_comes_back(response: Any) -> None:
    kind, payload = encode_response(response)
    assert spelled(decode_response(kind, payload)) == spelled(response)


@pytest.mark.parametrize(
    "number", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**900, -(256**9), 255**9]
)
def test_integers_of_any_length_come_back(number: int) -> None:
    assert decode_response(*encode_response([number])) == [number]


def test_a_tuple_comes_back_as_a_list() -> None:
    assert decode_response(*encode_response((1, {"a": (2,)}))) == [1, {"a": [2]}]


def test_each_answer_is_a_new_object() -> None:
    stored = encode_response({"a": []})
    first = decode_response(*stored)
    first["a"].append(1)
    assert decode_response(*stored) == {"a": []}


class Text(str):
    __slots__ = ()


class Model:
    def model_dump(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (None, "got None"),
        ({"choices": [object()]}, "at choices[0]"),
        ({"a": {"b": [0, {1, 2}]}}, "at a.b[1]"),
        ({"a": b"x"}, "bytes at a"),
        ({"a": {1: 2}}, "a key of type int at a"),
        ([math.nan], "not finite at [0]"),
        (math.inf, "not finite"),
        (Text("x"), "type Text"),
        ([Text("x")], "type Text at [0]"),
        (bytearray(b"x"), "bytearray"),
        ("\ud800", "lone surrogate"),
        (["\ud800"], "lone surrogate at [0]"),
        ({"\ud800": 1}, "lone surrogate"),
        (Model(), "model_dump"),
        ({"a": Model()}, ".model_dump() of it"),
    ],
)
def test_what_would_not_come_back_is_refused_by_its_path(response: Any, message: str) -> None:
    with pytest.raises(UnsavableResponseError) as caught:
        encode_response(response)
    assert message in str(caught.value)


def test_nesting_is_stored_to_the_limit() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert decode_response(*encode_response(deep)) == deep
    with pytest.raises(UnsavableResponseError, match="deeper"):
        encode_response([deep])
    deep = []
    deep.append(deep)
    with pytest.raises(UnsavableResponseError, match="deeper"):
        encode_response(deep)


DAMAGED = [("text", b"\xff"), ("pickle", b"x")]
DAMAGED += [("data", raw.encode("latin-1")) for raw in ("", "\x92\x01", "\x01\x01", "\xc1")]
DAMAGED += [("data", raw.encode("latin-1")) for raw in ("\xd4\x05\x00", "\x81\x01\x02", "\xa1\xff")]


@pytest.mark.parametrize(("kind", "payload"), DAMAGED)
def test_a_damaged_answer_is_a_typed_error(kind: str, payload: bytes) -> None:
    with pytest.raises(CorruptFileError):
        decode_response(kind, payload)


def chat(message: dict[str, Any] | None = None, stop: Any = "stop", **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Yes."} if message is None else message
    return {"object": "chat.completion", "choices": [{"message": message, "finish_reason": stop}], **fields}


def responses(*items: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"object": "response", "status": status, "error": None, "output": list(items), **fields}


def said(text: str = "Yes.", kind: str = "output_text", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "status": "completed", "content": [{"type": kind, "text": text}], **fields}


def message(*parts: dict[str, Any], stop: Any = "end_turn", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts), "stop_reason": stop, **fields}


def failed_item() -> dict[str, Any]:
    return {"type": "web_search_call", "status": "failed"}


def failed_result(tool: str) -> dict[str, Any]:
    error = {"type": f"{tool}_tool_result_error", "error_code": "unavailable"}
    return {"type": f"{tool}_tool_result", "tool_use_id": "1", "content": error}


TEXT = {"type": "text", "text": "Yes."}

ADMITTED: list[Any] = [
    "Yes.",
    b"\x00",
    0,
    False,
    [0],
    {"a": 1},
    {"error": None, "a": 1},
    {"error": 0.5, "mean": 2},
    {"choices": ["red", "blue"]},
    {"status": "failed", "output": "of another kind"},
    chat(),
    chat({"content": [{"type": "text", "text": "Yes."}]}),
    chat({"content": None, "audio": {"data": "x"}}),
    {"object": "text_completion", "choices": [{"text": "Yes.", "finish_reason": "stop"}]},
    responses(said()),
    responses({"type": "reasoning"}, {"type": "web_search_call", "status": "completed"}, said()),
    responses({"type": "mcp_list_tools", "tools": [], "error": None}, said()),
    responses({"type": "image_generation_call", "result": "x"}),
    message(TEXT),
    message({"type": "thinking", "thinking": "..."}, TEXT, stop="stop_sequence"),
    message({"type": "server_tool_use"}, TEXT),
    message({"type": "server_tool_use"}, {"type": "web_search_tool_result", "content": []}, TEXT),
    # The code ended badly, which the model saw and could speak of; the tool did what it was asked.
    message(
        {
            "type": "bash_code_execution_tool_result",
            "content": {"type": "bash_code_execution_result", "return_code": 1, "stderr": "x"},
        },
        TEXT,
    ),
    message({"type": "text", "text": "Yes.", "is_error": True}),
]


@pytest.mark.parametrize("response", ADMITTED)
def test_a_complete_answer_is_stored(response: Any) -> None:
    assert refusal_to_store(response, max_response_bytes=1000) is None


REFUSED: list[tuple[Any, Refusal]] = [
    (None, Refusal.EMPTY),
    ("", Refusal.EMPTY),
    (" \n\u00a0", Refusal.EMPTY),
    (b" ", Refusal.EMPTY),
    ([], Refusal.EMPTY),
    ({}, Refusal.EMPTY),
    ({"error": "overloaded"}, Refusal.ERROR),
    ({"error": {"message": "m"}}, Refusal.ERROR),
    ({"type": "error", "message": "m"}, Refusal.ERROR),
    (chat(error={"code": 1}), Refusal.ERROR),
    (chat(stop="length"), Refusal.TRUNCATED),
    (chat(stop="content_filter"), Refusal.CONTENT_FILTER),
    (chat(stop="never_heard_of"), Refusal.INCOMPLETE),
    (chat(stop=None), Refusal.INCOMPLETE),
    (chat(stop=["stop"]), Refusal.INCOMPLETE),
    ({"choices": [{"message": {"content": "Yes."}}]}, Refusal.INCOMPLETE),
    ({"choices": [{"delta": {"content": "Yes."}}]}, Refusal.INCOMPLETE),
    ({"object": "chat.completion", "choices": []}, Refusal.EMPTY),
    ({"object": "chat.completion"}, Refusal.EMPTY),
    ({"object": "chat.completion", "choices": ["x"]}, Refusal.INCOMPLETE),
    (chat({"content": None}), Refusal.EMPTY),
    (chat({"content": " "}), Refusal.EMPTY),
    (chat({"content": []}), Refusal.EMPTY),
    (chat({"content": None, "refusal": "No."}), Refusal.REFUSED),
    ({"choices": [{"text": " ", "finish_reason": "stop"}]}, Refusal.EMPTY),
    ({"choices": [*chat()["choices"], *chat(stop="length")["choices"]]}, Refusal.TRUNCATED),
    (responses(said(), status="failed"), Refusal.ERROR),
    (responses(said(), status="in_progress"), Refusal.INCOMPLETE),
    (responses(said(), status="queued"), Refusal.INCOMPLETE),
    (responses(said(), status="cancelled"), Refusal.INCOMPLETE),
    (responses(said(), status="incomplete"), Refusal.INCOMPLETE),
    (responses(said(), incomplete_details={"reason": "max_output_tokens"}), Refusal.TRUNCATED),
    (responses(said(), incomplete_details={"reason": "content_filter"}), Refusal.CONTENT_FILTER),
    (responses(said(status="incomplete")), Refusal.INCOMPLETE),
    (responses(said("No.", kind="refusal")), Refusal.REFUSED),
    (responses(said(" ")), Refusal.EMPTY),
    (responses({"type": "web_search_call", "status": "failed"}, said()), Refusal.TOOL_FAILED),
    (responses({"type": "file_search_call", "status": "failed"}, said()), Refusal.TOOL_FAILED),
    (responses({"type": "code_interpreter_call", "status": "failed"}, said()), Refusal.TOOL_FAILED),
    (responses({"type": "image_generation_call", "status": "failed"}), Refusal.TOOL_FAILED),
    (responses({"type": "mcp_call", "status": "failed"}, said()), Refusal.TOOL_FAILED),
    (
        responses({"type": "mcp_call", "status": "completed", "error": {"code": 1}}, said()),
        Refusal.TOOL_FAILED,
    ),
    (responses({"type": "mcp_list_tools", "tools": [], "error": "down"}, said()), Refusal.TOOL_FAILED),
    (responses({"type": "web_search_call", "status": "incomplete"}, said()), Refusal.INCOMPLETE),
    (responses(failed_item(), {"type": "function_call", "status": "completed"}), Refusal.TOOL_FAILED),
    (
        responses(failed_item(), {"type": "web_search_call", "status": "completed"}, said()),
        Refusal.TOOL_FAILED,
    ),
    (responses(), Refusal.EMPTY),
    (message(TEXT, stop="max_tokens"), Refusal.TRUNCATED),
    (message(TEXT, stop="model_context_window_exceeded"), Refusal.TRUNCATED),
    (message(TEXT, stop="refusal"), Refusal.REFUSED),
    (message(TEXT, stop="pause_turn"), Refusal.INCOMPLETE),
    (message(TEXT, stop=None), Refusal.INCOMPLETE),
    ({"type": "message", "content": [TEXT]}, Refusal.INCOMPLETE),
    *(
        (message({"type": "server_tool_use"}, failed_result(tool), TEXT), Refusal.TOOL_FAILED)
        for tool in (
            "web_search",
            "web_fetch",
            "code_execution",
            "bash_code_execution",
            "text_editor_code_execution",
            "tool_search",
            "never_heard_of",
        )
    ),
    (
        message({"type": "web_fetch_tool_result", "content": {"error_code": "url_too_long"}}, TEXT),
        Refusal.TOOL_FAILED,
    ),
    (message({"type": "mcp_tool_result", "is_error": True, "content": []}, TEXT), Refusal.TOOL_FAILED),
    (message(failed_result("web_search"), {"type": "tool_use"}, stop="tool_use"), Refusal.TOOL_FAILED),
    (message(failed_result("web_search"), TEXT, stop="max_tokens"), Refusal.TRUNCATED),
    (message(), Refusal.EMPTY),
    (message({"type": "thinking", "thinking": "..."}), Refusal.EMPTY),
    ("x" * 1001, Refusal.TOO_LARGE),
    ("\u00e9" * 501, Refusal.TOO_LARGE),
    (["x" * 1000], Refusal.TOO_LARGE),
]


@pytest.mark.parametrize(("response", "reason"), REFUSED)
def test_any_other_answer_is_refused_with_its_reason(response: Any, reason: Refusal) -> None:
    for tool_calls in (False, True):
        assert refusal_to_store(response, max_response_bytes=1000, tool_calls=tool_calls) is reason


CALL = {"id": "1", "function": {"name": "f", "arguments": "{}"}}
CALLS = [
    chat({"content": None, "tool_calls": [CALL]}, "tool_calls"),
    chat({"content": None, "tool_calls": [CALL]}, "stop"),
    chat({"content": None, "function_call": {"name": "f"}}, "function_call"),
    responses({"type": "function_call", "status": "completed", "name": "f"}),
    responses(said(), {"type": "never_heard_of"}),
    message({"type": "tool_use", "id": "1"}, stop="tool_use"),
    message(TEXT, {"type": "tool_use", "id": "1"}),
    # It was run, and may have sent or booked something, which a kept answer would not do again.
    responses({"type": "mcp_call", "status": "completed", "output": "x", "error": None}, said()),
    message({"type": "mcp_tool_use"}, {"type": "mcp_tool_result", "is_error": False, "content": []}, TEXT),
    # Files of a container, and the container itself, are gone after minutes.
    responses(
        {
            "type": "message",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": "Here.",
                    "annotations": [{"type": "container_file_citation", "file_id": "cfile_1"}],
                }
            ],
        }
    ),
    message(TEXT, container={"id": "container_1", "expires_at": "2026-11-28T10:00:00Z"}),
]


@pytest.mark.parametrize("response", CALLS)
def test_an_answer_that_asks_for_a_tool_is_stored_only_when_allowed(response: Any) -> None:
    assert refusal_to_store(response, max_response_bytes=1000) is Refusal.TOOL_CALL
    assert refusal_to_store(response, max_response_bytes=1000, tool_calls=True) is None


def test_an_allowed_tool_call_hides_no_other_reason() -> None:
    body = {"choices": [*CALLS[0]["choices"], *chat(stop="length")["choices"]]}
    assert refusal_to_store(body, max_response_bytes=1000, tool_calls=True) is Refusal.TRUNCATED


@given(JSONS.filter(lambda value: value is not None))
def test_no_shape_of_data_breaks_the_check(value: Any) -> None:
    for body in (value, chat(stop=value), {"choices": [{"message": value, "finish_reason": "stop"}]}):
        refusal_to_store(body, max_response_bytes=10_000)
    for body in ({"object": "response", "status": "completed", "output": value}, message(stop=value)):
        refusal_to_store(body, max_response_bytes=10_000)
    for field in ("type", "status", "content", "error", "is_error"):
        part = {"type": "web_search_tool_result", field: value}
        refusal_to_store(message(part), max_response_bytes=10_000)
        refusal_to_store(responses(part), max_response_bytes=10_000)
    usage_of({"usage": value})


def test_a_response_of_the_most_bytes_is_stored() -> None:
    assert refusal_to_store("x" * 10, max_response_bytes=10) is None


@pytest.mark.parametrize("most", [-1, True, 1.5, None])
def test_a_limit_that_is_no_number_of_bytes_is_refused(most: Any) -> None:
    with pytest.raises(InvalidValueError):
        refusal_to_store("x", max_response_bytes=most)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"input_tokens": 3, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 2}}, Usage(3, 4)),
        ({"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5}, Usage(8, 4)),
        ({"input_tokens": 3, "output_tokens": 4, "cache_creation_input_tokens": None}, Usage(3, 4)),
        ({"input_tokens": -3, "output_tokens": 4}, None),
        ({"input_tokens": True, "output_tokens": 4}, None),
        ({"input_tokens": "3"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_read_from_every_api(usage: Any, expected: Usage | None) -> None:
    assert usage_of({"usage": usage}) == expected


def test_what_is_no_body_has_no_usage() -> None:
    assert usage_of("text") is None
    assert usage_of(None) is None


def test_cost_is_money_per_million_tokens() -> None:
    prices = {"m": (2.0, 10.0)}
    assert cost_of(Usage(500_000, 100_000), "m", prices) == 2.0
    assert cost_of(Usage(1, 1), "n", prices) is None
    assert cost_of(Usage(1, 1), None, prices) is None
