"""What a server's answer means: a value, or a failure in words that are safe to show.

Whatever a server writes could repeat the key or a text it was sent. So nothing of it is passed on but a
status, a pause, and words of a closed list.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

__all__ = ["Failure", "decoded", "describe"]

_LONGEST_RETRY_AFTER_SECONDS = 60.0
_RETRIED = frozenset({408, 429})  # and all of 5xx

# The only words of an answer that are repeated in messages: a closed list can carry neither key nor text.
_REASONS = frozenset(
    {
        "billing_hard_limit_reached",
        "context_length_exceeded",
        "insufficient_quota",
        "invalid_api_key",
        "model_not_found",
        "rate_limit_exceeded",
    }
)
# Asking again changes nothing about these, whatever status they come with.
_LASTING = frozenset(
    {"billing_hard_limit_reached", "context_length_exceeded", "insufficient_quota", "model_not_found"}
)
_ADVICE = {
    "insufficient_quota": "check the account's plan",
    "context_length_exceeded": "a text is longer than the model's window",
    401: "check the key",
    403: "check the key's rights",
    404: "check the address and the model's name",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, in words that are safe to show."""

    reason: str
    again: bool = False
    retry_after_seconds: float | None = None
    status: int | None = None


def describe(status: int, headers: Mapping[str, str], content: bytes) -> Failure:
    """The failure that an answer other than 200 is."""
    try:
        shown = f"answered {status} {HTTPStatus(status).phrase}"  # the server's own phrase could be anything
    except ValueError:
        shown = f"answered {status}"
    if 300 <= status < 400:
        return Failure(f"{shown}; redirects are not followed: give the final address", status=status)
    reason = _known_reason(content)
    if reason is not None:
        shown += f" ({reason})"
    advice = _ADVICE.get(reason or "") or _ADVICE.get(status)
    if advice is not None:
        shown += f"; {advice}"
    again = (status in _RETRIED or status >= 500) and reason not in _LASTING
    return Failure(shown, again, _retry_after_seconds(headers.get("Retry-After")), status)


def _known_reason(content: bytes) -> str | None:
    """The reason in an error's body, if it is one of `_REASONS`.

    OpenAI's form is `{"error": {"code": ..., "type": ..., "message": ...}}`, Ollama's `{"error": "..."}`.
    """
    value = decoded(content)
    error = value[0].get("error") if value is not None and isinstance(value[0], dict) else None
    fields = error if isinstance(error, dict) else {"message": error}
    for word in (fields.get("code"), fields.get("type")):
        if isinstance(word, str) and word in _REASONS:
            return word
    # Neither has a code for this one at all times, and both have these words.
    message = fields.get("message")
    return "context_length_exceeded" if isinstance(message, str) and "context length" in message else None


def _retry_after_seconds(value: str | None) -> float | None:
    """Seconds to wait by a `Retry-After` header, 0 to 60; `None` if it says nothing usable.

    Source: RFC 9110, section 10.2.3: seconds, or an HTTP date.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_SECONDS)


def decoded(content: bytes) -> tuple[Any] | None:
    """The JSON value of `content`, boxed; `None` when it is not JSON."""
    try:
        return (json.loads(content),)
    except (ValueError, RecursionError):
        return None
