"""Every key that a configuration may hold: name, variable, type, values. Read off the settings."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from binary_semantic_cache.proxy.settings import KnownKey, ProxySettings

__all__ = [
    "BOUNDS",
    "KEYS",
    "KNOWN",
    "PRICES",
    "SECRET_FILES",
    "TABLES",
    "Bounds",
    "Key",
    "settings_from",
    "value_of",
]

PRICES = "cache.prices"
"""In a file it is a table of its own, `[prices]`."""
KNOWN = "keys.known"
"""In a file: `[[keys.known]]`."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that a key may be."""

    least: float
    greatest: float
    is_open: bool = False
    """Whether `least` itself is too small."""

    def admits(self, value: float) -> bool:
        """Whether `value` lies inside."""
        return (self.least < value if self.is_open else self.least <= value) and value <= self.greatest

    def __str__(self) -> str:
        end = f"{self.greatest:,}" if isinstance(self.greatest, int) else f"{self.greatest:,.12g}"
        return f"above {self.least:,.12g}, to {end}" if self.is_open else f"{self.least:,.12g} to {end}"


_PORT = Bounds(0, 65_535)
_SECONDS = Bounds(0, 1e9, is_open=True)
_COSINE = Bounds(-1, 1)
_PROBABILITY = Bounds(0, 1)
_BYTES = Bounds(1, 2**31 - 1)
_PER_MINUTE = Bounds(1, 1e6)
_CONFIDENCE = Bounds(0.5, 0.9999, is_open=True)

BOUNDS: Mapping[str, Bounds] = {
    "server.port": _PORT,
    "server.workers": Bounds(1, 256),
    "server.shutdown_seconds": Bounds(0, 86_400),
    "server.drain_seconds": Bounds(0, 3_600),
    "server.admin_port": _PORT,
    "upstream.connect_seconds": Bounds(0, 3_600, is_open=True),
    "upstream.read_seconds": Bounds(0, 86_400, is_open=True),
    "upstream.max_connections": Bounds(1, 100_000),
    "cache.threshold": _COSINE,
    "cache.max_entries": Bounds(1, 2_000_000_000),
    "cache.max_bytes": Bounds(1, 2**62),
    "cache.ttl_seconds": _SECONDS,
    "cache.timeout_seconds": Bounds(0, 3_600, is_open=True),
    "cache.max_response_bytes": _BYTES,
    "cache.budget.max_wrong": Bounds(0, 0.99, is_open=True),
    "cache.budget.sample": Bounds(0, 1, is_open=True),
    "cache.budget.per_minute": _PER_MINUTE,
    "cache.budget.confidence": _CONFIDENCE,
    "cache.learned.budget": Bounds(0, 0.49, is_open=True),
    "cache.learned.per_minute": _PER_MINUTE,
    "cache.learned.confidence": _CONFIDENCE,
    "cache.learned.audit": Bounds(0, 0.99),
    "cache.verifier.least_probability": _PROBABILITY,
    "cache.verifier.doubt_from": _PROBABILITY,
    "cache.verifier.doubt_to": _PROBABILITY,
    "steering.min_threshold": _COSINE,
    "steering.max_ttl_seconds": _SECONDS,
    "keys.trust_seconds": Bounds(0, 86_400),
    "limits.max_body_bytes": _BYTES,
    "limits.max_prompt_chars": _BYTES,
    "limits.max_concurrent": Bounds(1, 1_000_000),
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    table: str
    """`server`; of a table in another one `cache.budget`."""
    name: str
    kind: type
    """`str`, `int`, `float`, `bool` or `tuple` (of strings); `dict` for prices and known keys."""
    default: Any
    choices: tuple[str, ...] = ()
    """What a string, or each string of a list, may be; empty for any."""
    is_optional: bool = False
    is_secret: bool = False

    @property
    def path(self) -> str:
        """`server.port`."""
        return f"{self.table}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable of the same meaning; empty where there is none."""
        return "" if self.kind is dict else f"BSC_{self.path}".replace(".", "_").upper()

    @property
    def bounds(self) -> Bounds | None:
        """The numbers it may be."""
        return BOUNDS.get(self.path)

    @property
    def expected(self) -> str:
        """What its value must be, in words."""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            some = "several of " if self.kind is tuple else ""
            return some + ", ".join(self.choices)
        words = {str: "text", tuple: "list of text", int: "whole number", float: "number", dict: "table"}
        return words[self.kind] + (f", {self.bounds}" if self.bounds else "")


def _key(table: str, name: str, annotation: Any, default: Any, *, is_secret: bool) -> Key:
    is_optional = get_origin(annotation) in (Union, types.UnionType)
    if is_optional:
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    choices: tuple[str, ...] = ()
    kind = get_origin(annotation) or annotation
    if kind is tuple:
        inner = get_args(annotation)[0]
        choices = get_args(inner) if get_origin(inner) is Literal else ()
        kind = dict if inner is KnownKey else tuple
    elif kind is Literal:
        choices, kind = get_args(annotation), str
    elif kind not in (str, int, float, bool):
        kind = dict
    return Key(table, name, kind, default, choices, is_optional, is_secret)


def _tables(settings: Any = ProxySettings, within: str = "") -> Iterator[tuple[str, Any]]:
    """Each table and its dataclass, one that stands in another behind it."""
    hints = get_type_hints(settings)
    for field in fields(settings):
        if is_dataclass(hints[field.name]):
            yield f"{within}{field.name}", hints[field.name]
            yield from _tables(hints[field.name], f"{within}{field.name}.")


def _all_keys() -> dict[str, Key]:
    found = {}
    for table, settings in _tables():
        hints = get_type_hints(settings)
        for field in fields(settings):
            if is_dataclass(hints[field.name]):
                continue
            make: Any = field.default_factory
            default = make() if field.default is MISSING else field.default
            key = _key(table, field.name, hints[field.name], default, is_secret=not field.repr)
            found[key.path] = key
    return found


KEYS: Mapping[str, Key] = _all_keys()
"""By path, in the settings' order."""

SECRET_FILES: Mapping[str, Key] = {
    f"{key.path}_file": Key(key.table, f"{key.name}_file", str, "") for key in KEYS.values() if key.is_secret
}
"""Keys that name a file which holds a secret, by path."""

TABLES: tuple[str, ...] = tuple(table for table, _ in _tables())


def settings_from(values: Mapping[str, Any]) -> ProxySettings:
    """The settings with these values, by path, and defaults for all else."""
    made = _made(ProxySettings, "", values)
    assert isinstance(made, ProxySettings)
    return made


def _made(settings: Any, within: str, values: Mapping[str, Any]) -> Any:
    given = {}
    for name, hint in get_type_hints(settings).items():
        path = f"{within}{name}"
        if is_dataclass(hint):
            given[name] = _made(hint, f"{path}.", values)
        elif path in values:
            given[name] = values[path]
    return settings(**given)


def value_of(settings: ProxySettings, key: Key) -> Any:
    """What the settings have for `key`."""
    found: Any = settings
    for name in key.path.split("."):
        found = getattr(found, name)
    return found
