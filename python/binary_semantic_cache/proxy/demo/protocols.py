"""The replies and streams of the demo's model, as each API writes them.

Sources: the response types of the openai 3.57 and anthropic 2.14 Python SDKs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from binary_semantic_cache.proxy.sse import event_bytes, json_event_bytes
from binary_semantic_cache.text.request import Request

__all__ = ["PROTOCOLS", "Protocol", "Said"]

Events = Iterator[tuple[bytes, bool]]
"""Events of a stream, and whether each is a token that takes its time."""


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of the model."""

    id: str
    created: int
    model: str
    pieces: list[str]
    is_whole: bool
    """False where the limit of tokens has cut it."""
    input_tokens: int

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)

    @property
    def total_tokens(self) -> int:
        """Of question and answer."""
        return self.input_tokens + len(self.pieces)


@dataclass(frozen=True, slots=True)
class Protocol:
    """One API."""

    read: Callable[[Mapping[str, Any]], Request]
    reply: Callable[[Said], dict[str, Any]]
    events: Callable[[Said, Mapping[str, Any]], Events]
    error: Callable[[str, str], dict[str, Any]]


def _openai_error(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _anthropic_error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


# OpenAI chat and completions


def _tokens_used(said: Said) -> dict[str, int]:
    return {
        "prompt_tokens": said.input_tokens,
        "completion_tokens": len(said.pieces),
        "total_tokens": said.total_tokens,
    }


def _finish(said: Said) -> str:
    return "stop" if said.is_whole else "length"


def _chat_reply(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}
    return _chat("chat.completion", said, [choice]) | {"usage": _tokens_used(said)}


def _chat(kind: str, said: Said, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{said.id}",
        "object": kind,
        "created": said.created,
        "model": said.model,
        "choices": choices,
        "service_tier": "default",
        "system_fingerprint": "fp_demo",
    }


def _chat_events(said: Said, body: Mapping[str, Any]) -> Events:
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    no_usage = {"usage": None} if wants_usage else {}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data(_chat("chat.completion.chunk", said, [choice]) | no_usage)

    yield chunk({"role": "assistant", "content": "", "refusal": None}), False
    for piece in said.pieces:
        yield chunk({"content": piece}), True
    yield chunk({}, _finish(said)), False
    if wants_usage:
        yield _data(_chat("chat.completion.chunk", said, []) | {"usage": _tokens_used(said)}), False
    yield event_bytes("[DONE]"), False


def _completion(said: Said, text: str, finish: str | None) -> dict[str, Any]:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    return {
        "id": f"cmpl-{said.id}",
        "object": "text_completion",
        "created": said.created,
        "model": said.model,
        "choices": [choice],
    }


def _completion_reply(said: Said) -> dict[str, Any]:
    return _completion(said, said.text, _finish(said)) | {"usage": _tokens_used(said)}


def _completion_events(said: Said, body: Mapping[str, Any]) -> Events:
    for piece in said.pieces:
        yield _data(_completion(said, piece, None)), True
    yield _data(_completion(said, "", _finish(said))), False
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _data(_completion(said, "", None) | {"choices": [], "usage": _tokens_used(said)}), False
    yield event_bytes("[DONE]"), False


# OpenAI responses


def _response(said: Said, status: str, output: list[dict[str, Any]], *, is_over: bool) -> dict[str, Any]:
    usage = {
        "input_tokens": said.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": len(said.pieces),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": said.total_tokens,
    }
    return {
        "id": f"resp_{said.id}",
        "object": "response",
        "created_at": said.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "model": said.model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage if is_over else None,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(said: Said, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{said.id}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _responses_reply(said: Said) -> dict[str, Any]:
    status = "completed" if said.is_whole else "incomplete"
    return _response(said, status, [_item(said, status, [_part(said.text)])], is_over=True)


def _responses_events(said: Said, _: Mapping[str, Any]) -> Events:
    number = 0

    def event(kind: str, **fields: Any) -> bytes:
        nonlocal number
        content = {"type": kind, "sequence_number": number, **fields}
        number += 1
        return _data(content, kind)

    place = {"item_id": f"msg_{said.id}", "output_index": 0, "content_index": 0}
    begun = _response(said, "in_progress", [], is_over=False)
    reply = _responses_reply(said)
    yield event("response.created", response=begun), False
    yield event("response.in_progress", response=begun), False
    yield event("response.output_item.added", output_index=0, item=_item(said, "in_progress", [])), False
    yield event("response.content_part.added", **place, part=_part("")), False
    for piece in said.pieces:
        yield event("response.output_text.delta", **place, delta=piece, logprobs=[]), True
    yield event("response.output_text.done", **place, text=said.text, logprobs=[]), False
    yield event("response.content_part.done", **place, part=_part(said.text)), False
    yield event("response.output_item.done", output_index=0, item=reply["output"][0]), False
    yield event(f"response.{reply['status']}", response=reply), False


# Anthropic messages


def _message(
    said: Said, content: list[dict[str, Any]], stop: str | None, output_tokens: int
) -> dict[str, Any]:
    return {
        "id": f"msg_{said.id}",
        "type": "message",
        "role": "assistant",
        "model": said.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": said.input_tokens, "output_tokens": output_tokens},
    }


def _stop(said: Said) -> str:
    return "end_turn" if said.is_whole else "max_tokens"


def _messages_reply(said: Said) -> dict[str, Any]:
    return _message(said, [{"type": "text", "text": said.text}], _stop(said), len(said.pieces))


def _messages_events(said: Said, _: Mapping[str, Any]) -> Events:
    def event(kind: str, **fields: Any) -> bytes:
        return _data({"type": kind, **fields}, kind)

    yield event("message_start", message=_message(said, [], None, 1)), False
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""}), False
    yield event("ping"), False
    for piece in said.pieces:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece}), True
    yield event("content_block_stop", index=0), False
    end = {"stop_reason": _stop(said), "stop_sequence": None}
    yield event("message_delta", delta=end, usage={"output_tokens": len(said.pieces)}), False
    yield event("message_stop"), False


def _data(content: Mapping[str, Any], name: str = "") -> bytes:
    return json_event_bytes(content, name)


PROTOCOLS: Mapping[str, Protocol] = {
    "/v1/chat/completions": Protocol(Request.from_openai_chat, _chat_reply, _chat_events, _openai_error),
    "/v1/completions": Protocol(
        Request.from_openai_completion, _completion_reply, _completion_events, _openai_error
    ),
    "/v1/responses": Protocol(
        Request.from_openai_responses, _responses_reply, _responses_events, _openai_error
    ),
    "/v1/messages": Protocol(Request.from_anthropic, _messages_reply, _messages_events, _anthropic_error),
}
"""By path."""
