"""`bsc serve` as it is wherever it is started: its memory, and what of other packages it takes."""

import json
import os
import signal
import socket
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from malloc_told import is_told
from served import CONFIGURED, KEY, SlowUpstream, get, serving

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and /proc")

TELLING_AT_THE_END = """
import atexit, ctypes, os, pathlib, sys

def tell():
    from malloc_told import told
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free(libc.malloc(16 << 20))
    before = told().heap_bytes
    assert all(libc.malloc(256 << 10) for _ in range(50))
    pathlib.Path(f"heap-{os.getpid()}").write_text(str(told().heap_bytes - before))

atexit.register(tell)
"""


@pytest.fixture
def arguments(tmp_path):
    with SlowUpstream() as upstream:
        (tmp_path / "bsc.toml").write_text(CONFIGURED + "[cache]\nsemantic = false\n")
        yield ["--config", "bsc.toml", "--upstream-openai", upstream.url]


def modules(folder, **sources):
    """An environment in which these modules are found first, and those of the tests."""
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    path = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path)}


@pytest.mark.skipif(not is_told(), reason="the C library's malloc does not tell of itself")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_process_takes_what_asyncio_receives_into_from_its_heap(tmp_path, arguments, workers):
    environment = modules(tmp_path, sitecustomize=TELLING_AT_THE_END)
    with serving(*arguments, "--workers", workers, folder=tmp_path, environment=environment) as served:
        processes = [served.process.pid, *(served.workers() if workers == "2" else ())]
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0
    assert len(processes) == (3 if workers == "2" else 1)
    grown = [int((tmp_path / f"heap-{process}").read_text()) for process in processes]
    assert max(grown) < 1 << 20, "of 12.5 MiB taken"


def test_requests_are_parsed_by_h11_whatever_else_is_installed(tmp_path, arguments):
    environment = modules(tmp_path, httptools="raise SystemExit('httptools was imported')")
    with serving(*arguments, folder=tmp_path, environment=environment) as served:
        assert get(served.url, "/healthz").status_code == 200


@pytest.mark.parametrize(
    "offer",
    [
        {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAAAAIAAAAA"},
        {"connection": "Upgrade", "upgrade": "websocket"},
    ],
    ids=["HTTP/2, as Java's client does", "WebSockets"],
)
def test_an_offer_of_another_protocol_is_passed_over_without_a_word(tmp_path, arguments, offer):
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"} | offer
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "What is rain?"}]})
    with serving(*arguments, folder=tmp_path) as served:
        connection = HTTPConnection(urlsplit(served.url).netloc, timeout=60)
        for _ in range(2):
            connection.request("POST", "/v1/chat/completions", body, headers)
            reply = connection.getresponse()
            assert (reply.status, b"an answer" in reply.read()) == (200, True)
        connection.close()
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0
    assert "WARNING" not in served.text


@pytest.mark.parametrize(("size", "status"), [(65_535, b"200"), (65_537, b"400")])
def test_headers_are_held_to_64_kib(tmp_path, arguments, size, status):
    head = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-long: "
    end = b"\r\n\r\n" if status == b"200" else b""  # one that is too long is refused before it ends
    with serving(*arguments, folder=tmp_path) as served:
        address = urlsplit(served.url)
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            connection.sendall(head + b"x" * (size - len(head) - len(end)) + end)
            assert connection.recv(100).startswith(b"HTTP/1.1 " + status)
