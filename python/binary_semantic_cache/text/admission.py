"""Which answers may be stored, and how: whole, successful ones, as text, bytes or plain data.

A cache repeats what it stored, so a truncated, refused or failed answer would become the answer for good.
The shapes of the OpenAI and Anthropic APIs are looked into; other data is admitted unless it is empty or an
error. Text and bytes are not: what they say is the caller's to know.

Sources: the OpenAI Python SDK (`ChatCompletion`, `Completion`, `Response`, `ResponseStatus`) and the
Anthropic Python SDK (`Message`, `StopReason`), read in 2026. A reason for stopping that is not listed here is
taken for an incomplete answer.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.text.payload import encode_response

__all__ = ["Refusal", "Usage", "cost_of", "refusal_to_store", "usage_of"]


class Refusal(StrEnum):
    """Why an answer is not stored."""

    EMPTY = "empty"
    """It says nothing."""
    ERROR = "error"
    """It reports an error."""
    TRUNCATED = "truncated"
    """A limit of length cut it off."""
    CONTENT_FILTER = "content_filter"
    """A filter cut it off."""
    REFUSED = "refused"
    """The model declined to answer, which it may not do again."""
    TOOL_CALL = "tool_call"
    """It asks the caller to run a tool, whose result belongs to one conversation."""
    TOOL_FAILED = "tool_failed"
    """A tool that the provider ran failed: the answer was given without what it would have brought."""
    INCOMPLETE = "incomplete"
    """It is not finished, or does not say that it is."""
    TOO_LARGE = "too_large"
    """It takes more bytes than an answer may."""


class Usage(NamedTuple):
    """Tokens that an answer cost."""

    input_tokens: int
    """All tokens read, those from the provider's own prompt cache included."""
    output_tokens: int
    """All tokens written, reasoning included."""


_CHAT_STOPS: dict[object, Refusal | None] = {
    "stop": None,
    "length": Refusal.TRUNCATED,
    "content_filter": Refusal.CONTENT_FILTER,
    "tool_calls": Refusal.TOOL_CALL,
    "function_call": Refusal.TOOL_CALL,
}
_ANTHROPIC_STOPS: dict[object, Refusal | None] = {
    "end_turn": None,
    "stop_sequence": None,
    "max_tokens": Refusal.TRUNCATED,
    "model_context_window_exceeded": Refusal.TRUNCATED,
    "refusal": Refusal.REFUSED,
    "tool_use": Refusal.TOOL_CALL,
}
_INCOMPLETE_REASONS = {"max_output_tokens": Refusal.TRUNCATED, "content_filter": Refusal.CONTENT_FILTER}
# Tools that the provider runs itself: the answer after them is complete.
_PROVIDER_ITEMS = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
        "tool_search_call",
        "tool_search_output",
        "shell_call_output",
    }
)
_TOOL_RESULT = "_tool_result"
"""How the types of what such tools bring end in Anthropic's answers."""
_SILENT_ITEMS = frozenset(("reasoning", "compaction"))
_MOST_TOKENS = 2**53
"""Beyond any answer, and within what a store and a float can hold."""
_CHAT_OBJECTS = ("chat.completion", "chat.completion.chunk", "text_completion")


def refusal_to_store(
    response: object, *, max_response_bytes: int, tool_calls: bool = False
) -> Refusal | None:
    """Why `response` may not be stored; `None` when it may.

    Args:
        response: str, bytes or JSON-like data, such as the body of an API's answer.
        max_response_bytes: most bytes of the stored form.
        tool_calls: admit answers that ask for a tool; sound only where the same call is always right.

    Raises:
        UnsavableResponseError: it holds something that cannot be stored at all.
    """
    reason = _reason(response)
    if reason is Refusal.TOOL_CALL and tool_calls:
        reason = None
    if reason is None and _is_larger(response, max_response_bytes):
        return Refusal.TOO_LARGE
    return reason


def usage_of(response: object) -> Usage | None:
    """The tokens that an answer of one of the three APIs cost; `None` where it does not say."""
    usage = response.get("usage") if isinstance(response, dict) else None
    if not isinstance(usage, dict):
        return None
    if "prompt_tokens" in usage:
        counts = [usage["prompt_tokens"], usage.get("completion_tokens", 0)]
    else:
        counts = [usage.get("input_tokens"), usage.get("output_tokens", 0)]
    # Anthropic counts what its prompt cache wrote and read apart from the other input.
    counts += [usage.get(f"cache_{verb}_input_tokens") or 0 for verb in ("creation", "read")]
    if any(isinstance(count, bool) or not isinstance(count, int) or count < 0 for count in counts):
        return None
    if sum(counts) >= _MOST_TOKENS:
        return None
    return Usage(counts[0] + counts[2] + counts[3], counts[1])


def cost_of(usage: Usage, model: str | None, prices: Mapping[str, tuple[float, float]]) -> float | None:
    """What an answer cost, in the money of `prices`; `None` where the model has no price there.

    Args:
        usage: its tokens.
        model: the model's name, as `prices` spells it.
        prices: money per million tokens of input and of output, by model.
    """
    price = None if model is None else prices.get(model)
    if price is None:
        return None
    return (usage.input_tokens * price[0] + usage.output_tokens * price[1]) / 1e6


def _reason(response: object) -> Refusal | None:
    if response is None:
        return Refusal.EMPTY
    if isinstance(response, str | bytes):
        return None if response.strip() else Refusal.EMPTY
    if isinstance(response, dict):
        return _reason_of_body(response)
    if isinstance(response, list | tuple):
        return None if response else Refusal.EMPTY
    return None


