"""What the proxy must know of an API that it caches: one module an API, each an `Api`.

An answer is kept in one form, the body of a reply that is no stream. A stream is assembled into it while it
passes, and played from it later, so that either serves the other. What cannot be assembled without loss
(an unknown kind of event or of delta) passes, but is not kept.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol

from binary_semantic_cache.proxy.sse import Event
from binary_semantic_cache.text.request import Request

__all__ = ["Answer", "Api", "Assembler", "Provider"]

Provider = Literal["openai", "anthropic"]

Answer = dict[str, Any]
"""The body of a reply that is no stream."""


class Assembler(Protocol):
    """Puts one stream together."""

    def feed(self, event: Event) -> None:
        """Takes the next event; never raises, whatever it holds."""

    def answer(self) -> Answer | None:
        """The whole answer, or `None`.

        There is none before the stream's own end, after an error event, and for a stream that holds what
        cannot be put together without loss. An answer that was cut short by a limit or a refusal is one, for
        `refusal_to_store` to name the reason.
        """

    @property
    def failure(self) -> str | None:
        """Why there will be no answer, in one word for a counter.

        `error`, `unknown_event`, `unknown_delta`, `malformed`; `None` as long as there may be one.
        """


class Api(Protocol):
    """One API. Without state: one instance serves all requests."""

    name: str
    """As metrics and logs call it: `openai.chat`."""
    path: str
    """`/v1/chat/completions`."""
    provider: Provider

    def request(self, body: Mapping[str, Any]) -> Request:
        """What is asked. Raises `InvalidTypeError`, `InvalidValueError` for what is no such body."""

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Whether the reply is to be a stream."""

    def assembler(self) -> Assembler:
        """For one stream of this API."""

    def suits(self, answer: Answer, body: Mapping[str, Any]) -> bool:
        """Whether this is an answer of this API that has all that the API promises to who asks `body`.

        To be asked before an answer is kept, with the request that it answers, and before it is served. A
        stream that was not asked for its usage has none, and must not answer where usage is promised.
        """

    def play(self, answer: Answer, body: Mapping[str, Any]) -> Iterator[bytes]:
        """The stream that says `answer`: server-sent events of a few words each, made one by one.

        It ends as the API's streams end. `answer` is one that `suits`.
        """
