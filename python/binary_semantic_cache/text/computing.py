"""Computations that a caller hands in, and what becomes of their answers."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from binary_semantic_cache.errors import InvalidTypeError
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.payload import decode_response, encode_response
from binary_semantic_cache.text.request import Request

__all__ = ["Computed", "Shared", "share", "with_prompt"]


@dataclass(frozen=True, slots=True)
class Computed:
    """An answer as its computation gave it: for the one who computed."""

    answer: Any
    seconds: float
    """How long it took."""
    is_new: bool = True
    """Whether it is to be stored; not if another had stored it a moment before."""


@dataclass(frozen=True, slots=True)
class Shared:
    """An answer for those who waited: each makes an object of its own of it."""

    packed: tuple[str, bytes] | None
    """`None` for what cannot be kept, such as a stream: whoever waited must compute."""
    saving: Saving

    def answer(self) -> Any:
        """The answer, a new object."""
        assert self.packed is not None
        return decode_response(*self.packed)


def share(computed: Computed, saving: Saving) -> Shared:
    """`computed` as it is now, before its caller can change it."""
    try:
        return Shared(encode_response(computed.answer), saving)
    except Exception:  # whatever an object of the caller's does when it is looked into
        return Shared(None, saving)


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
