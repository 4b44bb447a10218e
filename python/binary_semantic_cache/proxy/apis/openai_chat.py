"""OpenAI's `chat/completions`."""

from collections.abc import Iterator, Mapping
from typing import Any

from binary_semantic_cache.proxy.apis import Answer, Provider
from binary_semantic_cache.proxy.apis.growing import (
    Indexed,
    UnkeptError,
    extend,
    grow,
    joined,
)
from binary_semantic_cache.proxy.apis.openai_chunks import (
    ChunkAssembler,
    ChunkWriter,
    has_promised_usage,
    token_slices,
)
from binary_semantic_cache.proxy.apis.pieces import pieces
from binary_semantic_cache.proxy.apis.stream_options import check_travel, wants_stream
from binary_semantic_cache.text.request import Request

__all__ = ["OpenAIChat"]

# Said once, in the first chunk of a choice, and not cut.
_WHOLE_STRINGS = ("role",)
_LATE_STRINGS = ("content", "refusal")
_SAID_BEFORE = ("index", "message", "logprobs")


class OpenAIChat:
    """Bodies, streams and answers of `/v1/chat/completions`."""

    name = "openai.chat"
    path = "/v1/chat/completions"
    provider: Provider = "openai"

    def request(self, body: Mapping[str, Any]) -> Request:
        """What is asked."""
        check_travel(body)
        return Request.from_openai_chat(body)

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Whether the reply is to be a stream."""
        return wants_stream(body)

    def assembler(self) -> "ChatAssembler":
        """For one stream."""
        return ChatAssembler()

    def suits(self, answer: Answer, body: Mapping[str, Any]) -> bool:
        """Whether `answer` is a chat completion that has all that `body` is promised."""
        choices = answer.get("choices")
        return (
            isinstance(choices, list)
            and bool(choices)
            and all(isinstance(choice, dict) and _is_message(choice.get("message")) for choice in choices)
            and has_promised_usage(answer, body)
        )

    def play(self, answer: Answer, body: Mapping[str, Any]) -> Iterator[bytes]:
        """The stream that says `answer`."""
        writer = ChunkWriter(answer, body, "chat.completion.chunk")
        choices = answer["choices"]
        for i, choice in enumerate(choices):
            index = choice.get("index", i)
            # Null where the API has one, and no field where the answer has none.
            silent = {"logprobs": None} if "logprobs" in choice else {}
            for said in _said(choice):
                yield writer.choice(index, {"delta": said["delta"], **silent, **said, "finish_reason": None})
            rest = {
                key: value for key, value in choice.items() if key not in ("index", "message", "logprobs")
            }
            yield writer.choice(index, {"delta": {}, **silent, **rest}, is_last=i == len(choices) - 1)
        yield from writer.end()


class ChatAssembler(ChunkAssembler):
    """Puts the chunks of a chat completion together."""

    chunk_object = "chat.completion.chunk"
    answer_object = "chat.completion"

    def take_choice(self, whole: dict[str, Any], choice: dict[str, Any]) -> None:
        """Adds what a chunk says of a choice to what is known of it."""
        message = whole.setdefault("message", {})
        for key, value in choice.items():
            if key == "delta":
                _take_delta(message, value)
            elif key == "logprobs":
                _take_logprobs(whole, value)
            elif key in ("message", "text"):
                raise UnkeptError("unknown_delta")
            else:
                whole[key] = joined(whole.get(key), value)


def _take_delta(message: dict[str, Any], delta: object) -> None:
    if delta is None:
        return
    if not isinstance(delta, dict):
        raise UnkeptError("malformed")
    for key, value in delta.items():
        if value is None:
            message.setdefault(key, None)
        elif key == "role":
            message[key] = joined(message.get(key) or None, value)
        elif key == "tool_calls":
            _take_calls(message, value)
        elif key == "function_call":
            _take_call_part(message, key, value)
        elif key == "annotations":
            extend(message, key, value)
        elif key == "audio":
            raise UnkeptError("unknown_delta")
        elif isinstance(value, str):
            grow(message, key, value)
        else:
            message[key] = joined(message.get(key), value)


def _take_calls(message: dict[str, Any], calls: object) -> None:
    if not isinstance(calls, list):
        raise UnkeptError("malformed")
    if message.get("tool_calls") is None:
        message["tool_calls"] = Indexed()
    for call in calls:
        if not isinstance(call, dict):
            raise UnkeptError("malformed")
        whole = message["tool_calls"].at(call.get("index"), {})
        for key, value in call.items():
            if key in ("function", "custom"):
                _take_call_part(whole, key, value)
            elif key in ("id", "type"):
                # Some servers repeat them with each fragment, or send them empty.
                whole[key] = joined(whole.get(key) or None, value or None)
            elif key != "index":
                whole[key] = joined(whole.get(key), value)


def _take_call_part(call: dict[str, Any], key: str, part: object) -> None:
    """The name and arguments of a call."""
    if part is None:
        call.setdefault(key, None)
        return
    if not isinstance(part, dict):
        raise UnkeptError("malformed")
    whole = call[key] if isinstance(call.get(key), dict) else {}
    call[key] = whole
    for name, value in part.items():
        if name == "name":
            # A second name might be a repetition or a continuation.
            if value and whole.get(name):
                raise UnkeptError("unknown_delta")
            whole[name] = whole.get(name) or value
        elif isinstance(value, str):
            grow(whole, name, value)
        else:
            whole[name] = joined(whole.get(name), value)


def _take_logprobs(whole: dict[str, Any], logprobs: object) -> None:
    if logprobs is None:
        whole.setdefault("logprobs", None)
        return
    if not isinstance(logprobs, dict):
        raise UnkeptError("malformed")
    known = whole["logprobs"] if isinstance(whole.get("logprobs"), dict) else {}
    whole["logprobs"] = known
    for key, tokens in logprobs.items():
        extend(known, key, tokens)


def _is_message(message: object) -> bool:
    """Whether this is a message that may be kept and played: audio expires, and is heard elsewhere."""
    if not isinstance(message, dict) or message.get("audio"):
        return False
    calls = message.get("tool_calls") or []
    return isinstance(calls, list) and all(
        isinstance(call, dict) and all(isinstance(call.get(key, {}), dict) for key in ("function", "custom"))
        for call in calls
    )


def _said(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the chunks of a choice say before its last one."""
    message: dict[str, Any] = choice["message"]
    logprobs = choice.get("logprobs")
    known: dict[str, Any] = logprobs if isinstance(logprobs, dict) else {}
    first: dict[str, Any] = {}
    for key, value in message.items():
        if isinstance(value, str) and key not in _WHOLE_STRINGS:
            first[key] = ""
        elif isinstance(value, str) or not value:
            first[key] = value
    said: dict[str, Any] = {"delta": first}
    # Empty lists of tokens, and whatever is no list of tokens, are said at once.
    at_once = {key: value for key, value in known.items() if key not in _LATE_STRINGS or not value}
    yield {**said, "logprobs": at_once} if at_once else said
    early = [key for key in message if key not in _LATE_STRINGS and key not in _WHOLE_STRINGS]
    for key in (*early, *_LATE_STRINGS):
        value = message.get(key)
        tokens = known.get(key) if key in _LATE_STRINGS else None
        if isinstance(value, str) and value:
            yield from _said_text(key, value, tokens)
        elif tokens:
            yield {"delta": {}, "logprobs": {key: tokens}}
    for key, value in message.items():
        if not value or isinstance(value, str):
            continue
        if key == "tool_calls":
            for index, call in enumerate(value):
                yield from ({"delta": {key: [{"index": index, **part}]}} for part in _said_call(call))
        elif key == "function_call":
            yield from ({"delta": {key: part["function"]}} for part in _said_call({"function": value}))
        else:
            yield {"delta": {key: value}}


def _said_text(key: str, text: str, tokens: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(tokens, list):
        yield from ({"delta": {key: piece}} for piece in pieces(text))
        return
    names = [str(token.get("token")) if isinstance(token, dict) else "" for token in tokens]
    for piece, part in token_slices(text, names):
        yield {"delta": {key: piece}, "logprobs": {key: tokens[part]}}


def _said_call(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A call in fragments: first all but the arguments, then these."""
    late: list[tuple[str, str, str]] = []
    first: dict[str, Any] = {}
    for key, value in call.items():
        if isinstance(value, dict) and key in ("function", "custom"):
            first[key] = {}
            for name, member in value.items():
                is_late = isinstance(member, str) and name != "name"
                first[key][name] = "" if is_late else member
                if is_late:
                    late.append((key, name, member))
        else:
            first[key] = value
    yield first
    for key, name, text in late:
        yield from ({key: {name: piece}} for piece in pieces(text))
