"""JSON over HTTP for embedders: retries, deadlines, and messages that give nothing away.

httpx is imported at construction, so that importing this module needs no extra. Neither the key nor a text
nor what a server answered appears in a log line, a message, or an exception chained to one: httpx's own
exceptions hold the request, so each is reduced to its class name before an `EmbedderError` is raised outside
the handler.
"""

import logging
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from binary_semantic_cache.embedders.http_answers import Failure, decoded, describe
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
            if not isinstance(answer, Failure):
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
    ) -> tuple[Any] | Failure:
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
                        return Failure(f"answered with more than {most_bytes} bytes")
                    if time.monotonic() > ends:
                        return Failure("did not answer in time", again=True)
        except httpx.TimeoutException:
            return Failure("did not answer in time", again=True)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as exc:
            return Failure(f"cannot be asked: {type(exc).__name__}")
        except httpx.TransportError as exc:
            return Failure(f"could not be reached or cut the connection: {type(exc).__name__}", again=True)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            return Failure(f"gave no readable answer: {type(exc).__name__}")
        except RuntimeError:
            if self._closed:  # by another thread, meanwhile
                return Failure("cannot be asked: the embedder is closed")
            raise
        if response.status_code == 200:
            value = decoded(bytes(content))
            return Failure("answered 200 OK, but no JSON") if value is None else value
        return describe(response.status_code, response.headers, bytes(content))

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
