"""OpenAI's `responses`: bodies and streams; `openai_responses_events` plays answers.

A stream's last event carries the whole answer, so the others are looked at only to see that they agree.

Source: the OpenAI Python SDK (`ResponseStreamEvent`, `ResponseStreamState`), read in 2026.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from binary_semantic_cache.proxy.apis import Answer, Provider
from binary_semantic_cache.proxy.apis.assembling import StreamAssembler
from binary_semantic_cache.proxy.apis.growing import Indexed, UnkeptError
from binary_semantic_cache.proxy.apis.openai_responses_events import play
from binary_semantic_cache.proxy.apis.reading import read_object
from binary_semantic_cache.proxy.apis.stream_options import are_streamable, check_travel, wants_stream
from binary_semantic_cache.proxy.sse import Event
from binary_semantic_cache.text.request import Request

__all__ = ["OpenAIResponses"]

_LAST = ("response.completed", "response.incomplete")
_SIGNS_OF_LIFE = ("keepalive", "ping")


class OpenAIResponses:
    """Bodies, streams and answers of `/v1/responses`."""

    name = "openai.responses"
    path = "/v1/responses"
    provider: Provider = "openai"

    def request(self, body: Mapping[str, Any]) -> Request:
        """What is asked."""
        check_travel(body)
        return Request.from_openai_responses(body)

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Whether the reply is to be a stream."""
        return wants_stream(body)

    def assembler(self) -> "ResponseAssembler":
        """For one stream."""
        return ResponseAssembler()

    def suits(self, answer: Answer, body: Mapping[str, Any]) -> bool:
        """Whether `answer` is a response; each has its usage, streamed or not."""
        items = answer.get("output")
        return (
            answer.get("object") == "response"
            and isinstance(answer.get("usage"), dict)
            and isinstance(items, list)
            and all(isinstance(item, dict) and _has_parts(item) for item in items)
            and (not wants_stream(body) or are_streamable(body))
        )

    def play(self, answer: Answer, body: Mapping[str, Any]) -> Iterator[bytes]:
        """The stream that says `answer`."""
        return play(answer)


class ResponseAssembler(StreamAssembler):
    """Waits for the last event of a response and holds it against those before."""

    def __init__(self) -> None:
        super().__init__()
        self._id: object = None
        self._has_begun = False
        self._items = Indexed()

    def take(self, event: Event) -> Answer | None:
        """Takes an event; the answer if it was the stream's last."""
        if event.name == "error":
            raise UnkeptError("error")
        said = read_object(event.data)
        if said is None:
            raise UnkeptError("malformed")
        kind = said.get("type")
        if kind in ("error", "response.failed") or said.get("error"):
            raise UnkeptError("error")
        if not isinstance(kind, str) or event.name not in ("", kind):
            raise UnkeptError("malformed")
        if kind in _SIGNS_OF_LIFE:
            return None
        if not kind.startswith("response."):
            raise UnkeptError("unknown_event")
        if not self._has_begun:
            if kind != "response.created":
                raise UnkeptError("malformed")
            self._id = _response(said).get("id")
            self._has_begun = True
        elif kind == "response.output_item.done":
            self._take_item(said)
        elif kind in _LAST:
            return self._whole(_response(said))
        return None

    def take_after_end(self, event: Event) -> None:
        """Some servers write the end that chunks have, too."""
        if event.data.strip() != "[DONE]":
            super().take_after_end(event)

    def _take_item(self, said: dict[str, Any]) -> None:
        item = said.get("item")
        if not isinstance(item, dict) or self._items.at(said.get("output_index"), item) is not item:
            raise UnkeptError("malformed")

    def _whole(self, response: dict[str, Any]) -> Answer:
        items = self._items.whole()
        if response.get("output") is None:
            # Some servers leave the items out, since all of them have been said.
            response["output"] = items
        output = response["output"]
        if response.get("id") != self._id or not isinstance(output, list):
            raise UnkeptError("malformed")
        if items and not (
            len(items) == len(output) and all(_is_same(*pair) for pair in zip(items, output, strict=True))
        ):
            raise UnkeptError("malformed")
        return response


def _response(said: dict[str, Any]) -> dict[str, Any]:
    response = said.get("response")
    if not isinstance(response, dict):
        raise UnkeptError("malformed")
    return response


def _is_same(item: dict[str, Any], final: object) -> bool:
    """Whether an item was at its end what the whole answer says; what is encrypted may differ."""
    if not isinstance(final, dict):
        return False
    names = ("type", "id", "call_id", "arguments", "input")
    is_same = all(item.get(name) == final.get(name) for name in names)
    return is_same and (item.get("type") != "message" or item.get("content") == final.get("content"))


def _has_parts(item: dict[str, Any]) -> bool:
    """Whether what holds parts holds nothing else, and what parts list are lists."""
    return all(
        isinstance(parts, list)
        and all(isinstance(part, dict) and isinstance(part.get("annotations") or [], list) for part in parts)
        for parts in (item.get("content") or [], item.get("summary") or [])
    )
