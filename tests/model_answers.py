"""What the model of `model_server` answers, in OpenAI's and Anthropic's words, as a whole and as a stream.

An answer names who asked, which model, what was asked, and the number of the call: whoever gets it can tell
whether it is the right one, somebody else's, or one from before. A word in the model's name asks for more:
`tools`, `json`, `thinking`, `length`, `filter`, `refusal`, `empty`, `long`.
"""

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Said", "anthropic_whole", "chat_whole", "embeddings", "events_of", "say", "whole_of"]

CREATED = 1_790_000_000
ARGUMENTS = '{"city": "Paris", "unit": "celsius"}'
LONG_WORDS = 400


@dataclass(frozen=True)
class Said:
    """One answer, before it is put into the words of an API."""

    text: str
    model: str
    call: int
    asked: str
    is_tool_call: bool = False
    thinking: str = ""
    stop: str = "stop"
    """As OpenAI's chat says it."""
    refusal: str = ""

    @property
    def input_tokens(self) -> int:
        return 1 + len(self.asked.split())

    @property
    def output_tokens(self) -> int:
        return 1 + len(self.text.split()) + len(self.thinking.split())


def prompt_of(body: Mapping[str, Any]) -> str:
    """Text of the last turn, whatever the API."""
    turns = body.get("messages", body.get("input", body.get("prompt", "")))
    if isinstance(turns, list) and turns:
        last = turns[-1]
        turns = last.get("content", last.get("output", "")) if isinstance(last, dict) else last
    if isinstance(turns, list):
        turns = " ".join(part.get("text", "") for part in turns if isinstance(part, dict))
    return str(turns)


def say(owner: str, body: Mapping[str, Any], call: int) -> Said:
    """What the model answers `owner`."""
    model, asked = str(body.get("model", "")), prompt_of(body)
    wanted = set(model.split("-"))
    text = f"{model} tells {owner} about «{asked}» (call {call})"
    stop = "stop"
    if "json" in wanted:
        text = json.dumps({"answer": text, "number": call})
    if "long" in wanted:
        text += " and so on" * LONG_WORDS
    if "empty" in wanted:
        text = ""
    if "length" in wanted:
        stop = "length"
    if "filter" in wanted:
        stop = "content_filter"
    return Said(
        text="" if "tools" in wanted or "refusal" in wanted else text,
        model=model,
        call=call,
        asked=asked,
        is_tool_call="tools" in wanted,
        thinking=f"The question is {asked!r}." if "thinking" in wanted else "",
        stop="tool_calls" if "tools" in wanted else stop,
        refusal=f"I cannot help {owner}." if "refusal" in wanted else "",
    )


def whole_of(path: str, body: Mapping[str, Any], said: Said) -> dict[str, Any]:
    """The body of a reply that is no stream."""
    match path:
        case "/v1/chat/completions":
            return chat_whole(said, int(body.get("n") or 1))
        case "/v1/completions":
            return completion_whole(said)
        case "/v1/responses":
            return response_whole(said, body)
        case _:
            return anthropic_whole(said)


def events_of(path: str, body: Mapping[str, Any], said: Said) -> list[bytes]:
    """The events of the same as a stream, its end among them."""
    match path:
        case "/v1/chat/completions":
            include = bool((body.get("stream_options") or {}).get("include_usage"))
            return [*map(_data, _chat_chunks(said, int(body.get("n") or 1), include)), b"data: [DONE]\n\n"]
        case "/v1/completions":
            return [*map(_data, _completion_chunks(said)), b"data: [DONE]\n\n"]
        case "/v1/responses":
            return [_named(event) for event in _response_events(said, body)]
        case _:
            return [_named(event) for event in _anthropic_events(said)]


def embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vectors = [_direction(str(text), int(body.get("dimensions") or 8)) for text in texts]
    if body.get("encoding_format") == "base64":
        given: list[Any] = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
    else:
        given = [vector.tolist() for vector in vectors]
    data = [{"object": "embedding", "index": i, "embedding": one} for i, one in enumerate(given)]
    n = sum(len(str(text).split()) for text in texts)
    usage = {"prompt_tokens": n, "total_tokens": n}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def _direction(text: str, dimension: int) -> np.ndarray:
    seed = sum(ord(letter) * (place + 1) for place, letter in enumerate(text))
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return vector / np.float32(math.sqrt(float(vector @ vector)))


