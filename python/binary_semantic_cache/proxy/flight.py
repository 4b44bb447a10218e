"""One upstream answer on its way, read by everybody who asked for it.

Whoever asks first starts it; those who ask the same meanwhile read along, from its beginning, or wait for the
whole of it. A reader that leaves takes nothing from the others. When nobody is left the upstream's connection
is closed, unless the answer is to be finished for the cache's sake.

The upstream is read no faster than the fastest reader, and a little ahead. All that was read is kept until
the answer has landed, so that a slow reader holds up nobody; an answer too large for that is no longer
shared, and then goes at the pace of the slowest.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from time import monotonic

import httpx

from binary_semantic_cache.proxy.apis import Answer, Assembler
from binary_semantic_cache.proxy.apis.reading import can_be_said, read_body
from binary_semantic_cache.proxy.headers import Headers, returned, value_of
from binary_semantic_cache.proxy.sse import EventReader
from binary_semantic_cache.proxy.upstream import UpstreamError

_logger = logging.getLogger(__name__)

__all__ = ["BrokenOffError", "Flight", "Head", "tell_broken_off"]

_TOGETHER_BYTES = 64 * 1024
_AHEAD_BYTES = 256 * 1024
"""How far the upstream may be read ahead of who reads fastest."""


class BrokenOffError(Exception):
    """The upstream's reply ended before its end."""


def tell_broken_off(error: BrokenOffError) -> None:
    """Says so in the log, where else the server's word for it would look like a defect of the proxy."""
    _logger.warning("an upstream broke a reply off, and so its client was: %s", error)


@dataclass(frozen=True, slots=True)
class Head:
    """How a reply begins."""

    status: int
    headers: Headers
    is_stream: bool
    """Whether its body is server-sent events."""


