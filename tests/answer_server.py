"""A real HTTP server on loopback that answers every request with what it was last told to say."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["AnswerServer"]


class AnswerServer:
    """Listens on a free port of loopback until it is closed."""

    def __init__(self) -> None:
        self.status = 200
        self.kind = "application/json"
        self.content = b"{}"
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(told.status)
                self.send_header("Content-Type", told.kind)
                self.send_header("Content-Length", str(len(told.content)))
                self.end_headers()
                self.wfile.write(told.content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def say(self, content: bytes, kind: str = "application/json", status: int = 200) -> None:
        """What to answer from now on."""
        self.content, self.kind, self.status = content, kind, status

    def close(self) -> None:
        """Stops and waits for it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
