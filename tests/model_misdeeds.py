"""What the model's server may do wrong: each of these answers one request."""

import gzip
import json
import threading
import zlib
from collections.abc import Callable
from typing import Any

from model_server import Exchange, Misdeed, Reply

__all__ = [
    "Gate",
    "altered",
    "answers",
    "compressed",
    "cut",
    "drip",
    "error_event",
    "hangs_up",
    "more_headers",
    "paced",
    "redirects",
    "unended",
    "wrong_length",
]


def answers(status: int, body: Any = None, **headers: str) -> Misdeed:
    """Another status, with a body of its own: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    listed = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return lambda exchange: exchange.send_reply(Reply(status, list(listed.items()), [content]))


def altered(change: Callable[[Any], Any]) -> Misdeed:
    """What `change` makes of the right body, or of the list of the right events."""

    def do(exchange: Exchange) -> None:
        reply = exchange.reply
        if reply.is_stream:
            reply.pieces = change(reply.pieces)
        else:
            reply.pieces = [json.dumps(change(json.loads(reply.body))).encode()]
        exchange.send_reply()

    return do


def hangs_up(exchange: Exchange) -> None:
    """Closes the connection instead of an answer."""
    exchange.reset()


def cut(at: int, *, reset: bool = False) -> Misdeed:
    """Ends the connection after `at` bytes of the body, in the middle of what HTTP promised."""

    def do(exchange: Exchange) -> None:
        reply = exchange.reply
        exchange.send(reply.head())
        exchange.send(reply.framed(reply.body[:at]))
        if reset:
            exchange.reset()
        exchange.close()

    return do


def unended(at: int) -> Misdeed:
    """Ends the body after `at` bytes as if that were all: HTTP sees nothing wrong."""

    def do(exchange: Exchange) -> None:
        exchange.reply.pieces = [exchange.reply.body[:at]]
        exchange.send_reply()

    return do


def wrong_length(by: int) -> Misdeed:
    """Promises a length that is off; of a stream, its last chunk's."""

    def do(exchange: Exchange) -> None:
        reply = exchange.reply
        reply.is_stream = False
        exchange.send(reply.head(len(reply.body) + by) + reply.body)
        exchange.close()

    return do


def error_event(after: int) -> Misdeed:
    """After some events of a stream, an error as the API says it in a stream; then an orderly end."""

    def do(exchange: Exchange) -> None:
        reply = exchange.reply
        if exchange.asked.path == "/v1/messages":
            error: Any = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            event = b"event: error\n"
        elif exchange.asked.path == "/v1/responses":
            error = {"type": "error", "code": "server_error", "message": "no", "param": None}
            error["sequence_number"] = after
            event = b"event: error\n"
        else:
            error = {"error": {"message": "no", "type": "server_error", "param": None, "code": None}}
            event = b""
        reply.pieces = [*reply.pieces[:after], event + f"data: {json.dumps(error)}\n\n".encode()]
        exchange.send_reply()

    return do


def redirects(location: str, status: int = 307) -> Misdeed:
    """Sends the client elsewhere."""
    return answers(status, b"", location=location)


def compressed(encoding: str) -> Misdeed:
    """The right body in another coding: `gzip`, `deflate`, or a name alone."""
    codings: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}

    def do(exchange: Exchange) -> None:
        reply = exchange.reply
        reply.headers.append(("content-encoding", encoding))
        reply.pieces = [codings.get(encoding, lambda body: body[::-1])(reply.body)]
        exchange.send_reply()

    return do


def more_headers(*headers: tuple[str, str]) -> Misdeed:
    """The right answer with further headers."""

    def do(exchange: Exchange) -> None:
        exchange.reply.headers += headers
        exchange.send_reply()

    return do


def drip(exchange: Exchange) -> None:
    """One byte a packet, headers and all."""
    reply = exchange.reply
    wire = reply.head() + b"".join(map(reply.framed, reply.pieces)) + reply.end
    for place in range(len(wire)):
        exchange.send(wire[place : place + 1])


class Gate:
    """Lets a paced answer through, as far as the test says."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._allowed: float = 0
        self._sent = 0
        self.left = threading.Event()
        """Set when the client of the paced answer hung up."""

    def allow(self, pieces: float) -> None:
        """So many pieces in all may go."""
        with self._changed:
            self._allowed = pieces
            self._changed.notify_all()

    def open(self) -> None:
        self.allow(float("inf"))

    def wait_until_sent(self, pieces: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._sent >= pieces, 30), f"{self._sent} of {pieces}"

    def pass_one(self) -> None:
        """For the server: returns when the next piece may go."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._sent < self._allowed, 30), "the gate stayed shut"

    def sent_one(self) -> None:
        with self._changed:
            self._sent += 1
            self._changed.notify_all()


def paced(gate: Gate, *, at: int | None = None) -> Misdeed:
    """The head at once, then a piece of the body whenever `gate` lets one through.

    A body that is no stream is two pieces: its first `at` bytes, and the rest.
    """

    def do(exchange: Exchange) -> None:
        reply = exchange.reply
        pieces = reply.pieces
        if at is not None:
            body = reply.body
            pieces = [body[:at], body[at:]]
        try:
            exchange.send(reply.head())
            for piece in pieces:
                gate.pass_one()
                exchange.send(reply.framed(piece))
                gate.sent_one()
            exchange.send(reply.end)
        except OSError:
            gate.left.set()
            raise

    return do


def watched(gate: Gate) -> Misdeed:
    """The head and one piece, then nothing until the client hangs up, which sets `gate.left`."""

    def do(exchange: Exchange) -> None:
        reply = exchange.reply
        exchange.send(reply.head() + reply.framed(reply.body[:100]))
        gate.sent_one()
        exchange.client_left()
        gate.left.set()
        exchange.close()

    return do
