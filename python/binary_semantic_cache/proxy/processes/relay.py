"""Records on their way from workers to the process that shows them: over a socket pair, never through a file.

A datagram is a record, so that writers need no lock and a dead writer leaves no half of one. Nobody waits:
what does not fit is dropped and counted, since a page that misses a line is better than a late answer.
"""

import asyncio
import dataclasses
import socket
from collections.abc import Callable
from typing import Any

import msgpack

from binary_semantic_cache.proxy.observe import Record, Watcher
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.request import ExactOnly, Request

__all__ = ["RecordReader", "RecordWriter", "record_sockets"]

_MOST_BYTES = 64 * 2**10
"""Of one record; larger ones go without content."""
_BUFFER_BYTES = 4 * 2**20
"""Asked of the kernel, which gives what it allows: 208 KiB in Linux by default."""
_MOST_AT_ONCE = 256
_NAMES = tuple(field.name for field in dataclasses.fields(Record))


def record_sockets() -> tuple[socket.socket, socket.socket]:
    """`(reader, writer)`; the writer is for as many processes as there are.

    A pair without a name was preferred to a socket in a folder: nobody else can connect to it, and a pair's
    queue is bounded by bytes, where a named socket takes `net.unix.max_dgram_qlen` datagrams, ten by default.
    Source: Linux, net/unix/af_unix.c, `unix_dgram_sendmsg`.
    """
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    for end in (reader, writer):
        end.setblocking(False)
    return reader, writer


class RecordWriter:
    """A `Watcher` that sends what it is told. Takes over `end`."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.dropped = 0

    def __call__(self, record: Record) -> None:
        """Sends `record`, or drops it."""
        try:
            packed = _packed(record)
            if len(packed) > _MOST_BYTES:
                packed = _packed(dataclasses.replace(record, request=None, scope=None, prompt=None))
            self._end.send(packed)
        except (OSError, TypeError, ValueError, OverflowError):
            self.dropped += 1

    def close(self) -> None:
        """Lets go of the socket."""
        self._end.close()


class RecordReader:
    """Calls watchers, in the running event loop, with what the writers send."""

    def __init__(self, end: socket.socket, watchers: list[Watcher]) -> None:
        self._end = end
        self._watchers = watchers
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end.fileno(), self._read)
        self.malformed = 0

    def _read(self) -> None:
        # Some at a time: the loop has pages to serve, and is called again while there are more.
        for _ in range(_MOST_AT_ONCE):
            try:
                packed = self._end.recv(_MOST_BYTES + 1)
            except (BlockingIOError, ConnectionError):
                return
            if not packed:
                return
            try:
                record = _unpacked(packed)
            except (ValueError, TypeError, KeyError, msgpack.UnpackException):
                self.malformed += 1
                continue
            for watcher in self._watchers:
                watcher(record)

    def close(self) -> None:
        """Reads what is left and lets go of the socket."""
        self._read()
        self._loop.remove_reader(self._end.fileno())
        self._end.close()


def _packed(record: Record) -> bytes:
    content: dict[str, Any] = {name: getattr(record, name) for name in _NAMES}
    for name in ("saved", "request"):
        if content[name] is not None:
            content[name] = _fields(content[name])
    packed: bytes = msgpack.packb(content)
    return packed


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _unpacked(packed: bytes) -> Record:
    content = msgpack.unpackb(packed, strict_map_key=False)
    _as(content, "saved", lambda fields: Saving(**fields))
    _as(content, "request", _request)
    content["guards"] = tuple(content["guards"])
    return Record(**content)


def _as(content: dict[str, Any], name: str, make: Callable[[dict[str, Any]], object]) -> None:
    if content[name] is not None:
        content[name] = make(content[name])


def _request(fields: dict[str, Any]) -> Request:
    reason = fields["exact_only"]
    return Request(**fields | {"exact_only": None if reason is None else ExactOnly(reason)})
