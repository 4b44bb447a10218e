"""One value of a configuration, checked: from TOML, or from the text of a variable or an option."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from binary_semantic_cache.embedders.from_name import FORMS
from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.proxy.configuration.keys import Key
from binary_semantic_cache.proxy.settings import KnownKey
from binary_semantic_cache.text.eviction import EVICTIONS
from binary_semantic_cache.text.policy import Policy

__all__ = ["MEMORY", "SAME_ANSWER", "from_text", "from_toml", "is_loopback", "known_keys", "prices", "secret"]

MEMORY = ":memory:"
"""As `cache.path`: keep answers in memory."""
SAME_ANSWER = "same_answer"
"""As a judge of answers: the one that comes with the package."""

_LEVELS = ("debug", "info", "warning", "error")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.I
)
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_NEVER_FORWARDED = frozenset(
    (
        "accept-encoding",
        "api-key",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
    )
)
"""Credentials, which are forwarded anyway or never, and what belongs to one connection."""
_TRUTHS = {"true": True, "false": False}


def from_text(key: Key, text: str) -> Any:
    """What `text` says for `key`.

    Lists are separated by commas; `none` takes an optional value, or all of a list, away.

    Raises:
        InvalidTypeError, InvalidValueError: it says nothing that the key may be.
    """
    if key.is_optional and text == "none":
        return None
    if key.kind is tuple:
        # The text of a list that is empty is that of a variable that is not set.
        parts = [] if text == "none" else text.split(",")
        return from_toml(key, [part.strip() for part in parts if part.strip()])
    if key.kind is str:
        return from_toml(key, text)
    try:
        value = _TRUTHS[text.lower()] if key.kind is bool else key.kind(text)
    except (ValueError, KeyError) as exc:
        raise InvalidTypeError(f"expected {key.expected}, got {text!r}") from exc
    return from_toml(key, value)


def from_toml(key: Key, value: Any) -> Any:
    """`value` as the settings hold it.

    Raises:
        InvalidTypeError, InvalidValueError: it is nothing that the key may be.
    """
    if key.kind is tuple:
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise InvalidTypeError(f"expected a list of text, got {_shown(value)}")
        value = tuple(dict.fromkeys(value))
    elif key.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    elif not isinstance(value, key.kind) or (key.kind is int and isinstance(value, bool)):
        raise InvalidTypeError(f"expected {key.expected}, got {_shown(value)}")
    if key.bounds is not None and not key.bounds.admits(value):
        raise InvalidValueError(f"expected {key.bounds}, got {value}")
    if key.choices:
        for part in value if key.kind is tuple else (value,):
            _one_of(part, key.choices)
    check = _CHECKS.get(key.path)
    return value if check is None else check(value)


def secret(text: str) -> str:
    """A key or token as it stands in a variable or file; the error does not show it."""
    stripped = text.strip()
    if not stripped:
        raise InvalidValueError("expected a secret, got nothing")
    if len(stripped) > 4096 or not stripped.isascii() or not all("!" <= char <= "~" for char in stripped):
        raise InvalidValueError("expected one word of at most 4096 ASCII characters, got something else")
    return stripped


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; a name other than localhost counts as reached by others."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def prices(table: Any) -> dict[str, tuple[float, float]]:
    """`[prices]`: `"model" = { input = 2.5, output = 10 }`."""
    if not isinstance(table, Mapping):
        raise InvalidTypeError(f"expected a table of models, got {_shown(table)}")
    return {model: _price(model, price) for model, price in table.items()}


def _price(model: str, price: Any) -> tuple[float, float]:
    if not isinstance(price, Mapping) or price.keys() != {"input", "output"}:
        raise InvalidTypeError(
            f"{model}: expected {{ input = NUMBER, output = NUMBER }}, got {_shown(price)}"
        )
    for amount in price.values():
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < 1e9:
            raise InvalidValueError(f"{model}: expected prices from 0 to 1e9, got {_shown(amount)}")
    return float(price["input"]), float(price["output"])


def known_keys(tables: Any) -> tuple[KnownKey, ...]:
    """`[[keys.known]]`: `name`, `sha256` and, where several share answers, `tenant`."""
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise InvalidTypeError(f"expected tables, [[keys.known]], got {_shown(tables)}")
    known = tuple(_known_key(number, table) for number, table in enumerate(tables, 1))
    for what in ("name", "sha256"):
        values = [getattr(key, what) for key in known]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise InvalidValueError(f"expected another {what} for each key, got {twice!r} twice")
    return known


def _known_key(number: int, table: Mapping[str, Any]) -> KnownKey:
    unknown = table.keys() - {"name", "sha256", "tenant"}
    if unknown:
        raise InvalidValueError(f"{number}: expected name, sha256 and tenant, got {sorted(unknown)[0]!r}")
    name, digest = table.get("name"), table.get("sha256")
    tenant = table.get("tenant", name)
    for what, value in (("name", name), ("tenant", tenant)):
        if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 64:
            raise InvalidValueError(f"{number}: expected a {what} of 1 to 64 characters, got {_shown(value)}")
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest.lower()):
        # Not shown: who mistakes the field may have written the key itself.
        raise InvalidValueError(
            f"{number}: expected a sha256 of 64 hex digits; bsc serve --hash-key makes it"
        )
    return KnownKey(name=str(name), sha256=digest.lower(), tenant=str(tenant))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _one_of(value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise InvalidValueError(f"expected {', '.join(choices)}, got {_shown(value)}")
    return value


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError as exc:
        if not _HOST.fullmatch(value):
            raise InvalidValueError(f"expected a host's name or address, got {_shown(value)}") from exc
    return value


def _url(value: str) -> str:
    """An upstream. What the error shows is free of what may be a password."""
    if not value.isascii() or any(char <= " " or char in '\\"<>^`{|}\x7f' for char in value):
        raise InvalidValueError("expected a URL of printable ASCII without blanks, got another")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise InvalidValueError(f"expected a URL, got one with a malformed host or port ({exc})") from exc
    if "@" in parts.netloc:
        raise InvalidValueError("expected a URL without user and password, got one with an @")
    if parts.scheme not in ("http", "https"):
        raise InvalidValueError(f"expected a URL with http or https, got {_shown(value)}")
    if not host or port == 0:
        raise InvalidValueError(f"expected a URL with a host, got {_shown(value)}")
    if "[" not in parts.netloc:
        _host(host)
    if "?" in value or "#" in value:
        raise InvalidValueError("expected a URL without query and fragment, got one with ? or #")
    if any(part in ("", ".", "..") for part in parts.path.rstrip("/").split("/")[1:]):
        raise InvalidValueError(f"expected a URL with a plain path, got {parts.path!r}")
    return value.rstrip("/")


def _anthropic(value: str) -> str:
    url = _url(value)
    if url.endswith("/v1"):
        raise InvalidValueError(f"expected it as ANTHROPIC_BASE_URL has it, without /v1, got {url}")
    return url


def _cache_path(value: str) -> str:
    if value == MEMORY:
        return ""
    if not value or "\0" in value or "://" in value:
        raise InvalidValueError(f'expected the path of a file, or "{MEMORY}", got {_shown(value)}')
    return value


def _embedder(value: str) -> str:
    kind, _, model = value.partition(":")
    if value not in FORMS[:3] and not (model and kind in {form.partition(":")[0] for form in FORMS[3:]}):
        raise InvalidValueError(f"expected one of {', '.join(FORMS)}, got {_shown(value)}")
    return value


def _classes(value: tuple[str, ...]) -> tuple[str, ...]:
    Policy(exact_only=value)
    return value


def _judge(value: str) -> str:
    if value != SAME_ANSWER and not _FUNCTION.fullmatch(value):
        raise InvalidValueError(f"expected {SAME_ANSWER}, or module:function, got {_shown(value)}")
    return value


def _headers(value: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.lower() for name in value))
    for name in names:
        if not _HEADER.fullmatch(name):
            raise InvalidValueError(f"expected names of headers, got {_shown(name)}")
        if name in _NEVER_FORWARDED or name.startswith("x-bsc-"):
            raise InvalidValueError(f"expected headers that may be forwarded, got {name}")
    return names


def _service_name(value: str) -> str:
    if not value or not value.isprintable():
        raise InvalidValueError(f"expected a name, got {_shown(value)}")
    return value


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "server.host": _host,
    "server.admin_host": _host,
    "upstream.openai": _url,
    "upstream.anthropic": _anthropic,
    "upstream.forward_headers": _headers,
    "cache.path": _cache_path,
    "cache.embedder": _embedder,
    "cache.eviction": lambda value: _one_of(value, tuple(EVICTIONS)),
    "cache.exact_only": _classes,
    "cache.budget.judge": _judge,
    "cache.learned.judge": _judge,
    "log.level": lambda value: _one_of(value, _LEVELS),
    "tracing.endpoint": lambda value: _url(value) if value else value,
    "tracing.service_name": _service_name,
}
