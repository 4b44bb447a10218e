"""What every assembler does: it takes events until one of them makes an answer impossible."""

from abc import ABC, abstractmethod

from binary_semantic_cache.proxy.apis import Answer
from binary_semantic_cache.proxy.apis.growing import Failure, UnkeptError
from binary_semantic_cache.proxy.sse import Event

__all__ = ["StreamAssembler"]


class StreamAssembler(ABC):
    """An `Assembler` without knowledge of any API.

    Its memory grows with the stream: who feeds it stops when the stream is longer than an answer may be.
    """

    def __init__(self) -> None:
        self._failure: Failure | None = None
        self._answer: Answer | None = None

    def feed(self, event: Event) -> None:
        """Takes the next event; never raises, whatever it holds."""
        if self._failure is not None:
            return
        try:
            if self._answer is None:
                self._answer = self.take(event)
            else:
                self.take_after_end(event)
        except UnkeptError as unkept:
            self._failure = unkept.failure
            self._answer = None

    def answer(self) -> Answer | None:
        """The whole answer, or `None`."""
        return self._answer

    @property
    def failure(self) -> str | None:
        """Why there will be no answer, in one word for a counter."""
        return self._failure

    @abstractmethod
    def take(self, event: Event) -> Answer | None:
        """Takes an event; the answer if it was the stream's last. Raises `UnkeptError`."""

    def take_after_end(self, event: Event) -> None:
        """Takes an event that came after the end. Raises `UnkeptError`."""
        raise UnkeptError("error" if event.name == "error" else "malformed")
