"""Logs in every format that `bsc replay` reads; all samples are written for these tests."""

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.proof.replay_exports import FORMATS, detected
from binary_semantic_cache.proof.replay_formats import Fields, answer_text, time_of
from binary_semantic_cache.proof.replay_lines import lines, total_bytes
from binary_semantic_cache.text.request import Request

QUESTION = "how do routers work"
TURNS = [{"role": "user", "content": QUESTION}]
CHAT = {
    "object": "chat.completion",
    "choices": [{"message": {"role": "assistant", "content": "by routing"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4},
}


def read(row, name=None, **fields):
    where = Fields(**fields)
    return FORMATS[name or detected(row, where)](row, where)


def litellm(**changes):
    """A `StandardLoggingPayload`."""
    return {
        "id": "c-1",
        "call_type": "acompletion",
        "status": "success",
        "model": "small",
        "messages": TURNS,
        "model_parameters": {"temperature": 0.5},
        "response": CHAT,
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "response_cost": 0.002,
        "startTime": 1700000000.0,
        "endTime": 1700000001.5,
        "metadata": {"user_api_key_hash": "ab12"},
    } | changes


def langfuse(**changes):
    """An observation as the API and the export of a table give it."""
    return {
        "id": "o-1",
        "traceId": "t-1",
        "type": "GENERATION",
        "startTime": "2026-03-01T10:00:00.000Z",
        "endTime": "2026-03-01T10:00:02.000Z",
        "model": "small",
        "modelParameters": {"temperature": 0.5},
        "input": TURNS,
        "output": {"role": "assistant", "content": "by routing"},
        "usageDetails": {"input": 9, "output": 4, "total": 13},
        "level": "DEFAULT",
        "userId": "u-7",
    } | changes


def langfuse_blob(**changes):
    """An observation as the export to blob storage writes it."""
    return {
        "id": "o-1",
        "trace_id": "t-1",
        "type": "GENERATION",
        "start_time": "2026-03-01 10:00:00.000000",
        "end_time": "2026-03-01 10:00:02.000000",
        "provided_model_name": "small",
        "model_parameters": '{"temperature":0.5}',
        "input": json.dumps({"messages": TURNS}),
        "output": json.dumps({"role": "assistant", "content": "by routing"}),
        "usage_details": {"input": 9, "output": 4},
        "total_cost": 0.002,
        "user_id": "u-7",
    } | changes


EXPECTED = Request.from_openai_chat({"model": "small", "messages": TURNS, "temperature": 0.5})


@pytest.mark.parametrize("row", [litellm(), langfuse(), langfuse_blob()], ids=["litellm", "api", "blob"])
def test_exports_give_the_request_that_was_sent(row):
    request = read(row)
    assert request.prompt == EXPECTED
    assert (request.model, request.answer, request.refusal) == ("small", "by routing", None)
    assert request.usage == (9, 4)
    assert request.seconds in (1.5, 2.0)
    assert request.time in (1700000000.0, 1772359200.0)


@pytest.mark.parametrize(
    ("row", "path", "tenant"),
    [
        (litellm(), "metadata.user_api_key_hash", "ab12"),
        (langfuse(), "userId", "u-7"),
        (langfuse_blob(), "user_id", "u-7"),
        ({"prompt": QUESTION, "tenant": "x"}, None, "x"),
        (litellm(), None, None),
    ],
)
def test_a_tenant_is_taken_from_the_field_that_is_named(row, path, tenant):
    assert read(row, tenant=path).tenant == tenant


def test_a_row_of_litellms_spend_logs_is_read_with_its_columns_as_json_text():
    row = litellm(
        startTime="2026-03-01T10:00:00",
        endTime=None,
        request_duration_ms=1500,
        messages="{}",
        response=json.dumps(CHAT),
        proxy_server_request=json.dumps({"model": "small", "messages": TURNS, "temperature": 0.5}),
        spend=0.002,
    )
    del row["response_cost"]
    request = read(row)
    assert request.prompt == EXPECTED
    assert (request.seconds, request.cost, request.answer) == (1.5, 0.002, "by routing")


def test_litellm_prompts_that_were_not_stored_are_no_requests():
    with pytest.raises(errors.InvalidValueError, match="not told to store prompts"):
        read(litellm(messages={}))
    redacted = [{"role": "user", "content": "redacted-by-litellm"}]
    with pytest.raises(errors.InvalidValueError, match="redacts"):
        read(litellm(messages=redacted))


@pytest.mark.parametrize("row", [litellm(call_type="aimage_generation"), langfuse(type="SPAN")])
def test_calls_that_ask_no_model_for_text_are_passed_over(row):
    assert read(row) is None


@pytest.mark.parametrize("row", [litellm(status="failure"), langfuse(level="ERROR")])
def test_calls_that_failed_give_no_answer_to_store(row):
    request = read(row)
    assert (request.refusal, request.answer) == ("error", None)


@pytest.mark.parametrize(
    ("sent", "answered", "expected", "text"),
    [
        ({"model": "m", "messages": TURNS}, CHAT, Request.from_openai_chat, "by routing"),
        (
            {"model": "m", "input": QUESTION},
            {
                "object": "response",
                "status": "completed",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "by routing"}]}],
                "usage": {"input_tokens": 9, "output_tokens": 4},
            },
            Request.from_openai_responses,
            "by routing",
        ),
        (
            {"model": "m", "prompt": QUESTION},
            {
                "object": "text_completion",
                "choices": [{"text": "by routing", "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4},
            },
            Request.from_openai_completion,
            "by routing",
        ),
        (
            {"model": "m", "max_tokens": 9, "messages": TURNS},
            {
                "type": "message",
                "stop_reason": "end_turn",
                "content": [{"type": "text", "text": "by routing"}],
                "usage": {"input_tokens": 9, "output_tokens": 4},
            },
            Request.from_anthropic,
            "by routing",
        ),
    ],
    ids=["chat", "responses", "completions", "messages"],
)
def test_bodies_of_every_api_are_read_in_an_envelope(sent, answered, expected, text):
    row = {"request": sent, "response": answered, "time": "2026-03-01T10:00:00Z", "latency_ms": 20}
    request = read(row)
    assert request.prompt == expected(sent)
    assert (request.answer, request.usage, request.refusal) == (text, (9, 4), None)
    assert (request.time, request.seconds) == (1772359200.0, 0.02)


