"""The JSON of answers, read strictly: what readers may disagree about is no ground for a kept answer."""

import json
import math
import re
from typing import Any, NoReturn

from binary_semantic_cache.text.canonical import MAX_DEPTH

__all__ = ["can_be_said", "read_body", "read_object"]

# An event's parts come to lie a few levels deeper in the answer, which has to stay below the store's limit.
_DEEPEST = MAX_DEPTH - 8

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_body(raw: bytes) -> dict[str, Any] | None:
    """The JSON object that a reply's body says.

    Returns:
        `None` for what is no JSON object, or repeats a key, or holds NaN or infinity. How deep it nests and
        how large its numbers are is for the store to refuse: a call for each number would hold up the event
        loop where there are a million, as in a batch of embeddings.
    """
    try:
        # Decoded here, as the parser would let half characters in UTF-8 pass.
        text = raw.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_not_finite)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def can_be_said(answer: dict[str, Any], raw: bytes) -> bool:
    """Whether an answer can be written again: not where half a character stands alone.

    Args:
        answer: what was read.
        raw: out of what, where half a character can only stand as an escape.
    """
    if _SURROGATE.search(raw) is not None:
        try:
            json.dumps(answer, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError):
            return False
    return True


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