def _reason_of_body(body: dict[str, object]) -> Refusal | None:
    if not body:
        return Refusal.EMPTY
    kind = body.get("type")
    error = body.get("error")
    # An "error" that is a number is a result: an estimate's error, say.
    if kind == "error" or isinstance(error, dict) or (isinstance(error, str) and error):
        return Refusal.ERROR
    choices = body.get("choices")
    if body.get("object") in _CHAT_OBJECTS or _are_choices(choices):
        return _first(_reason_of_choice(choice) for choice in _listed(choices)) if choices else Refusal.EMPTY
    if body.get("object") == "response" or ("output" in body and "incomplete_details" in body):
        return _reason_of_response(body)
    if kind == "message" or ("stop_reason" in body and isinstance(body.get("content"), list)):
        return _reason_of_message(body)
    return None


def _are_choices(choices: object) -> bool:
    """Whether the list is one of completions, not one that happens to have the same name."""
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and not choice.keys().isdisjoint(("finish_reason", "message", "delta"))
        for choice in choices
    )


def _reason_of_choice(choice: dict[str, object]) -> Refusal | None:
    """One choice of a chat or text completion."""
    stop = choice.get("finish_reason")
    reason = _CHAT_STOPS.get(stop, Refusal.INCOMPLETE) if isinstance(stop, str) else Refusal.INCOMPLETE
    if reason not in (None, Refusal.TOOL_CALL):
        return reason
    message = choice.get("message")
    if not isinstance(message, dict):
        text = choice.get("text")
        if not isinstance(text, str):
            return Refusal.INCOMPLETE
        return reason if text.strip() else Refusal.EMPTY
    if message.get("refusal"):
        return Refusal.REFUSED
    # A forced function call stops with "stop".
    if message.get("tool_calls") or message.get("function_call"):
        return Refusal.TOOL_CALL
    if not _says_something(message.get("content")) and not message.get("audio"):
        return Refusal.EMPTY
    return reason


def _reason_of_response(body: dict[str, object]) -> Refusal | None:
    """A body of the responses API."""
    status, details = body.get("status"), body.get("incomplete_details")
    if status == "failed":
        return Refusal.ERROR
    if status != "completed" or details:
        why = details.get("reason") if isinstance(details, dict) else None
        return (
            _INCOMPLETE_REASONS.get(why, Refusal.INCOMPLETE) if isinstance(why, str) else Refusal.INCOMPLETE
        )
    items = _listed(body.get("output"))
    if any(item.get("status") in ("in_progress", "incomplete") for item in items):
        return Refusal.INCOMPLETE
    if any(item.get("status") == "failed" or item.get("error") for item in items):
        return Refusal.TOOL_FAILED
    spoken = [item for item in items if item.get("type") == "message"]
    parts = [part for item in spoken for part in _listed(item.get("content"))]
    if any(part.get("type") == "refusal" for part in parts):
        return Refusal.REFUSED
    kinds = {str(item.get("type")) for item in items} - _SILENT_ITEMS - {"message"}
    if kinds - _PROVIDER_ITEMS:
        return Refusal.TOOL_CALL
    drawn = "image_generation_call" in kinds
    return None if drawn or _says_something(parts) else Refusal.EMPTY


def _reason_of_message(body: dict[str, object]) -> Refusal | None:
    """A body of Anthropic's messages API."""
    stop = body.get("stop_reason")
    reason = _ANTHROPIC_STOPS.get(stop, Refusal.INCOMPLETE) if isinstance(stop, str) else Refusal.INCOMPLETE
    if reason not in (None, Refusal.TOOL_CALL):
        return reason
    parts = _listed(body.get("content"))
    if any(_is_failed_result(part) for part in parts):
        return Refusal.TOOL_FAILED
    if reason is Refusal.TOOL_CALL or any(part.get("type") == "tool_use" for part in parts):
        return Refusal.TOOL_CALL
    return None if _says_something(parts) else Refusal.EMPTY


def _is_failed_result(part: dict[str, object]) -> bool:
    """Whether a tool that the provider ran brought an error; how code that it ran ended is no such thing."""
    if not str(part.get("type")).endswith(_TOOL_RESULT):
        return False
    content = part.get("content")
    if isinstance(content, dict) and ("error_code" in content or str(content.get("type")).endswith("_error")):
        return True
    return part.get("is_error") is True


def _says_something(content: object) -> bool:
    """Whether a string, or a part of a list of parts, holds text that is not blank."""
    if isinstance(content, str):
        return bool(content.strip())
    return any(isinstance(text := part.get("text"), str) and text.strip() for part in _listed(content))


def _listed(values: object) -> list[dict[str, object]]:
    """The mappings of a list; what is none of that counts as an empty one, so that it is found wanting."""
    if not isinstance(values, list | tuple):
        return []
    return [value if isinstance(value, dict) else {} for value in values]


def _first(reasons: Iterable[Refusal | None]) -> Refusal | None:
    """The first reason to refuse, one for a tool call last: that one may be overruled."""
    found = [reason for reason in reasons if reason is not None]
    return min(found, key=lambda reason: reason is Refusal.TOOL_CALL, default=None)


def _is_larger(response: object, most: int) -> bool:
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        raise InvalidValueError(f"expected max_response_bytes of 0 or more, got {most!r}")
    return len(encode_response(response)[1]) > most
