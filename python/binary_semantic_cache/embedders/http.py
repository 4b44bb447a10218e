"""JSON over HTTP for embedders: retries, deadlines, and messages that give nothing away.

httpx is imported at construction, so that importing this module needs no extra. Neither the key nor a text
nor what a server answered appears in a log line, a message, or an exception chained to one: httpx's own
exceptions hold the request, so each is reduced to its class name before an `EmbedderError` is raised outside
the handler.
"""

import json
import logging
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from ipaddress import ip_address
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from binary_semantic_cache.errors import (
    EmbedderError,
    InvalidTypeError,
    InvalidValueError,
    MissingExtraError,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["JsonService", "checked_base_url"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
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
class _Failure:
    """Why an attempt failed, in words that are safe to show."""

    reason: str
    again: bool = False
    retry_after_seconds: float | None = None
    status: int | None = None


class JsonService:
    """One server that takes and gives JSON. Safe for threads, and in processes forked from its own.

    A process makes its own client: connections shared with a parent would mix up the answers of the two.
    Redirects are not followed, because the key would follow them.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float,
        deadline_seconds: float,
        max_retries: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Opens nothing yet.

        Args:
            base_url: what `checked_base_url` gave.
            api_key: sent as a bearer token; `None` sends no authorization.
            timeout_seconds: longest one attempt may last.
            deadline_seconds: longest one call of `request` may last, attempts and pauses together.
            max_retries: attempts after the first.
            sleep: what waits between attempts.

        Raises:
            MissingExtraError: httpx is not installed.
            InvalidTypeError: an argument has the wrong type.
            InvalidValueError: a number is out of range, or the key cannot be a header.
        """
        _import_httpx()
        for name, value in (("timeout_seconds", timeout_seconds), ("deadline_seconds", deadline_seconds)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidTypeError(f"expected {name} to be a number, got {type(value).__name__}")
            if not 0 < value < math.inf:
                raise InvalidValueError(f"expected {name} above 0, got {value}")
        if isinstance(max_retries, bool) or not isinstance(max_retries, int):
            raise InvalidTypeError(f"expected max_retries to be an int, got {type(max_retries).__name__}")
        if max_retries < 0:
            raise InvalidValueError(f"expected max_retries of 0 or more, got {max_retries}")
        self._base_url = base_url
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {_checked_key(api_key)}"}
        self._timeout_seconds = timeout_seconds
        self._deadline_seconds = deadline_seconds
        self._max_retries = max_retries
        self._sleep = sleep
        self._clients: dict[int, httpx.Client] = {}
        self._closed = False

    @property
    def host(self) -> str:
        """The server's name and port, as messages name it."""
        return urlsplit(self._base_url).netloc

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        most_bytes: int = 4 << 20,
    ) -> Any:
        """The JSON that the server answers, decoded.

        Status 408, 429 and 5xx, lost connections and timeouts are tried again, after what the server's
        `Retry-After` says (at most 60 s) or else after twice the last pause, shortened by up to a half at
        random so that many clients do not come back as one.

        Args:
            method: "GET" or "POST".
            path: below the base URL, without a leading slash.
            body: sent as JSON.
            most_bytes: longest answer that is read, after decompression.

        Raises:
            EmbedderError: no usable answer in the attempts and time there are, or the service is closed.
        """
        begun = time.monotonic()
        attempts = self._max_retries + 1
        for attempt in range(1, attempts + 1):
            left = self._deadline_seconds - (time.monotonic() - begun)
            seconds = max(min(self._timeout_seconds, left), 0.001)  # a long sleep may have overrun
            answer = self._try(method, path, body, seconds, most_bytes)
            if not isinstance(answer, _Failure):
                return answer[0]
            failure = f"{self.host} {answer.reason}"
            if not answer.again:
                raise EmbedderError(failure)
            if attempt == attempts:
                break
            pause = answer.retry_after_seconds
            if pause is None:
                longest = min(_FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1), _LONGEST_PAUSE_SECONDS)
                pause = longest * (0.5 + random.random() / 2)
            if time.monotonic() - begun + pause >= self._deadline_seconds:
                raise EmbedderError(
                    f"{failure}; gave up: a pause of {pause:.1f} s passes the deadline of "
                    f"{self._deadline_seconds:g} s"
                )
            shown = answer.status or "no answer"
            logger.warning("status %s at attempt %d of %d; trying again", shown, attempt, attempts)
            self._sleep(pause)
        raise EmbedderError(f"{failure} at attempt {attempts} of {attempts}")

    def close(self) -> None:
        """Closes this process's connections; the service cannot be used afterwards. Harmless if repeated."""
        self._closed = True
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    def _try(
        self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float, most_bytes: int
    ) -> tuple[Any] | _Failure:
        """One attempt: the answer, boxed because any JSON value can be one, or why there is none."""
        httpx = _import_httpx()
        client = self._client()
        ends = time.monotonic() + seconds
        content = bytearray()
        try:
            with client.stream(method, f"{self._base_url}/{path}", json=body, timeout=seconds) as response:
                # httpx bounds the wait for each piece; the sum is bounded here, once the headers are in
                # (of those, httpcore takes 100 kB at most).
                for piece in response.iter_bytes():
                    content += piece
                    if len(content) > most_bytes:
                        return _Failure(f"answered with more than {most_bytes} bytes")
                    if time.monotonic() > ends:
                        return _Failure("did not answer in time", again=True)
        except httpx.TimeoutException:
            return _Failure("did not answer in time", again=True)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as exc:
            return _Failure(f"cannot be asked: {type(exc).__name__}")
        except httpx.TransportError as exc:
            return _Failure(f"could not be reached or cut the connection: {type(exc).__name__}", again=True)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            return _Failure(f"gave no readable answer: {type(exc).__name__}")
        except RuntimeError:
            if self._closed:  # by another thread, meanwhile
                return _Failure("cannot be asked: the embedder is closed")
            raise
        if response.status_code == 200:
            value = _decoded(bytes(content))
            return _Failure("answered 200 OK, but no JSON") if value is None else value
        return _describe(response.status_code, response.headers, bytes(content))

    def _client(self) -> "httpx.Client":
        # No lock: one that another thread holds during a fork stays locked in the child for ever.
        if self._closed:
            raise EmbedderError("the embedder is closed")
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            made = self._make_client()
            client = self._clients.setdefault(pid, made)
            if client is not made:
                made.close()
        return client

    def _make_client(self) -> "httpx.Client":
        # Proxies of the environment are the user's will for hosts elsewhere. One that is asked for this
        # machine's own loopback address would ask its own, after the texts have left the machine.
        host = urlsplit(self._base_url).hostname or ""
        direct = {f"all://{f'[{host}]' if ':' in host else host}": None} if _is_loopback(host) else None
        library = _import_httpx()
        try:
            made: httpx.Client = library.Client(headers=self._headers, follow_redirects=False, mounts=direct)
        except (ImportError, ValueError, OSError, library.InvalidURL) as exc:
            trouble = type(exc).__name__  # its message may show a proxy's password
        else:
            return made
        raise EmbedderError(
            f"no HTTP client could be made: {trouble}; check the environment's proxies and SSL_CERT_FILE"
        )


def checked_base_url(base_url: str) -> str:
    """`base_url` without a trailing slash, its host in lower case.

    Raises:
        InvalidTypeError: it is no string.
        InvalidValueError: it is no http(s) URL of a host, or carries credentials, a query or a fragment:
            URLs are logged by httpx, and credentials belong in the key.
    """
    if not isinstance(base_url, str):
        raise InvalidTypeError(f"expected base_url to be a string, got {type(base_url).__name__}")
    usable = base_url.isascii() and base_url.isprintable() and " " not in base_url
    try:
        parts = urlsplit(base_url)
        usable = usable and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidValueError("expected base_url to be an http or https URL, such as https://host/v1")
    if "@" in parts.netloc or "?" in base_url or "#" in base_url:
        raise InvalidValueError("expected base_url without credentials, query and fragment; pass a key apart")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _checked_key(api_key: str) -> str:
    if not isinstance(api_key, str):
        raise InvalidTypeError(f"expected api_key to be a string, got {type(api_key).__name__}")
    # A line break would end the header; h11 says so in an error that shows the whole of it.
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise InvalidValueError("expected a key of printable ASCII without spaces or line breaks")
    return api_key


def _describe(status: int, headers: Mapping[str, str], content: bytes) -> _Failure:
    """The failure that an answer other than 200 is."""
    try:
        shown = f"answered {status} {HTTPStatus(status).phrase}"  # the server's own phrase could be anything
    except ValueError:
        shown = f"answered {status}"
    if 300 <= status < 400:
        return _Failure(f"{shown}; redirects are not followed: give the final address", status=status)
    reason = _known_reason(content)
    if reason is not None:
        shown += f" ({reason})"
    advice = _ADVICE.get(reason or "") or _ADVICE.get(status)
    if advice is not None:
        shown += f"; {advice}"
    again = (status in _RETRIED or status >= 500) and reason not in _LASTING
    return _Failure(shown, again, _retry_after_seconds(headers.get("Retry-After")), status)


def _known_reason(content: bytes) -> str | None:
    """The reason in an error's body, if it is one of `_REASONS`.

    OpenAI's form is `{"error": {"code": ..., "type": ..., "message": ...}}`, Ollama's `{"error": "..."}`.
    """
    value = _decoded(content)
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


def _decoded(content: bytes) -> tuple[Any] | None:
    """The JSON value of `content`, boxed; `None` when it is not JSON."""
    try:
        return (json.loads(content),)
    except (ValueError, RecursionError):
        return None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _import_httpx() -> ModuleType:
    try:
        import httpx
    except ImportError as exc:
        raise MissingExtraError(
            f"{exc.name} is not installed; install the extra `http`: pip install httpx"
        ) from exc
    return httpx
