"""Answers of the models' APIs, generated: what a kept answer may look like."""

from typing import Any

from hypothesis import strategies as st

WORDS = [
    "Madrid",
    "ist",
    "the",
    "\n\n",
    "日本語の文",
    "👩‍👩‍👧",
    "naïve",
    "1,000.5",
    "{",
    '"',
    "\u2028",
    "\r\n",
    "data:",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.lists(
    st.sampled_from(WORDS), max_size=20
).map(" ".join)
NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
NUMBERS = st.integers(0, 10**9)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(NAMES, JSONS, max_size=3)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


def listed(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices, each with its place."""
    return [{"index": i, **choice} for i, choice in enumerate(choices)]


def joined(*strategies: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """One mapping of several."""
    return st.tuples(*strategies).map(lambda parts: {key: v for part in parts for key, v in part.items()})


TOKENS = st.lists(
    st.fixed_dictionaries(
        {"token": TEXTS, "logprob": st.floats(-20, 0), "bytes": st.none(), "top_logprobs": st.just([])}
    ),
    max_size=5,
)
LOGPROBS = joined(st.fixed_dictionaries({"content": st.none() | TOKENS}), some(refusal=st.none() | TOKENS))
CALLS = st.lists(
    joined(
        st.fixed_dictionaries({"id": NAMES, "type": st.just("function")}),
        st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": NAMES, "arguments": TEXTS})}),
    ),
    max_size=3,
)
URLS = {"url": NAMES, "title": TEXTS, "start_index": NUMBERS, "end_index": NUMBERS}
CITATION = st.fixed_dictionaries(
    {"type": st.just("url_citation"), "url_citation": st.fixed_dictionaries({**URLS})}
)
CHAT_MESSAGES = joined(
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none() | TEXTS}),
    some(
        refusal=st.none() | TEXTS,
        reasoning_content=TEXTS,
        annotations=st.lists(CITATION, max_size=2),
        tool_calls=CALLS,
        function_call=st.fixed_dictionaries({"name": NAMES, "arguments": TEXTS}),
        audio=st.none(),
        vendor=OBJECTS,
    ),
)
CHAT_CHOICES = joined(
    st.fixed_dictionaries({"message": CHAT_MESSAGES}),
    some(logprobs=st.none() | LOGPROBS),
    st.fixed_dictionaries({"finish_reason": st.sampled_from(["stop", "length", "tool_calls"])}),
    some(stop_reason=st.none() | TEXTS),
)
OPENAI_USAGE = joined(
    st.fixed_dictionaries({"prompt_tokens": NUMBERS, "completion_tokens": NUMBERS, "total_tokens": NUMBERS}),
    some(completion_tokens_details=st.fixed_dictionaries({"reasoning_tokens": NUMBERS})),
)
CHATS = joined(
    st.fixed_dictionaries(
        {
            "id": NAMES,
            "object": st.just("chat.completion"),
            "created": NUMBERS,
            "model": NAMES,
            "choices": st.lists(CHAT_CHOICES, min_size=1, max_size=3).map(listed),
            "usage": OPENAI_USAGE,
        }
    ),
    some(service_tier=st.just("default"), system_fingerprint=st.none() | NAMES, x_vendor=OBJECTS),
)

QUOTES = st.fixed_dictionaries(
    {
        "type": st.just("char_location"),
        "cited_text": TEXTS,
        "document_index": NUMBERS,
        "document_title": st.none() | TEXTS,
        "start_char_index": NUMBERS,
        "end_char_index": NUMBERS,
    }
)
FOUND = st.fixed_dictionaries(
    {"type": st.just("web_search_result"), "url": NAMES, "title": TEXTS, "encrypted_content": NAMES}
)
BLOCKS = st.one_of(
    joined(
        st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}),
        some(citations=st.none() | st.lists(QUOTES, max_size=3)),
    ),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": TEXTS, "signature": NAMES}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": TEXTS}),
    st.fixed_dictionaries({"type": st.just("tool_use"), "id": NAMES, "name": NAMES, "input": OBJECTS}),
    st.fixed_dictionaries(
        {"type": st.just("server_tool_use"), "id": NAMES, "name": st.just("web_search"), "input": OBJECTS}
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("mcp_tool_use"),
            "id": NAMES,
            "name": NAMES,
            "server_name": NAMES,
            "input": OBJECTS,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("web_search_tool_result"),
            "tool_use_id": NAMES,
            "content": st.lists(FOUND, max_size=2),
        }
    ),
)
EDITS = st.fixed_dictionaries(
    {
        "type": st.just("clear_tool_uses_20250919"),
        "cleared_input_tokens": NUMBERS,
        "cleared_tool_uses": NUMBERS,
    }
)
MESSAGES = joined(
    st.fixed_dictionaries(
        {
            "id": NAMES,
            "type": st.just("message"),
            "role": st.just("assistant"),
            "model": NAMES,
            "content": st.lists(BLOCKS, max_size=4),
            "stop_reason": st.sampled_from(["end_turn", "max_tokens", "stop_sequence", "tool_use"]),
            "stop_sequence": st.none() | NAMES,
            "usage": joined(
                st.fixed_dictionaries({"input_tokens": NUMBERS, "output_tokens": NUMBERS}),
                some(
                    cache_creation_input_tokens=st.none() | NUMBERS,
                    cache_read_input_tokens=NUMBERS,
                    cache_creation=st.fixed_dictionaries(
                        {"ephemeral_5m_input_tokens": NUMBERS, "ephemeral_1h_input_tokens": NUMBERS}
                    ),
                    service_tier=st.just("standard"),
                    server_tool_use=st.none()
                    | st.fixed_dictionaries({"web_search_requests": NUMBERS, "web_fetch_requests": NUMBERS}),
                ),
            ),
        }
    ),
    some(
        container=st.none()
        | st.fixed_dictionaries({"id": NAMES, "expires_at": st.just("2026-11-27T17:00:00Z")}),
        stop_details=st.none()
        | st.fixed_dictionaries({"type": st.just("refusal"), "category": st.none(), "explanation": TEXTS}),
        context_management=st.none() | st.fixed_dictionaries({"applied_edits": st.lists(EDITS, max_size=2)}),
    ),
)

COMPLETION_CHOICES = joined(
    st.fixed_dictionaries({"text": TEXTS}),
    some(
        logprobs=st.none()
        | st.lists(st.tuples(TEXTS, st.none() | st.floats(-9, 0), NUMBERS), max_size=9).map(
            lambda rows: {
                "tokens": [row[0] for row in rows],
                "token_logprobs": [row[1] for row in rows],
                "top_logprobs": None,
                "text_offset": [row[2] for row in rows],
            }
        )
    ),
    st.fixed_dictionaries({"finish_reason": st.sampled_from(["stop", "length"])}),
)
COMPLETIONS = joined(
    st.fixed_dictionaries(
        {
            "id": NAMES,
            "object": st.just("text_completion"),
            "created": NUMBERS,
            "model": NAMES,
            "choices": st.lists(COMPLETION_CHOICES, min_size=1, max_size=3).map(listed),
            "usage": OPENAI_USAGE,
        }
    ),
    some(system_fingerprint=st.none() | NAMES),
)

DONE = st.fixed_dictionaries({"status": st.just("completed")})
SPELLED_TOKENS = TOKENS.map(
    lambda tokens: [{**token, "bytes": [*token["token"].encode()]} for token in tokens]
)
LINKS = st.fixed_dictionaries({"type": st.just("url_citation"), **URLS})
OUTPUT_TEXTS = joined(
    st.fixed_dictionaries(
        {"type": st.just("output_text"), "text": TEXTS, "annotations": st.lists(LINKS, max_size=2)}
    ),
    some(logprobs=SPELLED_TOKENS),
)
PARTS = OUTPUT_TEXTS | st.fixed_dictionaries({"type": st.just("refusal"), "refusal": TEXTS})
SEARCHES = st.fixed_dictionaries({"type": st.just("search"), "query": TEXTS})
FUNCTIONS = st.fixed_dictionaries(
    {"type": st.just("function"), "name": NAMES, "parameters": OBJECTS, "strict": st.booleans()}
)
ITEMS = st.one_of(
    joined(
        st.fixed_dictionaries({"type": st.just("message"), "role": st.just("assistant")}),
        DONE,
        st.fixed_dictionaries({"content": st.lists(PARTS, max_size=2)}),
    ),
    joined(
        st.fixed_dictionaries(
            {
                "type": st.just("reasoning"),
                "summary": st.lists(
                    st.fixed_dictionaries({"type": st.just("summary_text"), "text": TEXTS}), max_size=2
                ),
            }
        ),
        some(encrypted_content=st.none() | NAMES),
    ),
    joined(
        st.fixed_dictionaries({"type": st.just("function_call"), "name": NAMES, "arguments": TEXTS}), DONE
    ),
    st.fixed_dictionaries({"type": st.just("custom_tool_call"), "name": NAMES, "input": TEXTS}),
    joined(st.fixed_dictionaries({"type": st.just("web_search_call"), "action": SEARCHES}), DONE),
)


def identified(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items, each with names of its own."""
    called = ("function_call", "custom_tool_call")
    return [
        {"id": f"item_{i}", **({"call_id": f"call_{i}"} if item["type"] in called else {}), **item}
        for i, item in enumerate(items)
    ]


RESPONSES = joined(
    st.fixed_dictionaries(
        {
            "id": NAMES,
            "object": st.just("response"),
            "created_at": NUMBERS,
            "status": st.just("completed"),
            "error": st.none(),
            "incomplete_details": st.none(),
            "model": NAMES,
            "output": st.lists(ITEMS, max_size=4).map(identified),
            "usage": st.fixed_dictionaries(
                {"input_tokens": NUMBERS, "output_tokens": NUMBERS, "total_tokens": NUMBERS}
            ),
        }
    ),
    some(completed_at=NUMBERS, metadata=st.dictionaries(NAMES, TEXTS), tools=st.lists(FUNCTIONS, max_size=1)),
)
