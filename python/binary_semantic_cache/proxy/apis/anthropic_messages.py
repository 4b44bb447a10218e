"""Anthropic's `messages`.

Source: the Anthropic Python SDK (`RawMessageStreamEvent`, `accumulate_event`, and their beta twins), read in
2026. New kinds of events and deltas are announced there as possible at any time.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from binary_semantic_cache.proxy.apis import Answer, Provider
from binary_semantic_cache.proxy.apis.assembling import StreamAssembler
from binary_semantic_cache.proxy.apis.growing import (
    Text,
    UnkeptError,
    append,
    grow,
    joined,
    later,
    settled,
)
from binary_semantic_cache.proxy.apis.pieces import pieces
from binary_semantic_cache.proxy.apis.reading import read_object
from binary_semantic_cache.proxy.apis.stream_options import check_travel, wants_stream
from binary_semantic_cache.proxy.sse import Event, json_event_bytes
from binary_semantic_cache.text.request import Request

__all__ = ["AnthropicMessages"]

# In the message's last events, not in its first.
_LATE = ("stop_reason", "stop_sequence", "stop_details", "container")
_LATE_BESIDE = ("context_management",)
_LATE_USAGE = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "server_tool_use",
    "output_tokens_details",
    "iterations",
)


class AnthropicMessages:
    """Bodies, streams and answers of `/v1/messages`."""

    name = "anthropic.messages"
    path = "/v1/messages"
    provider: Provider = "anthropic"

    def request(self, body: Mapping[str, Any]) -> Request:
        """What is asked."""
        check_travel(body)
        return Request.from_anthropic(body)

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Whether the reply is to be a stream."""
        return wants_stream(body)

    def assembler(self) -> "MessageAssembler":
        """For one stream."""
        return MessageAssembler()

    def suits(self, answer: Answer, body: Mapping[str, Any]) -> bool:
        """Whether `answer` is a message; each has its usage, streamed or not."""
        blocks = answer.get("content")
        return (
            answer.get("type") == "message"
            and isinstance(answer.get("usage"), dict)
            and isinstance(blocks, list)
            and all(isinstance(block, dict) for block in blocks)
        )

    def play(self, answer: Answer, body: Mapping[str, Any]) -> Iterator[bytes]:
        """The stream that says `answer`."""
        usage: dict[str, Any] = answer["usage"]
        start = {**answer, "content": []}
        start.update((key, None) for key in (*_LATE, *_LATE_BESIDE) if key in answer)
        # What was written is counted up to each event, and nothing has been yet.
        start["usage"] = {**usage, "output_tokens": 0} if "output_tokens" in usage else usage
        yield _event("message_start", message=start)
        for index, block in enumerate(answer["content"]):
            first, deltas = _said(block)
            yield _event("content_block_start", index=index, content_block=first)
            for delta in deltas:
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        yield _event(
            "message_delta",
            delta={key: answer[key] for key in _LATE if key in answer},
            usage={key: usage[key] for key in _LATE_USAGE if key in usage},
            **{key: answer[key] for key in _LATE_BESIDE if key in answer},
        )
        yield _event("message_stop")


class MessageAssembler(StreamAssembler):
    """Puts the events of a message together."""

    def __init__(self) -> None:
        super().__init__()
        self._message: dict[str, Any] | None = None
        self._blocks: list[dict[str, Any]] = []
        self._input: Text | None = None
        self._is_open = False

    def take(self, event: Event) -> Answer | None:
        """Takes an event; the answer if it was the stream's last."""
        if event.name == "error":
            raise UnkeptError("error")
        said = read_object(event.data)
        if said is None:
            raise UnkeptError("malformed")
        kind = said.get("type")
        if kind == "error":
            raise UnkeptError("error")
        if not isinstance(kind, str) or event.name not in ("", kind):
            raise UnkeptError("malformed")
        if kind == "ping":
            return None
        if kind not in _FIELDS:
            raise UnkeptError("unknown_event")
        if kind == "message_stop":
            return self._whole()
        if said.keys() - _FIELDS[kind] - {"type"}:
            raise UnkeptError("unknown_delta")
        if kind == "message_start":
            self._start(said.get("message"))
        elif self._message is None:
            raise UnkeptError("malformed")
        elif kind == "message_delta":
            self._take_end(self._message, said)
        elif kind == "content_block_start":
            self._start_block(said)
        else:
            self._continue_block(kind, said)
        return None

    def take_after_end(self, event: Event) -> None:
        """Nothing but a sign of life may follow the end."""
        if event.name != "ping":
            super().take_after_end(event)

    def _start(self, message: object) -> None:
        if self._message is not None or not isinstance(message, dict):
            raise UnkeptError("malformed")
        if message.get("content") or not isinstance(message.get("usage"), dict):
            raise UnkeptError("malformed")
        self._message = message

    def _start_block(self, said: dict[str, Any]) -> None:
        block, index = said.get("content_block"), said.get("index")
        if self._is_open or not _is_index(index) or index != len(self._blocks) or not isinstance(block, dict):
            raise UnkeptError("malformed")
        self._blocks.append(block)
        self._is_open = True

    def _continue_block(self, kind: str, said: dict[str, Any]) -> None:
        """A delta for the open block, or its end: blocks come one after the other."""
        index = said.get("index")
        if not self._is_open or not _is_index(index) or index != len(self._blocks) - 1:
            raise UnkeptError("malformed")
        block = self._blocks[-1]
        if kind == "content_block_stop":
            self._is_open = False
            if self._input is not None:
                _set_input(block, self._input.whole())
                self._input = None
            return
        delta = said.get("delta")
        if not isinstance(delta, dict):
            raise UnkeptError("malformed")
        delta_kind = delta.pop("type", None)
        if delta_kind == "input_json_delta" and delta.keys() == {"partial_json"}:
            fragment = delta["partial_json"]
            if not isinstance(fragment, str) or not isinstance(block.get("input"), dict):
                raise UnkeptError("malformed")
            self._input = self._input or Text()
            self._input.fragments.append(fragment)
            return
        taking = _DELTAS.get(delta_kind) if isinstance(delta_kind, str) else None
        if taking is None:
            raise UnkeptError("unknown_delta")
        taking(block, delta)

    def _take_end(self, message: dict[str, Any], said: dict[str, Any]) -> None:
        """What is known at the end of a message; may come more than once, each time with the sums so far."""
        delta, usage = said.get("delta"), said.get("usage")
        if not isinstance(delta, dict) or not isinstance(usage, dict | None):
            raise UnkeptError("malformed")
        beside = {key: said[key] for key in (*_LATE_BESIDE, "input_transformations") if key in said}
        for key, value in (*delta.items(), *beside.items()):
            if key in ("content", "usage", "type"):
                raise UnkeptError("unknown_delta")
            if value is None:
                message.setdefault(key, None)
            elif key in ("container", *beside):
                message[key] = value
            else:
                message[key] = later(message.get(key), value)
        for key, value in (usage or {}).items():
            if value is None:
                message["usage"].setdefault(key, None)
            else:
                message["usage"][key] = value

    def _whole(self) -> Answer:
        if self._message is None or self._is_open or not self._message.get("stop_reason"):
            raise UnkeptError("malformed")
        self._message["content"] = [settled(block) for block in self._blocks]
        return self._message


