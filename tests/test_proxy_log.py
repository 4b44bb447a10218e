"""The access log: its two forms, what is never in it, and streams that fail."""

import io
import json
import re
import threading
import tracemalloc
from pathlib import Path

import pytest

from binary_semantic_cache.proxy.watching.access_log import FIELDS, AccessLog, fields_of
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.request import Request
from watched import record

ROOT = Path(__file__).parents[1]


def lines(form, *records):
    stream = io.StringIO()
    log = AccessLog(stream, form=form)
    for one in records:
        log.watch(one)
    log.close()
    return stream.getvalue().splitlines()


def test_a_line_of_text_is_fields_and_values():
    (line,) = lines("text", record(outcome="semantic", saved=Saving(12, 30, 0.0021, 0.8), stream=True))
    assert line == (
        "time=2026-09-21T14:13:20.125Z method=POST path=/v1/chat/completions api=openai.chat tenant=acme "
        "model=m-1 stream=true status=200 outcome=semantic similarity=0.94 entry=1 hit=hit_00 age_s=60 "
        "total_ms=4 first_byte_ms=3.5 lookup_ms=3 saved_tokens=42 saved_cost=0.0021 saved_s=0.8 "
        "request_bytes=120 response_bytes=900"
    )


def test_a_line_of_json_is_an_object_of_the_same_fields():
    one = record(guards=("numbers", "negation"), reason="guard", detail="numbers", similarity=0.912345)
    (line,) = lines("json", one)
    told = json.loads(line)
    assert told == json.loads(json.dumps(fields_of(one)))
    assert told["similarity"] == 0.9123
    assert told["guards"] == "numbers,negation"
    assert told["reason"] == "guard"
    assert told["upstream_ms"] == 700.0
    assert "entry" not in told


def test_fields_come_in_the_documented_order_and_all_are_documented():
    full = record(
        outcome="exact",
        would_be="exact",
        detail="d",
        reason="r",
        guards=("g",),
        upstream_seconds=1.0,
        stored="stored",
    )
    assert list(fields_of(full)) == list(FIELDS)
    text = (ROOT / "docs/proxy-watching.md").read_text()
    documented = re.search(r"<!-- fields -->\n(.*?)<!-- end of fields -->", text, re.DOTALL)
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", documented[1], re.MULTILINE)) == dict(FIELDS)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_content_is_in_a_line(form):
    body = {
        "model": "m-1",
        "messages": [{"role": "system", "content": "CANARY-1"}, {"role": "user", "content": "CANARY-2"}],
    }
    request = Request.from_openai_chat(body)
    (line,) = lines(
        form, record(request=request, prompt="CANARY-3", scope="CANARY-4", traceparent="CANARY-5")
    )
    assert "CANARY" not in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_caller_writes_makes_neither_lines_nor_fields(form):
    hostile = 'm\n time=0 outcome=exact "\u2028\x1b[31m\ud800' + "x" * 500
    written = lines(form, record(model=hostile, path="/v1/a b"))
    assert len(written) == 1
    assert written[0].isascii()
    if form == "text":
        assert re.findall(r"(?:^| )outcome=(\w+)", re.sub(r'"(?:\\.|[^"\\])*"', "", written[0])) == ["miss"]
        assert ' path="/v1/a b" ' in written[0]
    else:
        assert json.loads(written[0])["model"] == hostile[:100]


def test_numbers_that_json_has_no_word_for_are_left_out():
    (line,) = lines("json", record(similarity=float("nan"), total_seconds=float("inf")))
    assert {"similarity", "total_ms"} & json.loads(line).keys() == set()


def test_a_stream_that_fails_costs_lines_and_nothing_else():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError("no space left on device")

    log = AccessLog(Full())
    log.watch(record())
    log.watch(record())
    log.close()
    assert log.dropped == 2


class Stuck(io.StringIO):
    """Hangs in each write until it is `released`."""

    def __init__(self):
        super().__init__()
        self.released, self.stuck = threading.Event(), threading.Event()

    def write(self, text):
        self.stuck.set()
        assert self.released.wait(30)
        return super().write(text)


def test_a_stream_that_hangs_holds_up_nobody_and_later_lines_are_dropped():
    stream = Stuck()
    log = AccessLog(stream)
    log.watch(record())
    assert stream.stuck.wait(30)
    for _ in range(10_050):
        log.watch(record())
    assert log.dropped == 50
    stream.released.set()
    log.close(30)
    assert len(stream.getvalue().splitlines()) == 10_001


def test_lines_that_wait_hold_no_content():
    stream = Stuck()
    log = AccessLog(stream)
    log.watch(record())
    assert stream.stuck.wait(30)
    tracemalloc.start()
    try:
        for n in range(200):
            log.watch(record(request=Request(f"{n} " * 50_000, b"")))
        assert tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()
        stream.released.set()
        log.close(30)


def test_the_thread_begins_with_the_first_line_and_ends_with_close():
    log = AccessLog(io.StringIO())
    before = threading.active_count()
    log.close()
    log.watch(record())
    assert threading.active_count() == before + 1
    log.close()
    assert threading.active_count() == before
