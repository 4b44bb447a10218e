"""The decorator: a function's answers, served again for the same question in other words."""

import functools
import inspect
import uuid
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from binary_semantic_cache.errors import InvalidTypeError
from binary_semantic_cache.text.canonical import JSON, encode
from binary_semantic_cache.text.request import Request

if TYPE_CHECKING:
    from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["wrap"]

KeyFunction = Callable[..., "str | Request | tuple[str | Request, JSON]"]

# By identity: equal instances are still two. The weak reference tells an instance from one that came to its
# address.
_instances: "dict[int, tuple[weakref.ref[Any], str]]" = {}


def wrap(
    cache: "SemanticCache",
    function: Callable[..., Any],
    *,
    key: KeyFunction | None,
    scope: JSON,
    ttl_seconds: float | None,
    tags: Iterable[str],
) -> Callable[..., Any]:
    """`function`, asked only where the cache has no answer. See `SemanticCache.cached`."""
    signature = inspect.signature(function)
    listed = tuple(tags)
    name = f"{function.__module__}.{function.__qualname__}"

    def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str | Request, JSON]:
        if key is None:
            prompt, rest = _split(signature, args, kwargs)
        else:
            made = key(*args, **kwargs)
            prompt, rest = made if isinstance(made, tuple) else (made, None)
        return prompt, [name, scope, rest]

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            prompt, full_scope = asked(args, kwargs)
            return await cache.aget_or_compute(
                prompt,
                lambda: function(*args, **kwargs),
                scope=full_scope,
                ttl_seconds=ttl_seconds,
                tags=listed,
            )

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        prompt, full_scope = asked(args, kwargs)
        return cache.get_or_compute(
            prompt, lambda: function(*args, **kwargs), scope=full_scope, ttl_seconds=ttl_seconds, tags=listed
        )

    return called


def _split(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str | Request, JSON]:
    """The prompt, which is the first argument, and the other arguments as a scope."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = list(bound.arguments.items())
    rest: dict[str, JSON] = {}
    if arguments and arguments[0][0] in ("self", "cls"):
        name, instance = arguments.pop(0)
        rest[name] = _instance(instance)
    if not arguments or not isinstance(arguments[0][1], str | Request):
        raise InvalidTypeError(
            "expected the prompt, a string or a Request, as the first argument; "
            "key= says which it is otherwise"
        )
    prompt = arguments.pop(0)[1]
    for name, value in arguments:
        try:
            encode(value, name)
        except (TypeError, ValueError) as exc:
            raise InvalidTypeError(f"{exc}; key= says what the answer depends on") from exc
        rest[name] = value
    return prompt, rest


def _instance(instance: Any) -> str:
    """What stands for `self` or `cls`: answers of one object are not another's."""
    if isinstance(instance, type):
        return f"{instance.__module__}.{instance.__qualname__}"
    address = id(instance)
    known = _instances.get(address)
    if known is not None and known[0]() is instance:
        return known[1]
    if known is not None:
        _forget(address, known[0])
    try:
        reference = weakref.ref(instance, functools.partial(_forget, address))
    except TypeError as exc:
        raise InvalidTypeError(
            f"expected an instance that can be referred to weakly, got {type(instance).__name__}; "
            "key= says what the answer depends on"
        ) from exc
    # Two threads may come here at once: both take the name that was first.
    return _instances.setdefault(address, (reference, uuid.uuid4().hex))[1]


def _forget(address: int, reference: "weakref.ref[Any]") -> None:
    known = _instances.get(address)
    if known is not None and known[0] is reference:
        del _instances[address]