_FIELDS: dict[str, frozenset[str]] = {
    "message_start": frozenset({"message"}),
    "content_block_start": frozenset({"index", "content_block"}),
    "content_block_delta": frozenset({"index", "delta"}),
    "content_block_stop": frozenset({"index"}),
    "message_delta": frozenset({"delta", "usage", "context_management", "input_transformations"}),
    # Gateways add figures of their own to the last event.
    "message_stop": frozenset(),
}


def _grows(name: str, *, padding: str = "") -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """What takes a delta with a fragment of the block's string `name`."""

    def take(block: dict[str, Any], delta: dict[str, Any]) -> None:
        if delta.keys() - {name, padding} or not isinstance(delta.get(name), str):
            raise UnkeptError("unknown_delta")
        if name not in block:
            raise UnkeptError("unknown_delta")
        grow(block, name, delta[name])

    return take


def _take_signature(block: dict[str, Any], delta: dict[str, Any]) -> None:
    # A second one might be a continuation or a replacement.
    if delta.keys() != {"signature"} or block.get("signature"):
        raise UnkeptError("unknown_delta")
    block["signature"] = delta["signature"]


def _take_citation(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta.keys() != {"citation"} or not isinstance(delta["citation"], dict):
        raise UnkeptError("unknown_delta")
    append(block, "citations", delta["citation"])


def _take_compaction(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if block.get("type") != "compaction":
        raise UnkeptError("unknown_delta")
    for key, value in delta.items():
        block[key] = joined(block.get(key), value)


_DELTAS: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "text_delta": _grows("text"),
    # `estimated_tokens` drives progress bars; the usage has the number that counts.
    "thinking_delta": _grows("thinking", padding="estimated_tokens"),
    "signature_delta": _take_signature,
    "citations_delta": _take_citation,
    "compaction_delta": _take_compaction,
}


def _is_index(value: object) -> bool:
    return type(value) is int and value >= 0


def _set_input(block: dict[str, Any], text: str) -> None:
    """Sets a tool's input from its JSON; without any the input of the block's start stands."""
    if not text:
        return
    given = read_object(text)
    if given is None or block["input"]:
        raise UnkeptError("malformed")
    block["input"] = given


def _said(block: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """A block as it starts, and the deltas that complete it."""
    kind = block.get("type")
    if kind == "text" and isinstance(block.get("text"), str):
        return _said_text(block)
    if kind == "thinking" and isinstance(block.get("thinking"), str):
        first = {**block, "thinking": ""}
        if block.get("signature"):
            first["signature"] = ""
        return first, _said_thinking(block)
    given = block.get("input")
    if isinstance(given, dict) and isinstance(kind, str) and kind.endswith("tool_use"):
        return {**block, "input": {}}, _said_input(given)
    return block, iter(())


def _said_text(block: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    first = {**block, "text": ""}
    citations = block.get("citations") or []
    if citations:
        first["citations"] = []

    def deltas() -> Iterator[dict[str, Any]]:
        # Some clients see by what comes first whether the text has sources; the API sends these first.
        yield from ({"type": "citations_delta", "citation": citation} for citation in citations)
        yield from ({"type": "text_delta", "text": piece} for piece in pieces(block["text"]))

    return first, deltas()


def _said_thinking(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from ({"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"]))
    if block.get("signature"):
        yield {"type": "signature_delta", "signature": block["signature"]}


def _said_input(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "input_json_delta", "partial_json": ""}
    if given:
        text = json.dumps(given, ensure_ascii=False)
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in pieces(text))


def _event(kind: str, **fields: Any) -> bytes:
    return json_event_bytes({"type": kind, **fields}, kind)
