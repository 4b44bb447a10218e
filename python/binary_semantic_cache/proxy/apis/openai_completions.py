"""OpenAI's older `completions`, which servers of open models still speak."""

from collections.abc import Iterator, Mapping
from typing import Any

from binary_semantic_cache.proxy.apis import Answer, Provider
from binary_semantic_cache.proxy.apis.growing import UnkeptError, extend, grow, joined
from binary_semantic_cache.proxy.apis.openai_chunks import (
    ChunkAssembler,
    ChunkWriter,
    has_promised_usage,
    token_slices,
)
from binary_semantic_cache.proxy.apis.stream_options import check_travel, wants_stream
from binary_semantic_cache.text.request import Request

__all__ = ["OpenAICompletions"]

_OBJECT = "text_completion"


class OpenAICompletions:
    """Bodies, streams and answers of `/v1/completions`."""

    name = "openai.completions"
    path = "/v1/completions"
    provider: Provider = "openai"

    def request(self, body: Mapping[str, Any]) -> Request:
        """What is asked."""
        check_travel(body)
        return Request.from_openai_completion(body)

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Whether the reply is to be a stream."""
        return wants_stream(body)

    def assembler(self) -> "CompletionAssembler":
        """For one stream."""
        return CompletionAssembler()

    def suits(self, answer: Answer, body: Mapping[str, Any]) -> bool:
        """Whether `answer` is a completion that has all that `body` is promised."""
        choices = answer.get("choices")
        return (
            isinstance(choices, list)
            and bool(choices)
            and all(isinstance(choice, dict) and _is_text(choice) for choice in choices)
            and has_promised_usage(answer, body)
        )

    def play(self, answer: Answer, body: Mapping[str, Any]) -> Iterator[bytes]:
        """The stream that says `answer`."""
        writer = ChunkWriter(answer, body, _OBJECT)
        choices = answer["choices"]
        for i, choice in enumerate(choices):
            index = choice.get("index", i)
            silent = {"logprobs": None} if "logprobs" in choice else {}
            for said in _said(choice):
                yield writer.choice(index, {**silent, **said, "finish_reason": None})
            rest = {key: value for key, value in choice.items() if key not in ("index", "text", "logprobs")}
            yield writer.choice(index, {"text": "", **silent, **rest}, is_last=i == len(choices) - 1)
        yield from writer.end()


class CompletionAssembler(ChunkAssembler):
    """Puts the chunks of a completion together."""

    chunk_object = _OBJECT
    answer_object = _OBJECT

    def take_choice(self, whole: dict[str, Any], choice: dict[str, Any]) -> None:
        """Adds what a chunk says of a choice to what is known of it."""
        for key, value in choice.items():
            if key == "text" and isinstance(value, str):
                grow(whole, key, value)
            elif key == "logprobs" and isinstance(value, dict):
                known = whole.get(key) or {}
                whole[key] = known
                for name, values in value.items():
                    extend(known, name, values)
            elif key in ("message", "delta"):
                raise UnkeptError("unknown_delta")
            else:
                whole[key] = joined(whole.get(key), value)


def _is_text(choice: dict[str, Any]) -> bool:
    """Whether a choice has a text, and lists of what is known of its tokens."""
    logprobs = choice.get("logprobs") or {}
    return (
        isinstance(choice.get("text"), str)
        and isinstance(logprobs, dict)
        and all(isinstance(values, list) for values in logprobs.values() if values)
    )


def _said(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The text piece by piece, with what is known of its tokens."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        yield from ({"text": piece} for piece, _ in token_slices(choice["text"], None))
        return
    silent = {name: values for name, values in logprobs.items() if not values}
    if silent or not logprobs:
        yield {"text": "", "logprobs": silent}
    lists = {name: values for name, values in logprobs.items() if values}
    count = max((len(values) for values in lists.values()), default=0)
    names = [str(name) for name in lists.get("tokens", [])]
    names += [""] * (count - len(names))
    for piece, of in token_slices(choice["text"], names or None):
        said = {name: values[of] for name, values in lists.items() if values[of]}
        yield {"text": piece, "logprobs": said} if said else {"text": piece}
