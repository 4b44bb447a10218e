"""`bsc serve` as a real process, and an upstream whose stream waits until it is let go on."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx

__all__ = [
    "BSC",
    "CONFIGURED",
    "KEY",
    "TOKEN",
    "Served",
    "SlowUpstream",
    "asking",
    "chat",
    "get",
    "serving",
    "until",
]

BSC = [sys.executable, "-m", "binary_semantic_cache.cli.main"]
KEY = "sk-canary-of-a-caller"
TOKEN = "canary-of-the-admin-token"
CONFIGURED = f"""\
[keys]
accept = "configured"
[[keys.known]]
name = "ann"
sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"
"""
"""The file of a proxy that serves `KEY` alone."""
_LONGEST_SECONDS = 120.0


def until(condition: Callable[[], object], what: str) -> object:
    """Waits until `condition` gives something true, and gives it."""
    ends = time.monotonic() + _LONGEST_SECONDS
    pause = threading.Event()
    while time.monotonic() < ends:
        if found := condition():
            return found
        pause.wait(0.02)
    raise AssertionError(f"expected {what} within {_LONGEST_SECONDS} s")


class Served:
    """A running `bsc serve`, its two ports and what it says on standard error."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: self.url is not None or process.poll() is not None, "a start")
        if self.url is None:
            self._reader.join()
            raise AssertionError(f"expected a start, got {''.join(self.said)}")
        until(lambda: "  answers" in self.text, "a banner")

    def _read(self) -> None:
        for line in self.process.stderr:
            self.said.append(line)

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def url(self) -> str | None:
        found = re.search(r"^listening on (\S+)$", self.text, re.MULTILINE)
        return found[1] if found else None

    @property
    def admin_url(self) -> str:
        return re.search(r"^  dashboard +(\S+)/ ", self.text, re.MULTILINE)[1]

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]

    def end(self) -> int:
        """Waits for its end; the exit status."""
        status = self.process.wait(_LONGEST_SECONDS)
        self._reader.join()
        return status

    def refuses(self) -> bool:
        """Whether it accepts no connections."""
        parts = urlsplit(self.url)
        try:
            socket.create_connection((parts.hostname, parts.port), timeout=5).close()
        except OSError:
            return True
        return False


@contextmanager
def serving(*arguments: str, folder, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """`bsc serve` with free ports, in `folder`, killed at the end if it still runs."""
    process = subprocess.Popen(
        [*BSC, "serve", "--port", "0", "--admin-port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "BSC_SERVER_ADMIN_TOKEN": TOKEN, "BSC_LOG_FORMAT": "off", **(environment or {})},
    )
    try:
        yield Served(process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def chat(url: str, question: str, *, key: str = KEY) -> httpx.Response:
    """Asks; the whole reply."""
    with asking(url, question, key=key, stream=False) as reply:
        reply.read()
    return reply


@contextmanager
def asking(url: str, question: str, *, key: str = KEY, stream: bool = True) -> Iterator[httpx.Response]:
    """Asks; the reply as it comes."""
    body = {"model": "m", "messages": [{"role": "user", "content": question}], "stream": stream}
    with (
        httpx.Client(trust_env=False, timeout=_LONGEST_SECONDS) as client,
        client.stream(
            "POST", f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
        ) as reply,
    ):
        yield reply


def get(url: str, path: str, token: str = "") -> httpx.Response:
    """A page."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(trust_env=False, timeout=_LONGEST_SECONDS) as client:
        return client.get(f"{url}{path}", headers=headers)


class SlowUpstream:
    """Speaks OpenAI's chat: `with SlowUpstream() as upstream: ... upstream.url ...`.

    A stream sends its first words, then waits for `go_on`.
    """

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.calls = 0

    def __enter__(self) -> "SlowUpstream":
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner.calls += 1
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if body.get("stream"):
                    self._stream()
                else:
                    message = {"role": "assistant", "content": f"an answer of {os.getpid()}"}
                    self._reply(_chat("chat.completion", {"message": message, "finish_reason": "stop"}))

            def _reply(self, body: dict) -> None:
                content = json.dumps(body | {"usage": _USAGE}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True
                try:
                    self._event(
                        _chat("chat.completion.chunk", {"delta": {"role": "assistant", "content": "One"}})
                    )
                    owner.go_on.wait(_LONGEST_SECONDS)
                    self._event(_chat("chat.completion.chunk", {"delta": {"content": " two"}}))
                    self._event(_chat("chat.completion.chunk", {"delta": {}, "finish_reason": "stop"}))
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    """A proxy that was ended at once reads no further."""

            def _event(self, chunk: dict) -> None:
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:
                """Keeps the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"


_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def _chat(kind: str, choice: dict) -> dict:
    choice = {"index": 0, "logprobs": None, "finish_reason": None, **choice}
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "m", "choices": [choice]}
