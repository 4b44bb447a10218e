"""Computations that a caller hands in, and their answers."""

import inspect
from collections.abc import Callable
from typing import Any

from binary_semantic_cache.errors import InvalidTypeError
from binary_semantic_cache.text.payload import decode_response, encode_response
from binary_semantic_cache.text.request import Request

__all__ = ["own_copy", "with_prompt"]


def with_prompt(compute: Callable[..., Any], prompt: str | Request) -> Callable[[], Any]:
    """`compute` as a call without arguments: it is given the prompt if it takes a positional argument."""
    if not callable(compute):
        raise InvalidTypeError(f"expected compute to be callable, got {type(compute).__name__}")
    try:
        parameters = inspect.signature(compute).parameters.values()
    except (TypeError, ValueError):  # some built-in callables have no signature
        return lambda: compute(prompt)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes_one = any(p.kind in positional or p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    return (lambda: compute(prompt)) if takes_one else compute


def own_copy(answer: Any) -> Any:
    """A copy for one who joined another's computation: two callers must not share a list."""
    if isinstance(answer, str | bytes):
        return answer
    try:
        return decode_response(*encode_response(answer))
    except (TypeError, ValueError):
        return answer
