"""What callers ask for by header, within what the configuration allows.

    x-bsc-mode       default    look, serve, store
                     exact      the same, by exact repeats alone
                     refresh    ask the upstream, and store its answer
                     no-store   look and serve, but store nothing
                     bypass     as if there were no cache
    x-bsc-ttl        seconds that the answer may be served
    x-bsc-threshold  least cosine of a semantic hit; only ever stricter than the configuration's
    x-bsc-scope      any text: shared only with requests that say the same

`Cache-Control: no-cache` is `refresh`, `no-store` is `no-store`, both together `bypass`. Beside a mode,
`no-store` still keeps the answer out of the cache.
"""

import math
from dataclasses import dataclass

from binary_semantic_cache.proxy.headers import Headers, value_of
from binary_semantic_cache.proxy.settings import MODES, CacheSettings, Mode, SteeringSettings

__all__ = ["Steering", "SteeringError", "steering_of"]

_LONGEST_SCOPE = 1024


class SteeringError(ValueError):
    """A header says what cannot be done; the message may be shown to the caller."""


@dataclass(frozen=True, slots=True)
class Steering:
    """What one request asks for."""

    mode: Mode = "default"
    ttl_seconds: float | None = None
    threshold: float | None = None
    scope: str | None = None
    keeps_nothing: bool = False
    """Whether `no-store` was asked for, beside a mode or as one."""

    @property
    def looks(self) -> bool:
        """Whether an answer may come from the cache."""
        return self.mode in ("default", "exact", "no-store")

    @property
    def stores(self) -> bool:
        """Whether the upstream's answer may be kept."""
        return self.mode in ("default", "exact", "refresh") and not self.keeps_nothing


_PLAIN = Steering()


def steering_of(headers: Headers, settings: SteeringSettings, cache: CacheSettings, least: float) -> Steering:
    """What the headers ask for.

    Args:
        headers: of the request.
        settings: `[steering]`.
        cache: `[cache]`.
        least: the cache's own threshold.

    Raises:
        SteeringError: a header is malformed, or asks for a mode that is not allowed.
    """
    if not settings.enabled:
        return _PLAIN
    steers = any(name.startswith(b"x-bsc-") or name == b"cache-control" for name, _ in headers)
    if not steers:
        return _PLAIN
    scope = _text(headers, b"x-bsc-scope")
    if scope is not None and len(scope) > _LONGEST_SCOPE:
        raise SteeringError(f"expected x-bsc-scope of at most {_LONGEST_SCOPE} bytes, got {len(scope)}")
    ttl = _number(headers, b"x-bsc-ttl", 0.0, 1e9)
    if ttl == 0.0:
        raise SteeringError("expected x-bsc-ttl above 0, got 0; x-bsc-mode: no-store keeps nothing")
    longest = cache.ttl_seconds if settings.max_ttl_seconds is None else settings.max_ttl_seconds
    if ttl is not None and longest is not None:
        ttl = min(ttl, longest)
    threshold = _number(headers, b"x-bsc-threshold", 0.0, 1.0)
    if threshold is not None:
        threshold = max(threshold, least if settings.min_threshold is None else settings.min_threshold)
    mode = _mode(headers, settings)
    keeps_nothing = "no-store" in settings.modes and b"no-store" in _directives(headers)
    return Steering(mode, ttl, threshold, scope, keeps_nothing or mode == "no-store")


def _mode(headers: Headers, settings: SteeringSettings) -> Mode:
    asked = _text(headers, b"x-bsc-mode")
    if asked is None:
        mode = _cache_control(headers)
        return mode if mode in settings.modes else "default"
    for mode in MODES:
        if asked.lower() == mode:
            if mode not in settings.modes:
                raise SteeringError(
                    f"x-bsc-mode: {mode} is not allowed here, {', '.join(settings.modes)} are"
                )
            return mode
    raise SteeringError(f"expected x-bsc-mode among {', '.join(MODES)}, got another value")


def _cache_control(headers: Headers) -> Mode:
    directives = _directives(headers)
    no_store, no_cache = b"no-store" in directives, b"no-cache" in directives
    if no_store:
        return "bypass" if no_cache else "no-store"
    return "refresh" if no_cache else "default"


def _directives(headers: Headers) -> set[bytes]:
    value = value_of(headers, b"cache-control") or b""
    return {part.strip().lower() for part in value.split(b",")}


def _text(headers: Headers, name: bytes) -> str | None:
    value = value_of(headers, name)
    return None if value is None else value.decode("latin-1").strip()


def _number(headers: Headers, name: bytes, least: float, greatest: float) -> float | None:
    text = _text(headers, name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= greatest:
        raise SteeringError(f"expected {name.decode()} as a number from {least:g} to {greatest:g}")
    return value
