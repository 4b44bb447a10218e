"""`Request`: the same question gives the same request, another question another one."""

import json
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.text.canonical import MAX_DEPTH, encode
from binary_semantic_cache.text.request import ExactOnly, Request

QUESTION = "How tall is the tower?"

JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [user(QUESTION)], **fields}


def user(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **fields}


def assistant(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


def of_chat(*messages: Any, **fields: Any) -> Request:
    return Request.from_openai_chat(chat(*messages, **fields))


def of_responses(items: Any, **fields: Any) -> Request:
    return Request.from_openai_responses({"model": "m", "input": items, **fields})


def of_anthropic(*messages: Any, **fields: Any) -> Request:
    return Request.from_anthropic({"model": "m", "max_tokens": 9, "messages": list(messages), **fields})


def same(a: object, b: object) -> bool:
    """Equality as JSON means it, by the dullest comparison."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return isinstance(a, str) is isinstance(b, str) and a == b


def decode(raw: bytes) -> object:
    """The value that canonical bytes stand for."""
    value, rest = _decode(raw)
    assert not rest
    return value


def _decode(raw: bytes) -> tuple[object, bytes]:
    tag, raw = raw[:1], raw[1:]
    if tag in (b"n", b"t", b"f"):
        return {b"n": None, b"t": True, b"f": False}[tag], raw
    if tag == b"i":
        digits, _, raw = raw.partition(b";")
        return int(digits, 16), raw
    if tag == b"d":
        return struct.unpack(">d", raw[:8])[0], raw[8:]
    if tag == b"s":
        length, _, raw = raw.partition(b":")
        n = int(length, 16)
        return raw[:n].decode(), raw[n:]
    items: list[Any] = []
    while raw[:1] not in (b"]", b"}"):
        item, raw = _decode(raw)
        items.append(item)
    return items if tag == b"[" else dict(zip(items[::2], items[1::2], strict=True)), raw[1:]


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        members = [(key, shuffled(member, rng)) for key, member in value.items()]
        rng.shuffle(members)
        return dict(members)
    return [shuffled(member, rng) for member in value] if isinstance(value, list) else value


@given(JSONS)
def test_canonical_bytes_can_be_read_back(value: object) -> None:
    assert same(decode(encode(value)), value)


@given(JSONS, JSONS)
def test_canonical_bytes_are_equal_exactly_for_equal_values(a: object, b: object) -> None:
    assert (encode(a) == encode(b)) == same(a, b)


@given(JSONS, st.randoms())
def test_the_order_of_keys_does_not_matter(value: object, rng: random.Random) -> None:
    body = chat(extra=value)
    assert Request.from_openai_chat(shuffled(body, rng)) == Request.from_openai_chat(body)


@pytest.mark.parametrize("where", ["response_format", "tools", "functions", "text", "guided_json", "format"])
def test_the_order_of_a_schemas_properties_counts_and_no_other(where: str) -> None:
    def ask(names: str, *, turned: bool = False) -> Request:
        inner = {"properties": {name: {"type": "string"} for name in names}, "type": "object"}
        schema = {"schema": {"properties": {"n": inner}, "strict": True}, "name": "s"}
        if turned:
            schema = {key: schema[key] for key in reversed(schema)}
        return of_chat(**{where: [schema] if where.endswith("s") else schema})

    assert ask("ab") == ask("ab", turned=True)
    assert len({ask("ab").context, ask("ba").context, ask("a").context, of_chat().context}) == 4


def test_names_that_are_said_are_no_schemas() -> None:
    names = [{"properties": {"a": 1, "b": 2}}, {"properties": {"b": 2, "a": 1}}]
    assert len({of_chat(user(QUESTION), assistant("a", seen=seen), user("q")) for seen in names}) == 1


@given(JSONS)
def test_a_json_text_is_the_mapping_that_it_says(value: object) -> None:
    body = chat(extra=value)
    text = json.dumps(body, indent=3)
    expected = Request.from_openai_chat(body)
    assert Request.from_openai_chat(text) == expected
    assert Request.from_openai_chat(text.encode()) == expected


@pytest.mark.parametrize(
    "spellings", [["1", "1.0", "1e0", "10E-1"], ["0.1", "0.10", "1e-1"], ["0", "-0", "-0.0", "0e9"]]
)
def test_the_spelling_of_a_number_does_not_matter(spellings: list[str]) -> None:
    bodies = ['{"messages": [{"role": "user", "content": "q"}], "temperature": ' + s + "}" for s in spellings]
    assert len({Request.from_openai_chat(body) for body in bodies}) == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, True),
        (0, False),
        (None, False),
        ("1", 1),
        (0.1, 0.2),
        ([], {}),
        ([1, [2]], [[1], 2]),
        (["a", "b"], ["ab"]),
        (["a,b"], ["a", "b"]),
        ({"a": "b"}, {"ab": ""}),
        (2**53, 2**53 + 1),
        (10**400, 10**400 + 1),
        pytest.param(10**5000, -(10**5000), id="long"),
    ],
)
def test_values_that_look_alike_make_different_requests(a: object, b: object) -> None:
    assert of_chat(temperature=a) != of_chat(temperature=b)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"temperature": 0.5},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"never_heard_of": None},
        {"user": "u"},
        {"n": 2},
    ],
)
def test_every_field_counts(change: dict[str, Any]) -> None:
    assert of_chat(**change) != of_chat()
    assert of_responses(QUESTION, **change) != of_responses(QUESTION)
    assert of_anthropic(user(QUESTION), **change) != of_anthropic(user(QUESTION))


@pytest.mark.parametrize("change", [{"stream": True}, {"stream_options": {"include_usage": True}}])
def test_the_way_an_answer_travels_does_not_count(change: dict[str, Any]) -> None:
    assert of_chat(**change) == of_chat()
    assert of_responses(QUESTION, **change) == of_responses(QUESTION)
    assert of_anthropic(user(QUESTION), **change) == of_anthropic(user(QUESTION))


def test_only_the_last_text_of_the_user_is_matched_by_meaning() -> None:
    a = of_chat(user("Tell me of Spain."), assistant("Gladly."), user("What is its capital?"))
    b = of_chat(user("Tell me of Italy."), assistant("Gladly."), user("What is its capital?"))
    c = of_chat(user("Tell me of Spain."), assistant("Gladly."), user("Its capital?"))
    assert a.text == b.text == "What is its capital?"
    assert a.context != b.context
    assert a.context == c.context
    assert a.exact_only is None


def test_the_same_question_to_two_apis_makes_two_requests() -> None:
    contexts = {
        Request.from_prompt(QUESTION, model="m").context,
        of_chat().context,
        of_responses(QUESTION).context,
        Request.from_anthropic(chat()).context,
        Request.from_openai_completion({"model": "m", "prompt": QUESTION}).context,
    }
    assert len(contexts) == 5


def test_outer_whitespace_of_the_text_does_not_count() -> None:
    assert of_chat(user(f" \n{QUESTION}\t")) == of_chat(user(QUESTION))
    assert Request.from_prompt(f" {QUESTION} ") == Request.from_prompt(QUESTION)
    assert of_chat(user("how  tall")) != of_chat(user("how tall"))


def test_a_string_is_a_list_of_one_plain_text_part() -> None:
    assert of_chat(user([{"type": "text", "text": QUESTION}])) == of_chat(user(QUESTION))
    parts = [{"type": "text", "text": QUESTION, "cache_control": {"type": "ephemeral"}}]
    assert of_anthropic(user(parts)) == of_anthropic(user(QUESTION))
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]
    assert of_responses(items) == of_responses(QUESTION)
    assert Request.from_openai_completion({"prompt": ["q"]}) == Request.from_openai_completion(
        {"prompt": "q"}
    )


def test_a_text_part_with_more_fields_is_no_plain_one() -> None:
    part = {"type": "text", "text": QUESTION, "citations": True}
    request = of_chat(user([part]))
    assert request.text == QUESTION
    assert request.context != of_chat(user(QUESTION)).context


PIECES = st.lists(st.text("ab\n ", max_size=4), min_size=1, max_size=4)


@given(PIECES, PIECES)
def test_parts_divided_elsewhere_never_share(a: list[str], b: list[str]) -> None:
    requests = [of_chat(user([{"type": "text", "text": text} for text in texts])) for texts in (a, b)]
    # Whitespace at the outer ends, and inside blank parts there, is all that may differ.
    if requests[0] == requests[1]:
        assert len(a) == len(b)
        assert [text.strip() for text in a] == [text.strip() for text in b]


def test_two_wordings_in_parts_share_a_context() -> None:
    def ask(text: str) -> Request:
        return of_chat(user([{"type": "text", "text": "A list:\nred"}, {"type": "text", "text": text}]))

    assert ask("Which is first?").context == ask("What comes first?").context
    assert ask("Which is first?").text == "A list:\nred\nWhich is first?"


TOOLED = [
    of_chat(user("q"), assistant(None, tool_calls=[{"id": "1"}]), user("r")),
    of_chat(user("q"), assistant(None, function_call={"name": "f"}), user("r")),
    of_chat(user("q"), {"role": "tool", "tool_call_id": "1", "content": "x"}),
    of_chat(user("q"), {"role": "function", "name": "f", "content": "x"}, user("r")),
    of_responses([user("q"), {"type": "function_call", "name": "f"}, user("r")]),
    of_responses([user("q"), {"type": "function_call_output", "output": "3"}]),
    of_responses([{"type": "mcp_approval_response", "approve": True}, user("r")]),
    of_anthropic(user("q"), assistant([{"type": "tool_use", "id": "1"}]), user("r")),
    of_anthropic(user([{"type": "tool_result", "content": "x"}])),
    of_anthropic(
        user([{"type": "tool_result", "content": [{"type": "image"}]}, {"type": "text", "text": "q"}])
    ),
    of_anthropic(user("q"), assistant([{"type": "web_search_tool_result", "content": []}]), user("r")),
]


@pytest.mark.parametrize("request_", TOOLED)
def test_a_conversation_with_tools_is_exact_only(request_: Request) -> None:
    assert request_.exact_only is ExactOnly.TOOL_CALL


ATTACHED = [
    of_chat(user([{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {"url": "u"}}])),
    of_chat(user([{"type": "input_audio", "input_audio": {}}])),
    of_chat(user([{"type": "file", "file": {"file_id": "f"}}]), assistant("a"), user("q")),
    of_chat(user("q"), assistant(None, audio={"id": "a"}), user("q")),
    of_chat(user([{"type": "text", "text": "q"}, {"type": "never_heard_of"}])),
    of_responses([user([{"type": "input_image", "file_id": "f"}, {"type": "input_text", "text": "q"}])]),
    of_responses([{"type": "never_heard_of"}, user("q")]),
    of_anthropic(user([{"type": "document", "source": {}}, {"type": "text", "text": "q"}])),
    of_anthropic(user("q"), system=[{"type": "image", "source": {}}]),
]


@pytest.mark.parametrize("request_", ATTACHED)
def test_a_conversation_with_attachments_is_exact_only(request_: Request) -> None:
    assert request_.exact_only is ExactOnly.ATTACHMENT


STATEFUL = [
    of_responses("q", previous_response_id="r"),
    of_responses("q", conversation={"id": "c"}),
    of_responses("q", prompt={"id": "p"}),
    Request.from_openai_responses({"prompt": {"id": "p"}}),
    of_responses([{"type": "item_reference", "id": "i"}, user("q")]),
    of_responses([{"id": "i"}, user("q")]),
    of_anthropic(user("q"), container="c"),
]


@pytest.mark.parametrize("request_", STATEFUL)
def test_a_request_that_continues_a_state_elsewhere_is_exact_only(request_: Request) -> None:
    assert request_.exact_only is ExactOnly.STATE


STATEFUL_FOR_GOOD = [
    of_responses("q", conversation="c"),
    of_responses("q", conversation={"id": "c"}),
    Request.from_openai_responses({"conversation": "c"}),
    of_responses("q", tools=[{"type": "code_interpreter", "container": "cntr_1"}]),
    of_responses("q", tools=[{"type": "shell", "environment": {"container_id": "cntr_1"}}]),
    of_anthropic(user("q"), container="c"),
    of_anthropic(user("q"), container={"id": "c"}),
]


@pytest.mark.parametrize("request_", STATEFUL_FOR_GOOD)
def test_what_each_answer_changes_makes_a_request_that_none_repeats(request_: Request) -> None:
    assert not request_.is_repeatable
    assert request_.exact_only is ExactOnly.STATE


@pytest.mark.parametrize(
    "request_",
    [
        of_responses("q", previous_response_id="r", conversation=None),
        of_responses("q", tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]),
        of_anthropic(user("q"), container={"skills": []}),
        of_chat(),
    ],
)
def test_what_no_answer_changes_may_be_repeated(request_: Request) -> None:
    assert request_.is_repeatable


def test_whitespace_around_a_prompt_that_is_continued_counts() -> None:
    def ask(prompt: str) -> Request:
        return Request.from_openai_completion({"prompt": prompt})

    prompts = ["f():", "f():\n", "f():\n    ", " f():", "\n f():", "  ", "", "\n"]
    asked = [ask(prompt) for prompt in prompts]
    assert len({(request.context, request.text) for request in asked}) == len(prompts)
    assert ask("f():\n").context == ask("g():\n").context


@pytest.mark.parametrize("more", [{"echo": True}, {"suffix": "return"}])
def test_a_completion_that_repeats_its_prompt_or_leads_somewhere_is_exact_only(more: dict[str, Any]) -> None:
    assert Request.from_openai_completion({"prompt": "q", **more}).exact_only is ExactOnly.PREFILL
    assert Request.from_openai_completion({"prompt": "q", "echo": False, "suffix": None}).exact_only is None


TEXTLESS = [
    of_chat(user("q"), assistant("a")),
    of_chat({"role": "system", "content": "s"}),
    of_chat(user("  ")),
    of_responses([user("q"), {"type": "reasoning", "summary": []}]),
    Request.from_prompt(" "),
    Request.from_openai_completion({"prompt": [1, 2]}),
    Request.from_openai_completion({"prompt": ["a", "b"]}),
    Request.from_openai_embedding({"input": "a"}),
    Request.from_openai_embedding({"input": [[1, 2], [3]]}),
]


@pytest.mark.parametrize("request_", TEXTLESS)
def test_a_request_that_does_not_end_in_text_of_the_user_is_exact_only(request_: Request) -> None:
    assert request_.exact_only is ExactOnly.NO_TEXT
    assert request_.text == ""


def test_a_conversation_that_begins_its_answer_is_exact_only() -> None:
    assert of_anthropic(user("q"), assistant("The answer")).exact_only is ExactOnly.PREFILL


def test_conversations_without_tools_and_attachments_may_match_by_meaning() -> None:
    thinking = assistant([{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}])
    assert of_anthropic(user("q"), thinking, user("r")).exact_only is None
    items = [
        user("q"),
        {"type": "reasoning", "summary": []},
        assistant([{"type": "output_text", "text": "a"}]),
    ]
    assert of_responses([*items, user("r")]).exact_only is None
    assert of_chat(tools=[{"type": "function"}]).exact_only is None


def test_markers_of_the_prompt_cache_do_not_count() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    schema = {"type": "object", "properties": {"cache_control": {"type": "string"}}}

    def ask(mark: dict[str, Any], schema: dict[str, Any]) -> Request:
        result = {"type": "tool_result", "content": [{"type": "text", "text": "x", **mark}], **mark}
        return of_anthropic(
            user([result, {"type": "text", "text": "q", **mark}]),
            system=[{"type": "text", "text": "s", **mark}],
            tools=[{"name": "f", "input_schema": schema, **mark}],
            **mark,
        )

    assert ask(mark, schema) == ask({}, schema)
    assert ask({}, schema) != ask({}, {"type": "object", "properties": {}})


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


BAD = [
    ("[]", InvalidTypeError, "body"),
    ('"secret"', InvalidTypeError, "body"),
    ("{secret", InvalidValueError, "body: is not JSON (line 1, column 2)"),
    (b"\xff\xfe\xff", InvalidValueError, "body"),
    ("[" * 100_000, InvalidValueError, "body: nests deeper"),
    ('{"a": ' + "9" * 5000 + "}", InvalidValueError, "body"),
    ('{"messages": [], "messages": []}', InvalidValueError, "body: an object names a key twice"),
    ({}, InvalidValueError, "messages"),
    (chat() | {"messages": "secret"}, InvalidTypeError, "messages: expected a list, got str"),
    (chat() | {"messages": []}, InvalidValueError, "messages: expected at least one"),
    (chat("secret"), InvalidTypeError, "messages[0]"),
    (chat(user("q"), {"content": "secret"}), InvalidTypeError, "messages[1].role"),
    (chat(user(3)), InvalidTypeError, "messages[0].content"),
    (chat(user(None)), InvalidTypeError, "messages[0].content"),
    (chat(user([])), InvalidValueError, "messages[0].content"),
    (chat(user(["secret"])), InvalidTypeError, "messages[0].content[0]"),
    (chat(user([{"text": "secret"}])), InvalidTypeError, "messages[0].content[0].type"),
    (chat(user([{"type": "text", "text": 1}])), InvalidTypeError, "messages[0].content[0].text"),
    (chat(user("secret \ud800")), InvalidValueError, "messages[0].content"),
    (chat(user([{"type": "text", "text": "\udfff"}] * 2)), InvalidValueError, "messages[0].content[0].text"),
    (chat(user("\ud800"), user("q")), InvalidValueError, "messages[0].content"),
    (chat(model=3), InvalidTypeError, "model"),
    (chat(x={"y": [1, {"z": float("nan")}]}), InvalidValueError, "x.y[1].z"),
    (json.dumps(chat(x=[float("inf")])), InvalidValueError, "x[0]"),
    (json.dumps(chat(x=1)).replace("1", "1e999"), InvalidValueError, "x"),
    (json.dumps(chat(x={"y": 1})).replace('"y": 1', '"y": 1, "y": 2'), InvalidValueError, "x"),
    (chat(x={1: 2}), InvalidTypeError, "x: expected string keys"),
    (chat(x=[b"secret"]), InvalidTypeError, "x[0]: expected a JSON-like value, got bytes"),
    (chat(x={"secret key": object()}), InvalidTypeError, "x.?"),
    (chat(x=nested(MAX_DEPTH)), InvalidValueError, "x[0][0]"),
    (chat(user([{"type": "tool_result", "content": nested(900)}])), InvalidValueError, "messages[0]"),
]


@pytest.mark.parametrize(("body", "error", "path"), BAD)
def test_what_is_wrong_is_named_by_its_path_and_never_quoted(
    body: Any, error: type[Exception], path: str
) -> None:
    with pytest.raises(error) as caught:
        Request.from_openai_chat(body)
    assert str(caught.value).startswith(path)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_nesting_is_read_to_the_limit() -> None:
    of_chat(x=nested(MAX_DEPTH - 1))


def test_a_value_that_holds_itself_is_too_deep() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidValueError, match="nests deeper"):
        of_chat(x=endless)


@pytest.mark.parametrize(
    ("body", "error", "path"),
    [
        ({"input": 3}, InvalidTypeError, "input"),
        ({"input": []}, InvalidValueError, "input"),
        ({}, InvalidValueError, "input"),
        ({"input": [{"type": "message", "content": "q"}]}, InvalidTypeError, "input[0].role"),
    ],
)
def test_a_wrong_body_of_the_responses_api_is_refused(body: Any, error: type[Exception], path: str) -> None:
    with pytest.raises(error) as caught:
        Request.from_openai_responses(body)
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize("prompt", [None, 3, {}, []])
def test_a_completion_without_a_prompt_is_refused(prompt: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match=r"^prompt"):
        Request.from_openai_completion({"prompt": prompt})


@pytest.mark.parametrize("given", [None, 3, {}, [], ""])
def test_an_embedding_of_nothing_is_refused(given: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match=r"^input"):
        Request.from_openai_embedding({"input": given})


def test_embeddings_of_other_inputs_or_forms_are_other_requests() -> None:
    bodies = [{"input": "a"}, {"input": ["a"]}, {"input": [1]}, {"input": "a", "encoding_format": "base64"}]
    assert len({Request.from_openai_embedding(body).context for body in bodies}) == len(bodies)


def test_a_parameter_of_a_prompt_cannot_pass_for_its_model() -> None:
    a = Request.from_prompt("q", model="m", system="s", temperature=1)
    assert a == Request.from_prompt("q", model="m", system="s", temperature=1.0)
    assert a != Request.from_prompt("q", model="m", system="s")
    assert Request.from_prompt("q", **{"parameters": {"a": 1}}) != Request.from_prompt("q", a=1)  # type: ignore[arg-type]
    assert (
        len(
            {
                Request.from_prompt("q"),
                Request.from_prompt("q", model="s"),
                Request.from_prompt("q", system="s"),
            }
        )
        == 3
    )


@pytest.mark.parametrize(
    "arguments", [{"text": 3}, {"text": "q", "system": 3}, {"text": "q", "model": 3}, {"text": "q", "x": b""}]
)
def test_a_prompt_of_the_wrong_type_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidTypeError):
        Request.from_prompt(**arguments)


def test_the_body_may_change_afterwards() -> None:
    body = chat(x=[1])
    request = Request.from_openai_chat(body)
    before = request.context
    body["x"].append(2)
    body["messages"][0]["content"] = "another"
    assert request.context == before
    assert Request.from_openai_chat(body) != request
