"""Streams of chunks: OpenAI's `chat/completions` and `completions`, and APIs that speak the same.

Each chunk repeats the answer's outer fields and adds to some of its choices; `[DONE]` ends the stream.

Source: the OpenAI Python SDK (`ChatCompletionChunk`, `Completion`, `_deltas.accumulate_delta`), read in 2026.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from binary_semantic_cache.proxy.apis import Answer
from binary_semantic_cache.proxy.apis.assembling import StreamAssembler
from binary_semantic_cache.proxy.apis.growing import Indexed, UnkeptError, later, settled
from binary_semantic_cache.proxy.apis.pieces import pieces
from binary_semantic_cache.proxy.apis.reading import read_object
from binary_semantic_cache.proxy.apis.stream_options import (
    are_streamable,
    wants_stream,
    wants_usage,
)
from binary_semantic_cache.proxy.sse import Event, event_bytes, json_event_bytes

__all__ = ["DONE", "ChunkAssembler", "ChunkWriter", "has_promised_usage", "token_slices"]

DONE = event_bytes("[DONE]")

_FIRST = ("id", "object", "created", "model")
# Said for each choice, once at the end, or not at all: `obfuscation` is padding against traffic analysis.
_APART = frozenset(("choices", "usage", "object", "obfuscation", "error"))
_WORDS_OF_TOKENS = 4


class ChunkAssembler(StreamAssembler):
    """Puts chunks together; what a choice is, a subclass knows."""

    chunk_object: str
    """What a chunk calls itself."""
    answer_object: str
    """What the whole calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self._outer: dict[str, Any] = {}
        self._choices = Indexed()
        self._usage: dict[str, Any] | None = None

    def take(self, event: Event) -> Answer | None:
        """Takes an event; the answer if it was the stream's last."""
        if event.name not in ("", "message"):
            raise UnkeptError("error" if event.name == "error" else "unknown_event")
        if event.data.strip() == "[DONE]":
            return self._whole()
        chunk = read_object(event.data)
        if chunk is None:
            raise UnkeptError("malformed")
        if chunk.get("error"):
            raise UnkeptError("error")
        if chunk.get("object") not in (self.chunk_object, "", None):
            raise UnkeptError("unknown_event")
        self._take_chunk(chunk)
        return None

    @abstractmethod
    def take_choice(self, whole: dict[str, Any], choice: dict[str, Any]) -> None:
        """Adds what a chunk says of a choice to what is known of it."""

    def _take_chunk(self, chunk: dict[str, Any]) -> None:
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise UnkeptError("malformed")
        for choice in choices:
            if not isinstance(choice, dict):
                raise UnkeptError("malformed")
            index = choice.get("index")
            self.take_choice(self._choices.at(index, {"index": index}), choice)
        usage = chunk.get("usage")
        if usage is not None:
            if not isinstance(usage, dict):
                raise UnkeptError("malformed")
            # Servers that tell the usage with every chunk tell the sum so far.
            self._usage = usage
        for key, value in chunk.items():
            if key not in _APART:
                self._outer[key] = later(self._outer.get(key), value)

    def _whole(self) -> Answer:
        if not self._choices:
            raise UnkeptError("malformed")
        outer = {"object": self.answer_object, **self._outer}
        answer = {key: outer.pop(key) for key in _FIRST if key in outer}
        answer["choices"] = self._choices.whole()
        if self._usage is not None:
            answer["usage"] = self._usage
        return settled({**answer, **outer})  # type: ignore[no-any-return]


class ChunkWriter:
    """Writes the chunks of one answer."""

    def __init__(self, answer: Answer, body: Mapping[str, Any], chunk_object: str) -> None:
        outer = {**answer, "object": chunk_object}
        plain = {key: value for key, value in outer.items() if not isinstance(value, dict | list)}
        self._head = {key: plain.pop(key) for key in _FIRST if key in plain}
        self._head.update((key, value) for key, value in plain.items() if key not in ("usage", "error"))
        # Sources that were searched, what was filtered: said first, last or with each chunk, as the server
        # has it, and its clients look there.
        self._ends = {
            key: value
            for key, value in answer.items()
            if isinstance(value, dict | list) and key not in ("choices", "usage", "error")
        }
        self._is_first = True
        self._usage = answer.get("usage") if wants_usage(body) else None
        self._says_usage = wants_usage(body)

    def choice(self, index: int, said: dict[str, Any], *, is_last: bool = False) -> bytes:
        """A chunk that adds to one choice.

        Args:
            index: which choice.
            said: the choice's other fields.
            is_last: whether no chunk of any choice follows.
        """
        chunk: dict[str, Any] = {**self._head, "choices": [{"index": index, **said}]}
        if self._says_usage:
            chunk["usage"] = None
        if is_last or self._is_first:
            chunk.update(self._ends)
            self._is_first = False
        return json_event_bytes(chunk)

    def end(self) -> Iterator[bytes]:
        """The chunk with the usage, where it was asked for, and the end."""
        if self._says_usage:
            yield json_event_bytes({**self._head, "choices": [], "usage": self._usage})
        yield DONE


def has_promised_usage(answer: Answer, body: Mapping[str, Any]) -> bool:
    """Whether `answer` says what it cost, or `body` asks for a stream that does not say it."""
    if not wants_stream(body):
        return isinstance(answer.get("usage"), dict)
    return are_streamable(body) and (not wants_usage(body) or isinstance(answer.get("usage"), dict))


def token_slices(text: str, tokens: list[str] | None) -> Iterator[tuple[str, slice]]:
    """The pieces of a text and the tokens that each of them is made of.

    Args:
        text: the text.
        tokens: its tokens, where they are known. A character may be divided among tokens, whose names then do
            not join to the text: from there on it is cut by words, and the last piece has the other tokens.
    """
    if tokens is None:
        yield from ((piece, slice(0, 0)) for piece in pieces(text))
        return
    at = done = 0
    while done < len(tokens):
        piece = "".join(tokens[done : done + _WORDS_OF_TOKENS])
        if not text.startswith(piece, at):
            break
        yield piece, slice(done, done + _WORDS_OF_TOKENS)
        at += len(piece)
        done = min(done + _WORDS_OF_TOKENS, len(tokens))
    rest = text[at:]
    yield from ((piece, slice(0, 0)) for piece in pieces(rest))
    if done < len(tokens):
        yield "", slice(done, len(tokens))
