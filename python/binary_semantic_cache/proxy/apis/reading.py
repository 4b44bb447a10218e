"""The JSON of one event, read strictly: what readers may disagree about is no ground for a kept answer."""

import json
import math
from typing import Any, NoReturn

from binary_semantic_cache.text.canonical import MAX_DEPTH

__all__ = ["read_object"]

# An event's parts come to lie a few levels deeper in the answer, which has to stay below the store's limit.
_DEEPEST = MAX_DEPTH - 8


def read_object(text: str) -> dict[str, Any] | None:
    """The JSON object that `text` says.

    Returns:
        `None` for what is no JSON object, repeats a key, nests deeper than a stored answer may, or holds a
        number that is not finite or has thousands of digits.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_not_finite, parse_float=_finite_float
        )
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not _nests_too_deep(text, value) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names a key twice")
    return members


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large for a float")
    return value


def _nests_too_deep(text: str, value: dict[str, Any]) -> bool:
    # Brackets inside strings are counted too, which only sends a text to the slower way.
    if text.count("{") + text.count("[") <= _DEEPEST:
        return False
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            member
            for outer in level
            for member in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(member, dict | list)
        ]
        if not level:
            return False
    return True
