"""A real HTTP server on loopback that speaks like OpenAI and Anthropic, and can do anything wrong.

It writes to plain sockets, so that every byte and every moment is the test's to say. `model_answers` has what
the model says, `model_misdeeds` what may go wrong: a list of misdeeds, one for each coming request that asks
a model something; after them the server behaves.
"""

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import model_answers

__all__ = ["Asked", "Exchange", "Misdeed", "ModelServer", "Reply"]

MODELS = ("trial", "trial-tools", "trial-json", "trial-thinking")
ANSWERING = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")
_SECONDS = 30.0


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    """Names in lower case, in order, repeats among them."""
    body: bytes
    connection: tuple[str, int]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The header's value; `None` without one."""
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """A reply: a body in pieces, chunk by chunk if it is a stream."""

    status: int
    headers: list[tuple[str, str]]
    pieces: list[bytes]
    is_stream: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def head(self, length: int | None = None) -> bytes:
        """Status line and headers; `length` says another length than the body's."""
        how = (
            ("transfer-encoding", "chunked")
            if self.is_stream
            else ("content-length", str(len(self.body) if length is None else length))
        )
        lines = [f"HTTP/1.1 {self.status} Said", *(f"{k}: {v}" for k, v in [*self.headers, how])]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def framed(self, piece: bytes) -> bytes:
        """`piece` as it travels."""
        return b"%x\r\n%s\r\n" % (len(piece), piece) if self.is_stream and piece else piece

    @property
    def end(self) -> bytes:
        """What follows the last piece."""
        return b"0\r\n\r\n" if self.is_stream else b""


def json_reply(status: int, body: Any, headers: Iterable[tuple[str, str]] = ()) -> Reply:
    return Reply(status, [("content-type", "application/json"), *headers], [json.dumps(body).encode()])


class Exchange:
    """One request and the way to answer it."""

    def __init__(self, server: "ModelServer", link: socket.socket, asked: Asked, reply: Reply) -> None:
        self.server, self.asked, self.reply = server, asked, reply
        self._link = link
        self.stays_open = True

    def send(self, data: bytes) -> None:
        if data:
            self._link.sendall(data)

    def send_reply(self, reply: Reply | None = None) -> None:
        """The whole reply, a piece at a time."""
        reply = reply or self.reply
        self.send(reply.head())
        for piece in reply.pieces:
            self.send(reply.framed(piece))
        self.send(reply.end)

    def close(self) -> None:
        """Ends the connection in order."""
        self.stays_open = False

    def reset(self) -> None:
        """Ends the connection with a TCP reset."""
        self._link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stays_open = False

    def client_left(self) -> bool:
        """Waits until the other side hangs up; false if it has not within half a minute."""
        with suppress(ConnectionError):
            while data := self._link.recv(4096):
                assert data
        return True


Misdeed = Callable[[Exchange], None]


