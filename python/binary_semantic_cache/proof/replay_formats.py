"""One line of a log as the request it was and what became of it, whatever wrote the log.

Formats: `plain`, objects with a prompt; `requests`, bodies of OpenAI's or Anthropic's APIs, bare or in an
envelope with the response; `litellm` and `langfuse`, exports of those tools (`replay_exports`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError, UnsavableResponseError
from binary_semantic_cache.text.admission import Refusal, Usage, refusal_to_store, usage_of
from binary_semantic_cache.text.request import Request

__all__ = [
    "Fields",
    "Logged",
    "answer_text",
    "api_request",
    "at_path",
    "first_of",
    "fitting_usage",
    "logged",
    "read_plain",
    "read_requests",
    "time_of",
]

_MOST_RESPONSE_BYTES = 4 * 2**20
"""What a `SemanticCache` stores at most unless told otherwise."""
_REQUEST_KEYS = ("request", "request_body", "body", "req")
_RESPONSE_KEYS = ("response", "response_body", "resp", "answer", "output")
_TIME_KEYS = ("time", "timestamp", "created_at", "ts", "start_time", "startTime")
_PROMPT_KEYS = ("prompt", "text")
_SECONDS_KEYS = ("seconds", "latency_seconds", "duration_seconds", "response_time", "latency")
_MILLISECONDS_KEYS = ("latency_ms", "duration_ms", "request_duration_ms")
# Dates of this century in seconds are below the first, in milliseconds below the second.
_MILLISECONDS_FROM, _MICROSECONDS_FROM = 1e11, 1e14


@dataclass(frozen=True, slots=True)
class Fields:
    """Where a row keeps what no format fixes; dotted paths."""

    prompt: str | None = None
    tenant: str | None = None
    truth: str | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """A request of a log."""

    prompt: str | Request
    time: float | None
    """Seconds since 1970; `None` where the log does not say."""
    tenant: str | None
    model: str | None
    answer: str | None
    """The text that was answered; `None` where the log does not say."""
    refusal: str | None
    """Why a cache would not have stored the answer; `None` also where there is no answer to look at."""
    usage: Usage | None
    cost: float | None
    """Money, as the log has it."""
    seconds: float | None
    """How long the call took."""
    truth: str | None
    """A label that is equal for requests with the same answer."""

    @property
    def text(self) -> str:
        """What meaning is looked for in."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt.text


def logged(
    row: Mapping[str, Any],
    fields: Fields,
    prompt: str | Request,
    *,
    response: object = None,
    time: object = None,
    tenant: object = None,
    model: object = None,
    usage: Usage | None = None,
    cost: object = None,
    seconds: float | None = None,
    failed: bool = False,
) -> Logged:
    """Puts together what the formats found; empty responses count as not logged."""
    nothing = response is None or response in ("", {}, [])
    refusal = None
    if failed:
        refusal = Refusal.ERROR.value
    elif not nothing:
        refusal = _refusal(response)
    label = None if fields.truth is None else at_path(row, fields.truth)
    owner = tenant if fields.tenant is None else at_path(row, fields.tenant)
    named = model if isinstance(model, str) and model else None
    if named is None and isinstance(prompt, Request):
        named = prompt.model
    money = cost if isinstance(cost, int | float) and not isinstance(cost, bool) else None
    return Logged(
        prompt=prompt,
        time=time_of(time),
        tenant=None if owner is None else str(owner),
        model=named,
        answer=None if nothing or failed else answer_text(response),
        refusal=refusal,
        usage=usage or (None if nothing else usage_of(response)),
        cost=None if money is None or not 0 <= money < math.inf else float(money),
        seconds=seconds,
        truth=None if label is None else str(label),
    )


def read_plain(row: Mapping[str, Any], fields: Fields) -> Logged:
    """A row of `{"prompt", "response"?, "time"?, "tenant"?, "model"?, "system"?}`.

    Raises:
        InvalidTypeError: there is no prompt in it.
    """
    prompt = first_of(row, _PROMPT_KEYS) if fields.prompt is None else at_path(row, fields.prompt)
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidTypeError(
            f"expected a prompt under {fields.prompt or ' or '.join(_PROMPT_KEYS)}, "
            f"got {'an empty one' if isinstance(prompt, str) else type(prompt).__name__}"
        )
    model, system = row.get("model"), row.get("system")
    asked: str | Request = prompt
    if isinstance(model, str) or isinstance(system, str):
        asked = Request.from_prompt(
            prompt,
            model=model if isinstance(model, str) else None,
            system=system if isinstance(system, str) else None,
        )
    return logged(
        row,
        fields,
        asked,
        response=first_of(row, _RESPONSE_KEYS),
        time=first_of(row, _TIME_KEYS),
        tenant=row.get("tenant"),
        model=model,
        usage=usage_of(dict(row)),
        cost=row.get("cost"),
        seconds=_seconds_of(row),
    )


