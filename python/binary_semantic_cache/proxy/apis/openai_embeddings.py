"""OpenAI's `embeddings`: answered from exact repeats alone."""

import base64
import binascii
import math
from collections.abc import Iterator, Mapping
from typing import Any

from binary_semantic_cache.proxy.apis import Answer, Assembler, Provider
from binary_semantic_cache.proxy.apis.assembling import StreamAssembler
from binary_semantic_cache.proxy.apis.growing import UnkeptError
from binary_semantic_cache.proxy.sse import Event
from binary_semantic_cache.text.request import Request

__all__ = ["OpenAIEmbeddings"]


class OpenAIEmbeddings:
    """Bodies and answers of `/v1/embeddings`, which has no streams."""

    name = "openai.embeddings"
    path = "/v1/embeddings"
    provider: Provider = "openai"

    def request(self, body: Mapping[str, Any]) -> Request:
        """What is asked."""
        return Request.from_openai_embedding(body)

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Never."""
        return False

    def assembler(self) -> Assembler:
        """For a stream, which would be no answer of this API."""
        return _NoAssembler()

    def suits(self, answer: Answer, body: Mapping[str, Any]) -> bool:
        """Whether `answer` is a list of one embedding for each input, in order and of equal length."""
        rows = answer.get("data")
        if (
            answer.get("object") != "list"
            or not isinstance(answer.get("usage"), dict)
            or not isinstance(rows, list)
            or len(rows) != _count(body.get("input"))
        ):
            return False
        lengths = set()
        for index, row in enumerate(rows):
            if not isinstance(row, dict) or row.get("index") != index:
                return False
            lengths.add(_length(row.get("embedding")))
        return len(lengths) == 1 and lengths.isdisjoint({None, 0})

    def play(self, answer: Answer, body: Mapping[str, Any]) -> Iterator[bytes]:
        """No events: nobody is promised a stream."""
        return iter(())


class _NoAssembler(StreamAssembler):
    def take(self, event: Event) -> Answer | None:
        raise UnkeptError("unknown_event")


def _count(asked: object) -> int:
    """How many embeddings are asked for: a list of numbers is one text, as its tokens."""
    if isinstance(asked, list | tuple) and asked and not isinstance(asked[0], int):
        return len(asked)
    return 1


def _length(embedding: object) -> int | None:
    """The numbers of an embedding given as a list, or its bytes given as base64; `None` for all else."""
    if isinstance(embedding, str):
        try:
            return len(base64.b64decode(embedding, validate=True))
        except (binascii.Error, ValueError):
            return None
    if not isinstance(embedding, list):
        return None
    try:
        is_numbers = set(map(type, embedding)) <= {int, float} and all(map(math.isfinite, embedding))
    except OverflowError:  # an integer beyond all floats
        return None
    return len(embedding) if is_numbers else None