@dataclass
class ModelServer:
    """The server: `with ModelServer() as server: ... server.url ...`."""

    keys: dict[str, str] = field(default_factory=lambda: {"sk-alice": "alice", "sk-bob": "bob"})
    """Keys that are accepted, each with the name of who has it."""
    reply_headers: list[tuple[str, str]] = field(default_factory=list)
    """Sent with every reply."""
    misdeeds: deque[Misdeed] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "ModelServer":
        self._lock = threading.Condition()
        self._calls = 0
        self._links: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        # Wakes the thread that waits in accept, which closing the socket would not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            for link in self._links:
                with suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)
            assert self._lock.wait_for(lambda: not self._links, _SECONDS), "a connection did not end"

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> int:
        """How often the model was asked something, refused keys not counted."""
        return self._calls

    def will(self, *misdeeds: Misdeed) -> None:
        """Does these wrong, one a request."""
        self.misdeeds.extend(misdeeds)

    def revoke(self, key: str) -> None:
        del self.keys[key]

    def wait_for_requests(self, n: int) -> None:
        """Returns when `n` requests have come in."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.asked) >= n, _SECONDS), f"{len(self.asked)} of {n}"

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                link, address = self._listener.accept()
            except OSError:
                return
            link.settimeout(_SECONDS)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._links.add(link)
            threading.Thread(target=self._serve, args=(link, address), daemon=True).start()

    def _serve(self, link: socket.socket, address: tuple[str, int]) -> None:
        try:
            # Clients that leave early are what some tests are about.
            with suppress(OSError):
                buffer = bytearray()
                while self._one(link, address, buffer):
                    pass
        finally:
            with self._lock:
                link.close()
                self._links.discard(link)
                self._lock.notify_all()

    def _one(self, link: socket.socket, address: tuple[str, int], buffer: bytearray) -> bool:
        """Answers one request; whether another may follow on the connection."""
        asked = _read(link, address, buffer)
        if asked is None:
            return False
        owner = self._owner(asked)
        is_question = asked.method == "POST" and asked.path in ANSWERING and owner is not None
        misdeed = None
        with self._lock:
            self.asked.append(asked)
            if is_question:
                self._calls += 1
                misdeed = self.misdeeds.popleft() if self.misdeeds else None
            call = self._calls
            self._lock.notify_all()
        reply = self._reply(asked, owner, call)
        reply.headers += [("x-request-id", f"req_{call}"), *self.reply_headers]
        exchange = Exchange(self, link, asked, reply)
        (misdeed or Exchange.send_reply)(exchange)
        return exchange.stays_open

    def _owner(self, asked: Asked) -> str | None:
        key = asked.header("x-api-key") or (asked.header("authorization") or "").removeprefix("Bearer ")
        return self.keys.get(key)

    def _reply(self, asked: Asked, owner: str | None, call: int) -> Reply:
        anthropic = asked.path.startswith("/v1/messages") or asked.header("anthropic-version") is not None
        if owner is None:
            return json_reply(
                401, _error(anthropic, "authentication_error", "invalid key", "invalid_api_key")
            )
        match asked.method, asked.path:
            case "GET", "/v1/models":
                data = [{"id": name, "object": "model", "created": 0, "owned_by": "x"} for name in MODELS]
                return json_reply(200, {"object": "list", "data": data})
            case "POST", path if path in ANSWERING:
                return self._answer(asked, owner, call, anthropic=anthropic)
        # Files, batches, and whatever else: what came, and how.
        echo = {"method": asked.method, "target": asked.target, "owner": owner, "bytes": len(asked.body)}
        return json_reply(200, echo)

    def _answer(self, asked: Asked, owner: str, call: int, *, anthropic: bool) -> Reply:
        try:
            body = asked.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or "model" not in body:
            error = _error(anthropic, "invalid_request_error", "no model in the body", None)
            return json_reply(400, error)
        if asked.path == "/v1/embeddings":
            return json_reply(200, model_answers.embeddings(body))
        said = model_answers.say(owner, body, call)
        if not body.get("stream"):
            return json_reply(200, model_answers.whole_of(asked.path, body, said))
        events = model_answers.events_of(asked.path, body, said)
        return Reply(200, [("content-type", "text/event-stream; charset=utf-8")], events, is_stream=True)


def _error(anthropic: bool, kind: str, message: str, code: str | None) -> dict[str, Any]:
    if anthropic:
        return {"type": "error", "error": {"type": kind, "message": message}}
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _read(link: socket.socket, address: tuple[str, int], buffer: bytearray) -> Asked | None:
    """The next request; `None` when the client has hung up between two."""
    head = _until(link, buffer, b"\r\n\r\n")
    if head is None:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = [
        (name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
    ]
    given = dict(headers)
    if "chunked" in given.get("transfer-encoding", ""):
        body = b""
        while size := int((_until(link, buffer, b"\r\n") or b"0").split(b";")[0], 16):
            body += _exactly(link, buffer, size)
            _exactly(link, buffer, 2)
        _until(link, buffer, b"\r\n")
    else:
        body = _exactly(link, buffer, int(given.get("content-length", "0")))
    return Asked(method, target, headers, body, address)


def _until(link: socket.socket, buffer: bytearray, mark: bytes) -> bytes | None:
    while (at := buffer.find(mark)) < 0:
        if not (more := link.recv(65536)):
            return None
        buffer += more
    taken = bytes(buffer[:at])
    del buffer[: at + len(mark)]
    return taken


def _exactly(link: socket.socket, buffer: bytearray, n: int) -> bytes:
    while len(buffer) < n:
        if not (more := link.recv(max(65536, n - len(buffer)))):
            raise ConnectionResetError("the client left within a body")
        buffer += more
    taken = bytes(buffer[:n])
    del buffer[:n]
    return taken