def test_a_bare_body_is_a_request_without_what_the_log_added():
    row = {"model": "m", "messages": TURNS, "time": 5, "label": "x", "latency_ms": 3}
    request = read(row, truth="label")
    assert request.prompt == Request.from_openai_chat({"model": "m", "messages": TURNS})
    assert (request.time, request.truth, request.answer) == (5.0, "x", None)


def test_a_batch_file_of_url_and_body_is_read_by_its_url():
    row = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": TURNS}}
    assert read(row).prompt == Request.from_openai_chat({"messages": TURNS})
    row = {"request": {"model": "claude-x", "messages": TURNS}, "path": "/v1/messages"}
    assert read(row).prompt == Request.from_anthropic({"model": "claude-x", "messages": TURNS})


def test_a_response_with_a_failing_status_is_not_stored():
    row = {"request": {"messages": TURNS}, "response": {"status_code": 429, "body": {"error": {}}}}
    assert read(row).refusal == "error"


def test_a_plain_line_is_the_prompt_that_a_cache_of_strings_is_given():
    request = read({"prompt": QUESTION, "response": "by routing", "time": 3})
    assert (request.prompt, request.answer, request.time, request.tenant) == (
        QUESTION,
        "by routing",
        3.0,
        None,
    )
    named = read({"question": {"text": QUESTION}, "id_set": 4}, prompt="question.text", truth="id_set")
    assert (named.prompt, named.truth) == (QUESTION, "4")


def test_what_looks_like_no_log_names_the_formats_and_its_own_fields():
    with pytest.raises(errors.InvalidValueError, match=r"plain, requests, .* got the fields a, b"):
        detected({"a": 1, "b": 2}, Fields())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1700000000, 1.7e9),
        (1700000000123, 1700000000.123),
        (1700000000123456, 1700000000.123456),
        ("1700000000.5", 1700000000.5),
        ("2023-11-14T22:13:20Z", 1.7e9),
        ("2023-11-14 22:13:20", 1.7e9),
        ("2023-11-14T23:13:20+01:00", 1.7e9),
        ("yesterday", None),
        (True, None),
        (float("nan"), None),
        (None, None),
    ],
)
def test_times_are_numbers_of_any_unit_or_dates(value, seconds):
    assert time_of(value) == seconds


def test_an_answer_without_text_has_none():
    assert answer_text({"choices": [{"message": {"content": None, "tool_calls": [{}]}}]}) is None
    assert answer_text(" ") is None
    assert answer_text([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]) == "a\nb"


ROWS = [{"prompt": f"ünï {i} " + "x" * (i % 300)} for i in range(3000)]


def as_lines(rows):
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


@pytest.mark.parametrize(
    "content",
    [
        as_lines(ROWS),
        b"\n\n" + as_lines(ROWS).rstrip(b"\n"),
        json.dumps(ROWS, ensure_ascii=False, indent=1).encode(),
        json.dumps(ROWS, ensure_ascii=False).encode(),
        gzip.compress(as_lines(ROWS)),
        gzip.compress(as_lines(ROWS[:1000])) + gzip.compress(as_lines(ROWS[1000:])),
        gzip.compress(json.dumps(ROWS, ensure_ascii=False).encode()),
    ],
    ids=["lines", "no last line end", "array", "array on a line", "gzip", "members", "gzip array"],
)
def test_lines_arrays_and_gzip_give_the_same_rows(tmp_path, content):
    path = tmp_path / "log"
    path.write_bytes(content)
    seen = []
    found = list(lines(path, seen.append))
    assert [line.row for line in found] == ROWS
    assert sum(seen) == total_bytes([path]) == len(content)


def test_the_standard_input_is_read_to_its_end(monkeypatch):
    class Stream:
        buffer = io.BytesIO(gzip.compress(as_lines(ROWS[:10])))

    monkeypatch.setattr(sys, "stdin", Stream())
    assert [line.row for line in lines(Path("-"))] == ROWS[:10]
    assert total_bytes([Path("-")]) is None


def test_a_line_that_is_no_json_is_given_as_none_with_its_number(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"prompt": "a"}\nnot json\n{"prompt": "b"}\n')
    assert [(line.number, line.row is None) for line in lines(path)] == [(1, False), (2, True), (3, False)]


@pytest.mark.parametrize("content", [gzip.compress(as_lines(ROWS))[:-20], b'[{"a": 1}, {"b"', b"[1, 2"])
def test_a_file_that_was_cut_off_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(errors.CorruptFileError, match="log: "):
        list(lines(path))


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(errors.MissingFileError, match="expected a log"):
        list(lines(tmp_path / "none"))
