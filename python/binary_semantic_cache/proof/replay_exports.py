"""Rows that LiteLLM and Langfuse export, and which format a row is of.

Sources, read in 2026: LiteLLM's `StandardLoggingPayload` (docs.litellm.ai/docs/proxy/logging_spec) and its
table `LiteLLM_SpendLogs` (`schema.prisma` of BerriAI/litellm); Langfuse's field reference of blob storage
exports (langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields) for names with
underscores, and its API's `ObservationsView` (`fern/apis/server/definition/commons.yml` of
langfuse/langfuse) for the others.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.proof.replay_formats import (
    Fields,
    Logged,
    Reader,
    api_request,
    first_of,
    fitting_usage,
    logged,
    read_plain,
    read_requests,
    time_of,
)
from binary_semantic_cache.text.request import Request

__all__ = ["FORMATS", "detected", "read_langfuse", "read_litellm"]

_REDACTED = "redacted-by-litellm"
_NO_CALLS = ("health", "list", "file", "moderation", "transcription", "speech", "image", "rerank", "batch")


def read_litellm(row: Mapping[str, Any], fields: Fields) -> Logged | None:
    """A `StandardLoggingPayload` or a row of the spend logs; `None` for a call of another kind.

    Raises:
        InvalidTypeError, InvalidValueError: the prompt was not logged, or is no request.
    """
    kind = str(row.get("call_type") or "")
    if any(name in kind for name in _NO_CALLS):
        return None
    response, start, end = _decoded(row.get("response")), row.get("startTime"), row.get("endTime")
    status = row.get("status")
    milliseconds = row.get("request_duration_ms")
    seconds = _between(start, end)
    if seconds is None and isinstance(milliseconds, int | float):
        seconds = milliseconds / 1e3
    return logged(
        row,
        fields,
        _litellm_request(row, kind, response),
        response=response,
        time=start,
        model=row.get("model"),
        usage=fitting_usage(row.get("prompt_tokens"), row.get("completion_tokens")),
        cost=first_of(row, ("response_cost", "spend")),
        seconds=seconds,
        failed=status == "failure",
    )


def read_langfuse(row: Mapping[str, Any], fields: Fields) -> Logged | None:
    """An observation; `None` for one that is no generation.

    Raises:
        InvalidTypeError, InvalidValueError: its input is no request.
    """
    kind = row.get("type")
    if kind is not None and str(kind).upper() != "GENERATION":
        return None
    usage = first_of(row, ("usageDetails", "usage_details", "usage")) or {}
    output = _decoded(row.get("output"))
    latency = row.get("latency")
    start = first_of(row, ("startTime", "start_time"))
    # The API's latency was in milliseconds once; the two times say it without doubt.
    seconds = _between(start, first_of(row, ("endTime", "end_time")))
    if seconds is None and isinstance(latency, int | float):
        seconds = float(latency)
    counts: Mapping[str, Any] = usage if isinstance(usage, Mapping) else {}
    model = first_of(row, ("model", "providedModelName", "provided_model_name"))
    return logged(
        row,
        fields,
        _langfuse_request(row, model),
        response=output,
        time=start,
        model=model,
        usage=fitting_usage(counts.get("input"), counts.get("output")),
        cost=first_of(row, ("totalCost", "total_cost", "calculatedTotalCost")),
        seconds=seconds,
        failed=row.get("level") == "ERROR",
    )


FORMATS: Mapping[str, Reader] = {
    "plain": read_plain,
    "requests": read_requests,
    "openai": partial(read_requests, api="openai"),
    "anthropic": partial(read_requests, api="anthropic"),
    "litellm": read_litellm,
    "langfuse": read_langfuse,
}


def detected(row: Mapping[str, Any], fields: Fields) -> str:
    """The name of the format of a row.

    Raises:
        InvalidValueError: it looks like none.
    """
    if fields.prompt is not None:
        return "plain"
    if "call_type" in row:
        return "litellm"
    traced = first_of(row, ("traceId", "trace_id", "startTime", "start_time")) is not None
    if traced and ("input" in row or row.get("type") in ("SPAN", "EVENT", "GENERATION")):
        return "langfuse"
    enveloped = any(isinstance(row.get(name), Mapping) for name in ("request", "request_body", "body", "req"))
    if enveloped or "messages" in row or "input" in row:
        return "requests"
    if "prompt" in row or "text" in row:
        return "plain"
    raise InvalidValueError(
        f"expected a log of one of {', '.join(FORMATS)}, got the fields {', '.join(sorted(row))[:120]}; "
        "name the format or the field of the prompt"
    )


def _litellm_request(row: Mapping[str, Any], kind: str, response: object) -> Request:
    sent = _decoded(row.get("proxy_server_request"))
    if isinstance(sent, Mapping):
        body = sent.get("body") if isinstance(sent.get("body"), Mapping) else sent
        if isinstance(body, Mapping) and any(body.get(name) for name in ("messages", "input", "prompt")):
            return _unredacted(body, kind, response)
    asked = _decoded(row.get("messages"))
    if isinstance(asked, Mapping) and "messages" in asked:
        return _unredacted({"model": row.get("model"), **asked}, kind, response)
    parameters = _decoded(row.get("model_parameters"))
    body = dict(parameters) if isinstance(parameters, Mapping) else {}
    body["model"] = row.get("model") or None
    if not asked:
        raise InvalidValueError("expected messages, got none: LiteLLM was not told to store prompts")
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    body["input" if "responses" in kind or "embedding" in kind else "messages"] = asked
    return _unredacted(body, kind, response)


def _unredacted(body: Mapping[str, Any], kind: str, response: object) -> Request:
    request = api_request(body, "/messages" if kind == "anthropic_messages" else kind, response)
    if request.text == _REDACTED:
        raise InvalidValueError("expected messages, got what LiteLLM writes where it redacts them")
    return request


def _langfuse_request(row: Mapping[str, Any], model: object) -> Request:
    asked = _decoded(row.get("input"))
    if asked is None or asked in ("", {}, []):
        raise InvalidValueError("expected an input, got none")
    parameters = _decoded(first_of(row, ("modelParameters", "model_parameters")))
    body: dict[str, Any] = dict(parameters) if isinstance(parameters, Mapping) else {}
    body["model"] = model if isinstance(model, str) and model else None
    if isinstance(asked, str):
        return api_request({**body, "messages": [{"role": "user", "content": asked}]})
    if isinstance(asked, Mapping):
        return api_request({**body, **asked})
    if isinstance(asked, list) and all(isinstance(turn, Mapping) for turn in asked):
        return api_request({**body, "messages": asked})
    raise InvalidValueError(f"expected an input of messages or text, got {type(asked).__name__}")


def _decoded(value: object) -> Any:
    """What a string says if it is JSON of a list or an object; exports write columns in this way."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _between(start: object, end: object) -> float | None:
    first, last = time_of(start), time_of(end)
    return None if first is None or last is None or last < first else last - first
