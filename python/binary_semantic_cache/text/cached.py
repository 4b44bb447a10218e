"""The decorator: a function's answers, served again for the same question in other words."""

import functools
import inspect
import uuid
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import blake2b
from types import CodeType
from typing import TYPE_CHECKING, Any

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
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
    identity = _identity(function)

    def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request | None:
        """The request that the call stands for; `None` for a prompt that is no Unicode text."""
        if key is None:
            prompt, rest = _split(signature, args, kwargs)
        else:
            made = key(*args, **kwargs)
            prompt, rest = made if isinstance(made, tuple) else (made, None)
        try:
            request = prompt if isinstance(prompt, Request) else Request.from_prompt(prompt)
        except InvalidValueError:
            return None
        # Encodings may follow each other; so the caller's `scope` stays what entries are removed by.
        return replace(request, context=request.context + encode([identity, rest], "arguments"))

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            request = asked(args, kwargs)
            if request is None:
                return await function(*args, **kwargs)
            return await cache.aget_or_compute(
                request,
                lambda: function(*args, **kwargs),
                scope=scope,
                ttl_seconds=ttl_seconds,
                tags=listed,
            )

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        request = asked(args, kwargs)
        if request is None:
            return function(*args, **kwargs)
        return cache.get_or_compute(
            request, lambda: function(*args, **kwargs), scope=scope, ttl_seconds=ttl_seconds, tags=listed
        )

    return called


def _identity(function: Callable[..., Any]) -> JSON:
    """What stands for the function: its name, and if it was made at run time all that makes it another one.

    Where that cannot be said in plain values (a client or a list in the closure, a partial object), a name
    that is never used again: its answers are then not found by a later process.
    """
    try:
        name = f"{function.__module__}.{function.__qualname__}"
        if "<" not in name:
            return name
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        made_of: list[Any] = [
            *cells,
            *(function.__defaults__ or ()),
            *(function.__kwdefaults__ or {}).values(),
        ]
        if all(value is None or isinstance(value, str | int | float | bool) for value in made_of):
            return [name, _code_digest(function.__code__), encode(made_of).hex()]
    except (AttributeError, TypeError, ValueError):
        pass
    return uuid.uuid4().hex


def _code_digest(code: CodeType) -> str:
    """Tells functions of one name apart: two lambdas of one place."""
    digest = blake2b(code.co_code, digest_size=16)
    for value in (*code.co_consts, *code.co_names):
        told = _code_digest(value) if isinstance(value, CodeType) else repr(value)
        digest.update(f"{type(value).__name__}:{len(told)}:{told}".encode(errors="surrogatepass"))
    return digest.hexdigest()


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
