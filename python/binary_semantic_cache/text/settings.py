"""The settings of a `SemanticCache`, checked, and the checks that its methods share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.text.canonical import utf8
from binary_semantic_cache.text.eviction import Eviction
from binary_semantic_cache.text.vectors import VectorFormat

__all__ = ["Settings", "checked_prices", "seconds", "tag_names", "threshold_of", "whole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """See `SemanticCache` for what each means."""

    threshold: float
    max_entries: int
    max_bytes: int | None
    eviction: Eviction
    ttl_seconds: float | None
    sliding_ttl: bool
    vectors: VectorFormat
    timeout_seconds: float
    max_response_bytes: int
    tool_calls: bool
    prices: Mapping[str, tuple[float, float]]

    def ttl(self, ttl_seconds: float | None) -> float | None:
        """The time to live of an entry for which `ttl_seconds` was asked."""
        return self.ttl_seconds if ttl_seconds is None else seconds("ttl_seconds", ttl_seconds)


def seconds(name: str, value: float) -> float:
    """`value` if it is a time span above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"expected {name} as a number of seconds, got {type(value).__name__}")
    if not 0.0 < value < 1e10:
        raise InvalidValueError(f"expected {name} above 0 and below 1e10, got {value}")
    return float(value)


def threshold_of(value: float) -> float:
    """`value` if it is a cosine."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        raise InvalidTypeError(f"expected threshold as a cosine, got {type(value).__name__}")
    if not -1.0 <= value <= 1.0:
        raise InvalidValueError(f"expected threshold from -1.0 to 1.0, got {value}")
    return float(value)


def whole(name: str, value: int, least: int, greatest: int) -> int:
    """`value` if it is an integer from `least` to `greatest`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidTypeError(f"expected {name} as a whole number, got {type(value).__name__}")
    if not least <= value <= greatest:
        raise InvalidValueError(f"expected {name} from {least} to {greatest}, got {value}")
    return int(value)


def checked_prices(prices: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """`prices` if each is two numbers."""
    checked = {}
    for model, price in dict(prices).items():
        numbers = tuple(price) if isinstance(price, list | tuple) else ()
        if len(numbers) != 2 or not all(
            isinstance(number, int | float) and 0 <= number < 1e9 for number in numbers
        ):
            raise InvalidValueError(f"expected two prices, of input and output, for {model!r}, got {price!r}")
        checked[model] = (float(numbers[0]), float(numbers[1]))
    return checked


def tag_names(tags: Iterable[str]) -> tuple[str, ...]:
    """`tags` without repeats."""
    if isinstance(tags, str):
        raise InvalidTypeError(f"expected tags as a list of strings, got one string; write tags=[{tags!r}]")
    listed = tuple(dict.fromkeys(tags))
    if not all(isinstance(tag, str) and tag for tag in listed):
        raise InvalidTypeError("expected tags to be strings that are not empty")
    if any(utf8(tag) is None for tag in listed):
        raise InvalidValueError("expected tags of whole characters, got one with half a surrogate pair")
    return listed