class Flight:
    """A reply under way. Belongs to one event loop.

    Args:
        opened: sends the request; the context's value is the reply, its body unread.
        assembler: makes what puts a stream together.
        keep: called with the whole answer, if there is one; returns what became of it, in one word.
        most_bytes: of a reply that is kept whole while it passes.
        finish_abandoned: go on when nobody reads any more.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[httpx.Response]],
        assembler: Callable[[], Assembler],
        keep: Callable[[Answer, float], Awaitable[str]],
        *,
        most_bytes: int,
        finish_abandoned: bool,
    ) -> None:
        self._opened = opened
        self._assembler_of = assembler
        self._keep = keep
        self._most_bytes = most_bytes
        self._finish_abandoned = finish_abandoned
        self._head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        # Nobody may be left to look at its exception.
        self._head.add_done_callback(lambda head: head.cancelled() or head.exception())
        self._chunks: list[bytes] = []
        self._dropped = 0
        """Chunks at the beginning that are no longer kept."""
        self._n_bytes = 0
        self._is_kept_whole = True
        self._grown, self._read = asyncio.Event(), asyncio.Event()
        self._ended, self._landed = asyncio.Event(), asyncio.Event()
        self._broken: str | None = None
        self._readers: list[_Reader] = []
        self._interested = 0
        self.answer: Answer | None = None
        """The whole of it, once it has ended and is one."""
        self.stored = "client_left"
        """What became of it, once it has landed: see `Record.stored`. This, unless it came further."""
        self.began = monotonic()
        self.seconds: float | None = None
        """From the request to the end of the reply."""
        self._task = asyncio.create_task(self._fly())
        # Of a task that is cancelled before its first step nothing runs, and nobody may wait for it for ever.
        self._task.add_done_callback(lambda _: self._touch_down())

    # For those who asked

    @contextmanager
    def joined(self) -> Iterator[None]:
        """For as long as somebody wants the answer."""
        self._interested += 1
        try:
            yield
        finally:
            self._interested -= 1
            self._read.set()
            self._leave_if_abandoned()

    @property
    def is_open(self) -> bool:
        """Whether one who comes now can still have all of it."""
        failed = self._head.done() and (self._head.cancelled() or self._head.exception() is not None)
        return self._is_kept_whole and not failed and self._broken is None

    @property
    def is_landed(self) -> bool:
        """Whether it has ended and been kept, or not."""
        return self._landed.is_set()

    async def head(self) -> Head:
        """How the reply begins. Raises `UpstreamError`."""
        return await asyncio.shield(self._head)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, from its beginning, as it came. Raises `BrokenOffError`."""
        reader = _Reader()
        self._readers.append(reader)
        self._read.set()
        try:
            while True:
                while reader.at < self._dropped + len(self._chunks):
                    chunk, n = self._joined_from(reader.at - self._dropped)
                    reader.at += n
                    reader.n_bytes += len(chunk)
                    yield chunk
                    self._read.set()
                if self._ended.is_set():
                    if self._broken is not None:
                        raise BrokenOffError(self._broken)
                    return
                self._grown.clear()
                await self._grown.wait()
        finally:
            self._readers.remove(reader)
            self._read.set()

    def _joined_from(self, at: int) -> tuple[bytes, int]:
        """What waits from a chunk on, together up to a limit, and how many chunks that is.

        Who comes late would else write thousands of small chunks without once giving way to the loop.
        """
        end, size = at, 0
        while end < len(self._chunks) and (end == at or size + len(self._chunks[end]) <= _TOGETHER_BYTES):
            size += len(self._chunks[end])
            end += 1
        return (self._chunks[at] if end == at + 1 else b"".join(self._chunks[at:end])), end - at

    async def whole(self) -> Answer | None:
        """The whole answer when its last byte is there; `None` as soon as there will be none."""
        while self._is_kept_whole and not self._ended.is_set():
            self._grown.clear()
            await self._grown.wait()
        return self.answer

    async def landed(self) -> None:
        """Returns when `stored` is known."""
        await self._landed.wait()

    async def cancel(self) -> None:
        """Breaks it off."""
        self._task.cancel()
        await asyncio.wait({self._task})

    # The way of the reply

    async def _fly(self) -> None:
        assembler: Assembler | None = None
        try:
            try:
                async with self._opened() as response:
                    head = _head_of(response)
                    events = EventReader()
                    if head.status == 200 and head.is_stream and _is_plain(head):
                        assembler = self._assembler_of()
                    self._head.set_result(head)
                    async for chunk in response.aiter_raw():
                        self._take(chunk)
                        if assembler is not None and self._is_kept_whole:
                            for event in events.feed(chunk):
                                assembler.feed(event)
                        await self._room()
                self.seconds = monotonic() - self.began
                self._conclude(head, assembler)
            except UpstreamError as exc:
                self._head.set_exception(exc)
                self._broken, self.stored = "unreachable", "unreachable"
            except httpx.HTTPError as exc:
                self._broken, self.stored = type(exc).__name__, "broken_off"
            except Exception as exc:  # a defect of this proxy must reach those who wait as a failure
                _logger.exception(
                    "reading an upstream's reply failed: %s", type(exc).__name__, exc_info=False
                )
                self._broken = self.stored = "failed"
                if not self._head.done():
                    self._head.set_exception(
                        UpstreamError("the proxy failed to read the reply", timed_out=False)
                    )
            finally:
                if self.seconds is None:
                    self.seconds = monotonic() - self.began
                    self._broken = self._broken or "abandoned"
                self._ended.set()
                self._grown.set()
            if self.answer is not None:
                self.stored = await self._keep(self.answer, self.seconds)
        finally:
            self._touch_down()

    def _touch_down(self) -> None:
        """Lets go of all who wait."""
        if not self._head.done():
            self._head.cancel()
        self._ended.set()
        self._grown.set()
        self._landed.set()

    def _conclude(self, head: Head, assembler: Assembler | None) -> None:
        """Says what the whole reply was."""
        if head.status != 200:
            self.stored = "status"
        elif not self._is_kept_whole:
            self.stored = "too_large"
        elif not _is_plain(head):
            self.stored = "encoded"
        else:
            raw = b"".join(self._chunks)
            answer = read_body(raw) if assembler is None else assembler.answer()
            if answer is None:
                self.stored = "malformed" if assembler is None else assembler.failure or "incomplete"
            elif not can_be_said(answer, raw):
                self.stored = "malformed"
            else:
                self.answer = answer

    def _take(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._n_bytes += len(chunk)
        if self._n_bytes > self._most_bytes:
            self._is_kept_whole = False
        if not self._is_kept_whole and self._interested <= len(self._readers):
            slowest = min((reader.at for reader in self._readers), default=self._dropped + len(self._chunks))
            del self._chunks[: slowest - self._dropped]
            self._dropped = slowest
        self._grown.set()

    async def _room(self) -> None:
        """Returns when there is need of more."""
        while self._interested:
            waiting = self._interested - len(self._readers)
            # Who is interested and does not read waits for the whole, or, where there will be none, is about
            # to read or to leave.
            if self._is_kept_whole and waiting:
                return
            seen = [reader.n_bytes for reader in self._readers] + [0] * waiting
            ahead = self._n_bytes - (max(seen) if self._is_kept_whole else min(seen))
            if ahead <= _AHEAD_BYTES:
                return
            self._read.clear()
            await self._read.wait()

    def _leave_if_abandoned(self) -> None:
        if self._interested or self._ended.is_set():
            return
        if not (self._finish_abandoned and self._is_kept_whole):
            # Now, not when the task gets to it: nobody may join what is about to break off.
            self._broken = "abandoned"
            self._task.cancel()


class _Reader:
    """Where one reader stands."""

    __slots__ = ("at", "n_bytes")

    def __init__(self) -> None:
        self.at = 0
        self.n_bytes = 0


def _head_of(response: httpx.Response) -> Head:
    headers = returned(response.headers.raw)
    kind = (value_of(headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    return Head(response.status_code, headers, kind == b"text/event-stream")


def _is_plain(head: Head) -> bool:
    """Whether the body is what it says and not a compressed form of it."""
    return (value_of(head.headers, b"content-encoding") or b"identity").strip().lower() == b"identity"