def _pieces(text: str) -> list[str]:
    """As a model's tokens: a word with the space before it."""
    return re.findall(r"\s*\S+|\s+$", text)


def _data(value: object) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _named(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + _data(event)


# OpenAI, chat


def _chat_usage(said: Said) -> dict[str, Any]:
    total = said.input_tokens + said.output_tokens
    return {
        "prompt_tokens": said.input_tokens,
        "completion_tokens": said.output_tokens,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    }


def _tool_call() -> dict[str, Any]:
    return {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": ARGUMENTS},
    }


def chat_whole(said: Said, n: int = 1) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
    if said.thinking:
        message["reasoning_content"] = said.thinking
    if said.is_tool_call:
        message |= {"content": None, "tool_calls": [_tool_call()]}
    if said.refusal:
        message |= {"content": None, "refusal": said.refusal}
    return {
        "id": f"chatcmpl-{said.call}",
        "object": "chat.completion",
        "created": CREATED + said.call,
        "model": said.model,
        "choices": [
            {"index": i, "message": message, "logprobs": None, "finish_reason": said.stop} for i in range(n)
        ],
        "usage": _chat_usage(said),
        "service_tier": "default",
        "system_fingerprint": "fp_trial",
    }


def _chat_chunks(said: Said, n: int, include_usage: bool) -> Iterator[dict[str, Any]]:
    head = {
        "id": f"chatcmpl-{said.call}",
        "object": "chat.completion.chunk",
        "created": CREATED + said.call,
        "model": said.model,
        "service_tier": "default",
        "system_fingerprint": "fp_trial",
    }
    usage = {"usage": None} if include_usage else {}

    def chunk(i: int, delta: dict[str, Any], stop: str | None = None) -> dict[str, Any]:
        choice = {"index": i, "delta": delta, "logprobs": None, "finish_reason": stop}
        return head | {"choices": [choice]} | usage

    for i in range(n):
        yield chunk(i, {"role": "assistant", "content": None if said.is_tool_call else "", "refusal": None})
        for piece in _pieces(said.thinking):
            yield chunk(i, {"reasoning_content": piece})
        for piece in _pieces(said.refusal):
            yield chunk(i, {"refusal": piece})
        for piece in _pieces(said.text):
            yield chunk(i, {"content": piece})
        if said.is_tool_call:
            call = _tool_call()
            first = call | {"index": 0, "function": {"name": "get_weather", "arguments": ""}}
            yield chunk(i, {"tool_calls": [first]})
            for piece in _pieces(ARGUMENTS):
                yield chunk(i, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        yield chunk(i, {}, said.stop)
    if include_usage:
        yield head | {"choices": [], "usage": _chat_usage(said)}


def completion_whole(said: Said) -> dict[str, Any]:
    return {
        "id": f"cmpl-{said.call}",
        "object": "text_completion",
        "created": CREATED + said.call,
        "model": said.model,
        "choices": [{"text": said.text, "index": 0, "logprobs": None, "finish_reason": said.stop}],
        "usage": {name: value for name, value in _chat_usage(said).items() if name.endswith("_tokens")},
    }


def _completion_chunks(said: Said) -> Iterator[dict[str, Any]]:
    head = {
        "id": f"cmpl-{said.call}",
        "object": "text_completion",
        "created": CREATED + said.call,
        "model": said.model,
    }
    for piece, stop in [*((piece, None) for piece in _pieces(said.text)), ("", said.stop)]:
        yield head | {"choices": [{"text": piece, "index": 0, "logprobs": None, "finish_reason": stop}]}


# OpenAI, responses


def _output_items(said: Said) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.thinking:
        summary = [{"type": "summary_text", "text": said.thinking}]
        items.append({"id": f"rs_{said.call}", "type": "reasoning", "summary": summary})
    if said.is_tool_call:
        items.append(
            {
                "id": f"fc_{said.call}",
                "type": "function_call",
                "status": "completed",
                "arguments": ARGUMENTS,
                "call_id": "call_1",
                "name": "get_weather",
            }
        )
        return items
    part: dict[str, Any] = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
    if said.refusal:
        part = {"type": "refusal", "refusal": said.refusal}
    message = {"id": f"msg_{said.call}", "type": "message", "status": "completed", "role": "assistant"}
    items.append(message | {"content": [part]})
    return items


def response_whole(said: Said, body: Mapping[str, Any]) -> dict[str, Any]:
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = reasons.get(said.stop)
    return {
        "id": f"resp_{said.call}",
        "object": "response",
        "created_at": CREATED + said.call,
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "model": said.model,
        "output": _output_items(said),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "text": body.get("text", {"format": {"type": "text"}}),
        "top_p": 1.0,
        "metadata": {},
        "usage": {
            "input_tokens": said.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": said.input_tokens + said.output_tokens,
        },
    }


def _response_events(said: Said, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    whole = response_whole(said, body)
    begun = whole | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for place, item in enumerate(whole["output"]):
        events += _item_events(place, item)
    events.append({"type": f"response.{whole['status']}", "response": whole})
    for number, event in enumerate(events):
        yield {"type": event["type"], "sequence_number": number, **event}


def _item_events(place: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    at = {"output_index": place, "item_id": item["id"]}
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}, "reasoning": {"summary": []}}
    begun = item | empty[item["type"]]
    if "status" in item:
        begun["status"] = "in_progress"
    yield {"type": "response.output_item.added", "output_index": place, "item": begun}
    if item["type"] == "function_call":
        for piece in _pieces(ARGUMENTS):
            yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **at, "arguments": ARGUMENTS}
    for kind, parts in (("content", item.get("content", [])), ("summary", item.get("summary", []))):
        for index, part in enumerate(parts):
            yield from _part_events(at | {f"{kind}_index": index}, kind, part)
    yield {"type": "response.output_item.done", "output_index": place, "item": item}


def _part_events(at: dict[str, Any], kind: str, part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    around = "content_part" if kind == "content" else "reasoning_summary_part"
    name = {"output_text": "output_text", "refusal": "refusal", "summary_text": "reasoning_summary_text"}[
        part["type"]
    ]
    field = "refusal" if part["type"] == "refusal" else "text"
    more = {"logprobs": []} if name == "output_text" else {}
    yield {"type": f"response.{around}.added", **at, "part": part | {field: ""}}
    for piece in _pieces(part[field]):
        yield {"type": f"response.{name}.delta", **at, "delta": piece, **more}
    yield {"type": f"response.{name}.done", **at, field: part[field], **more}
    yield {"type": f"response.{around}.done", **at, "part": part}


# Anthropic

_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def _blocks(said: Said) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thinking:
        blocks.append({"type": "thinking", "thinking": said.thinking, "signature": "c2lnbmF0dXJl"})
    if said.is_tool_call:
        arguments = json.loads(ARGUMENTS)
        blocks.append({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": arguments})
    else:
        blocks.append({"type": "text", "text": said.refusal or said.text})
    return blocks


def anthropic_whole(said: Said) -> dict[str, Any]:
    return {
        "id": f"msg_{said.call}",
        "type": "message",
        "role": "assistant",
        "model": said.model,
        "content": _blocks(said),
        "stop_reason": "refusal" if said.refusal else _STOPS[said.stop],
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": said.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": said.output_tokens,
        },
    }


def _anthropic_events(said: Said) -> Iterator[dict[str, Any]]:
    whole = anthropic_whole(said)
    begun = whole | {"content": [], "stop_reason": None, "usage": whole["usage"] | {"output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "ping"}
    for index, block in enumerate(whole["content"]):
        kind = block["type"]
        empty = {
            "text": {"text": ""},
            "thinking": {"thinking": "", "signature": ""},
            "tool_use": {"input": {}},
        }
        yield {"type": "content_block_start", "index": index, "content_block": block | empty[kind]}
        text = ARGUMENTS if kind == "tool_use" else block[kind]
        delta, field = {
            "text": ("text_delta", "text"),
            "thinking": ("thinking_delta", "thinking"),
            "tool_use": ("input_json_delta", "partial_json"),
        }[kind]
        for piece in _pieces(text):
            yield {"type": "content_block_delta", "index": index, "delta": {"type": delta, field: piece}}
        if kind == "thinking":
            signed = {"type": "signature_delta", "signature": block["signature"]}
            yield {"type": "content_block_delta", "index": index, "delta": signed}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": said.output_tokens}}
    yield {"type": "message_stop"}
