"""The events that say an answer of OpenAI's `responses`, each with its number.

Source: the OpenAI Python SDK (`ResponseStreamEvent`), read in 2026.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

from binary_semantic_cache.proxy.apis import Answer
from binary_semantic_cache.proxy.apis.openai_chunks import token_slices
from binary_semantic_cache.proxy.apis.pieces import pieces
from binary_semantic_cache.proxy.sse import json_event_bytes

__all__ = ["play"]

_Said: TypeAlias = tuple[str, dict[str, Any]]
"""The kind of an event, without `response.`, and its fields."""

# Items that say one string piece by piece: its field, and the kind of the events.
_ARGUMENTS = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
    "mcp_call": ("arguments", "mcp_call_arguments"),
    "code_interpreter_call": ("code", "code_interpreter_call_code"),
}

# How items tell of a tool that the provider runs: before what they say piece by piece, and after.
_PROGRESS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "web_search_call": (("in_progress", "searching"), ("completed",)),
    "file_search_call": (("in_progress", "searching"), ("completed",)),
    "image_generation_call": (("in_progress", "generating"), ("completed",)),
    "code_interpreter_call": (("in_progress",), ("interpreting", "completed")),
    "mcp_call": (("in_progress",), ("completed",)),
    "mcp_list_tools": (("in_progress",), ("completed",)),
}
# What such a tool brings, which is not known when it begins.
_BROUGHT = ("result", "results", "output", "outputs")


def play(answer: Answer) -> Iterator[bytes]:
    """The stream that says `answer`, event by event."""
    for number, (kind, fields) in enumerate(_events(answer)):
        name = f"response.{kind}"
        yield json_event_bytes({"type": name, "sequence_number": number, **fields}, name)


def _events(answer: Answer) -> Iterator[_Said]:
    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    begun.update((key, None) for key in ("completed_at", "incomplete_details") if key in answer)
    yield "created", {"response": begun}
    yield "in_progress", {"response": begun}
    for index, item in enumerate(answer["output"]):
        at = {"item_id": item.get("id") or "", "output_index": index}
        first, said = _item(item, at)
        if "status" in item:
            first = {**first, "status": "in_progress"}
        kind = str(item.get("type"))
        if kind in _PROGRESS:
            first = {**first, **{name: None for name in _BROUGHT if name in first}}
        yield "output_item.added", {"output_index": index, "item": first}
        before, after = _PROGRESS.get(kind, ((), ()))
        yield from ((f"{kind}.{step}", at) for step in before)
        yield from said
        if item.get("status") in ("completed", None) and not item.get("error"):
            yield from ((f"{kind}.{step}", at) for step in after)
        yield "output_item.done", {"output_index": index, "item": item}
    is_whole = answer.get("status") == "completed"
    yield "completed" if is_whole else "incomplete", {"response": answer}


def _item(item: dict[str, Any], at: dict[str, Any]) -> tuple[dict[str, Any], Iterator[_Said]]:
    """An item as it starts, and the events that complete it."""
    kind = item.get("type")
    if kind == "message":
        return {**item, "content": []}, _parts(item.get("content") or [], at)
    if kind == "reasoning":
        first = {**item, "summary": []} if "summary" in item else item
        if item.get("content"):
            first = {**first, "content": []}
        return first, _reasoning(item, at)
    if isinstance(kind, str) and kind in _ARGUMENTS:
        name, event = _ARGUMENTS[kind]
        if isinstance(item.get(name), str):
            return {**item, name: ""}, _string(event, name, item[name], at)
    return item, iter(())


def _parts(parts: list[dict[str, Any]], at: dict[str, Any]) -> Iterator[_Said]:
    for index, part in enumerate(parts):
        here = {**at, "content_index": index}
        first = part
        said: Iterator[_Said] = iter(())
        kind = part.get("type")
        if kind == "output_text" and isinstance(part.get("text"), str):
            lists: dict[str, Any] = {key: [] for key in ("annotations", "logprobs") if part.get(key)}
            first, said = {**part, "text": "", **lists}, _text(part, here)
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            first, said = {**part, "refusal": ""}, _string("refusal", "refusal", part["refusal"], here)
        elif kind == "reasoning_text" and isinstance(part.get("text"), str):
            first, said = {**part, "text": ""}, _string("reasoning_text", "text", part["text"], here)
        yield "content_part.added", {**here, "part": first}
        yield from said
        yield "content_part.done", {**here, "part": part}


def _text(part: dict[str, Any], at: dict[str, Any]) -> Iterator[_Said]:
    logprobs = part.get("logprobs")
    tokens: list[Any] = logprobs if isinstance(logprobs, list) else []
    names = [str(token.get("token")) if isinstance(token, dict) else "" for token in tokens]
    for piece, of in token_slices(part["text"], names or None):
        yield "output_text.delta", {**at, "delta": piece, "logprobs": tokens[of]}
    for number, annotation in enumerate(part.get("annotations") or []):
        fields = {"annotation_index": number, "annotation": annotation}
        yield "output_text.annotation.added", {**at, **fields}
    yield "output_text.done", {**at, "text": part["text"], "logprobs": tokens}


def _reasoning(item: dict[str, Any], at: dict[str, Any]) -> Iterator[_Said]:
    for index, part in enumerate(item.get("summary") or []):
        here = {**at, "summary_index": index}
        text = part.get("text") if isinstance(part.get("text"), str) else ""
        yield "reasoning_summary_part.added", {**here, "part": {**part, "text": ""}}
        yield from _string("reasoning_summary_text", "text", text, here)
        yield "reasoning_summary_part.done", {**here, "part": part}
    yield from _parts(item.get("content") or [], at)


def _string(event: str, name: str, text: str, at: dict[str, Any]) -> Iterator[_Said]:
    """A string piece by piece, and once more as a whole."""
    yield from ((f"{event}.delta", {**at, "delta": piece}) for piece in pieces(text))
    yield f"{event}.done", {**at, name: text}