def read_requests(row: Mapping[str, Any], fields: Fields, api: str | None = None) -> Logged:
    """A request's body, bare or in an envelope; `api` is `anthropic` or `openai` where that is known.

    Raises:
        InvalidTypeError, InvalidValueError: it is no request.
    """
    body = first_of(row, _REQUEST_KEYS)
    enveloped = isinstance(body, Mapping)
    if not isinstance(body, Mapping):
        body = row
    response = first_of(row, _RESPONSE_KEYS) if enveloped or "response" in row else None
    failed = False
    if isinstance(response, Mapping) and isinstance(response.get("body"), Mapping):
        status = response.get("status_code")
        failed = isinstance(status, int) and status >= 400
        response = response["body"]
    status = row.get("status_code", row.get("status"))
    failed = failed or (isinstance(status, int) and status >= 400)
    if not enveloped:
        # What the log adds to a bare body is no part of the request.
        own = (fields.tenant or "", fields.truth or "", "response", *_TIME_KEYS, *_SECONDS_KEYS)
        body = {name: value for name, value in row.items() if name not in own + _MILLISECONDS_KEYS}
    hint = str(first_of(row, ("url", "path", "endpoint", "api")) or "")
    return logged(
        row,
        fields,
        api_request(body, hint, response, api),
        response=response,
        time=first_of(row, _TIME_KEYS),
        tenant=row.get("tenant") if enveloped else None,
        seconds=_seconds_of(row),
        failed=failed,
    )


def api_request(
    body: Mapping[str, Any], hint: str = "", response: object = None, api: str | None = None
) -> Request:
    """The request of a body, of whichever API it is one.

    Args:
        body: the request's body.
        hint: the path that it was sent to, or another name of the API.
        response: its answer, which tells Anthropic's messages from OpenAI's.
        api: `openai` or `anthropic` where that is known.

    Raises:
        InvalidTypeError, InvalidValueError: it is none of them.
    """
    fixed: dict[str, Any] = dict(body)
    if "messages" in fixed:
        anthropic = api == "anthropic" or (api is None and _is_anthropic(fixed, hint, response))
        return Request.from_anthropic(fixed) if anthropic else Request.from_openai_chat(fixed)
    if "input" in fixed:
        embeds = "embedding" in hint or "embed" in str(fixed.get("model"))
        return Request.from_openai_embedding(fixed) if embeds else Request.from_openai_responses(fixed)
    if "prompt" in fixed:
        return Request.from_openai_completion(fixed)
    raise InvalidValueError("expected messages, input or prompt, got none of them")


def answer_text(response: object) -> str | None:
    """The text of an answer of one of the APIs, or of a message; `None` where there is none."""
    if isinstance(response, str):
        return response.strip() or None
    if isinstance(response, list):
        texts = [text for part in response if (text := answer_text(part))]
        return "\n".join(texts) or None
    if not isinstance(response, Mapping):
        return None
    for name in ("choices", "output"):
        if isinstance(listed := response.get(name), list) and listed:
            return answer_text(listed[:1] if name == "choices" else listed)
    for name in ("message", "content", "text", "completion"):
        if (found := answer_text(response.get(name))) is not None:
            return found
    return None


def time_of(value: object) -> float | None:
    """Seconds since 1970 of a number (seconds, milli- or microseconds) or a date; naive dates are UTC."""
    if isinstance(value, str):
        try:
            return time_of(float(value))
        except ValueError:
            return _time_of_date(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if value >= _MICROSECONDS_FROM:
        return value / 1e6
    return value / 1e3 if value >= _MILLISECONDS_FROM else float(value)


def at_path(row: object, path: str) -> Any:
    """What stands under a dotted path; `None` where there is nothing."""
    for name in path.split("."):
        if not isinstance(row, Mapping):
            return None
        row = row.get(name)
    return row


def first_of(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of `names` that is there and not null."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def fitting_usage(asked: object, answered: object) -> Usage | None:
    """Tokens, where both are counts and not both are 0, which is how exports write that they do not know."""
    counts = []
    for count in (asked, answered):
        if isinstance(count, bool) or not isinstance(count, int | float | None):
            return None
        counts.append(int(count or 0))
    return Usage(*counts) if any(counts) and min(counts) >= 0 else None


def _time_of_date(text: str) -> float | None:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _seconds_of(row: Mapping[str, Any]) -> float | None:
    for names, scale in ((_SECONDS_KEYS, 1.0), (_MILLISECONDS_KEYS, 1e-3)):
        value = first_of(row, names)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
            return value * scale
    return None


def _is_anthropic(body: Mapping[str, Any], hint: str, response: object) -> bool:
    if hint:
        return "anthropic" in hint or hint.rstrip("/").endswith("/messages")
    if isinstance(response, Mapping) and ("choices" in response or response.get("type") == "message"):
        return "choices" not in response
    return "system" in body or "anthropic_version" in body or str(body.get("model")).startswith("claude")


def _refusal(response: object) -> str | None:
    plain = dict(response) if isinstance(response, Mapping) else response
    # A bare message, as traces keep it.
    if isinstance(plain, dict) and "choices" not in plain and plain.get("tool_calls"):
        return Refusal.TOOL_CALL.value
    try:
        found = refusal_to_store(plain, max_response_bytes=_MOST_RESPONSE_BYTES)
    except UnsavableResponseError:
        return "unsavable"
    return None if found is None else found.value


Reader = Callable[[Mapping[str, Any], Fields], Logged | None]
"""Reads one row; `None` for one that is no request to a model. Raises as `read_requests`."""
