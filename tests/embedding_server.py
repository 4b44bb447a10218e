"""A real HTTP server on loopback that speaks the embedding protocols of OpenAI and Ollama.

A text's vector is drawn from a generator seeded with its hash. What the server shall do wrong is a list of
`Misdeed`s, one for each coming request; after them it behaves.
"""

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

__all__ = [
    "EmbeddingServer",
    "Misdeed",
    "altered",
    "cut",
    "drip",
    "hang",
    "raw",
    "redirect",
    "status",
    "vector_of",
]

Misdeed = Callable[["_Handler", int, bytes], None]


def vector_of(text: str, dimension: int) -> np.ndarray:
    """The vector the server has for `text`: float32, not of length 1."""
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)


def status(code: int, *, retry_after: str | None = None, body: bytes = b"{}") -> Misdeed:
    """Answers with another status."""

    def do(handler: "_Handler", _: int, __: bytes) -> None:
        handler.answer(code, body, {} if retry_after is None else {"Retry-After": retry_after})

    return do


def raw(body: bytes, headers: dict[str, str] | None = None) -> Misdeed:
    """Answers 200 with other bytes."""
    return lambda handler, _, __: handler.answer(200, body, headers or {})


def altered(change: Callable[[Any], Any]) -> Misdeed:
    """Answers what `change` makes of the right answer."""
    return lambda handler, code, body: handler.answer(code, json.dumps(change(json.loads(body))).encode(), {})


def redirect(location: str) -> Misdeed:
    """Sends the client elsewhere."""
    return lambda handler, _, __: handler.answer(307, b"", {"Location": location})


def cut(handler: "_Handler", code: int, body: bytes) -> None:
    """Closes the connection in the middle of the answer."""
    handler.send_response(code)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def hang(handler: "_Handler", _: int, __: bytes) -> None:
    """Answers nothing until the server closes."""
    handler.owner.closing.wait(30)
    handler.close_connection = True


def drip(handler: "_Handler", code: int, body: bytes) -> None:
    """Sends a byte now and then: each is in time, the answer never is."""
    handler.send_response(code)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    ends = time.monotonic() + 30
    for place in range(len(body)):
        handler.wfile.write(body[place : place + 1])
        if time.monotonic() > ends or handler.owner.closing.wait(0.02):
            break
    handler.close_connection = True


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: tuple[str, int]


@dataclass
class EmbeddingServer:
    """The server: `with EmbeddingServer() as server: ... server.url ...`."""

    dimension: int = 8
    key: str | None = None
    models: dict[str, str] = field(default_factory=lambda: {"nomic-embed-text:latest": "0a" * 32})
    model_info: dict[str, Any] = field(
        default_factory=lambda: {"general.architecture": "bert", "bert.context_length": 2048}
    )
    parameters: str = ""
    longest_text: int = 10_000
    misdeeds: deque[Misdeed] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "EmbeddingServer":
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def will(self, *misdeeds: Misdeed) -> None:
        """Does these wrong, one a request."""
        self.misdeeds.extend(misdeeds)

    def texts(self) -> list[list[str]]:
        """The texts of each request that had some."""
        return [asked.body["input"] for asked in self.asked if asked.body and "input" in asked.body]

    def respond(self, asked: Asked) -> tuple[int, Any]:
        """Status and JSON of the right answer."""
        if self.key is not None and asked.headers.get("authorization") != f"Bearer {self.key}":
            given = asked.headers.get("authorization")
            error = {"code": "invalid_api_key", "message": f"Incorrect key: {given}; {asked.body}"}
            return 401, {"error": error}
        match asked.method, asked.path:
            case "POST", "/v1/embeddings":
                return self._openai(asked.body)
            case "GET", "/v1/models":
                return 200, {"object": "list", "data": [{"id": name} for name in self.models]}
            case "POST", "/api/embed":
                return self._ollama(asked.body)
            case "GET", "/api/tags":
                listed = [{"name": n, "model": n, "digest": d} for n, d in self.models.items()]
                return 200, {"models": listed}
            case "POST", "/api/show":
                return 200, {"parameters": self.parameters, "model_info": self.model_info}
        return 404, {"error": "no such path"}

    def _openai(self, body: Any) -> tuple[int, Any]:
        texts, dimension = body["input"], body.get("dimensions", self.dimension)
        if "" in texts or body["encoding_format"] != "float":
            return 400, {"error": {"code": None, "message": "bad input"}}
        if any(len(text) > self.longest_text for text in texts):
            message = f"This model's maximum context length is exceeded by {texts[0]}"
            return 400, {"error": {"code": None, "type": "invalid_request_error", "message": message}}
        data = [
            {"object": "embedding", "index": index, "embedding": vector_of(text, dimension).tolist()}
            for index, text in enumerate(texts)
        ]
        return 200, {"object": "list", "data": data, "model": body["model"]}

    def _ollama(self, body: Any) -> tuple[int, Any]:
        name = body["model"] if ":" in body["model"] else f"{body['model']}:latest"
        if name not in self.models:
            return 404, {"error": f"model {name!r} not found"}
        if any(len(text) > self.longest_text for text in body["input"]) and body["truncate"] is False:
            return 400, {"error": "the input length exceeds the context length"}
        return 200, {"embeddings": [vector_of(text, self.dimension).tolist() for text in body["input"]]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: EmbeddingServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave early are what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    @property
    def owner(self) -> EmbeddingServer:
        return self.server.owner

    def do_GET(self) -> None:
        self._handle(None)

    def do_POST(self) -> None:
        self._handle(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _handle(self, body: Any) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body, self.client_address)
        self.owner.asked.append(asked)
        code, answer = self.owner.respond(asked)
        try:
            misdeed = self.owner.misdeeds.popleft()
        except IndexError:
            self.answer(code, json.dumps(answer).encode(), {})
        else:
            misdeed(self, code, json.dumps(answer).encode())

    def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps the tests' output clean."""
