"""Answers as bytes and back: text as UTF-8, bytes as they are, JSON-like data as MessagePack.

What comes back is equal to what went in and of the same types, but that a tuple comes back as a list; mutable
answers are new objects each time. No pickle: a store that somebody else wrote to must not run code here.
"""

from typing import Any

import msgpack

from binary_semantic_cache.errors import CorruptFileError, UnsavableResponseError
from binary_semantic_cache.text.canonical import MAX_DEPTH, field, kind_of, utf8

__all__ = ["decode_response", "encode_response"]

# MessagePack has integers of 64 bits at most; longer ones are an extension, their bytes signed, big-endian.
_LONG_INT = 1


def encode_response(response: object) -> tuple[str, bytes]:
    """The kind of an answer, `text`, `bytes` or `data`, and its bytes.

    Args:
        response: str, bytes, or JSON-like data other than `None`.

    Raises:
        UnsavableResponseError: something in it would not come back as it is; the message names where.
    """
    if type(response) is str:
        raw = utf8(response)
        if raw is None:
            raise UnsavableResponseError("the response holds a lone surrogate")
        return "text", raw
    if type(response) is bytes:
        return "bytes", response
    if response is None:
        raise UnsavableResponseError("expected a response, got None")
    _check(response, [])
    try:
        return "data", msgpack.packb(response, default=_long_int)
    except (ValueError, OverflowError):
        reason = "the response is too large for MessagePack"
    raise UnsavableResponseError(reason)


def decode_response(kind: str, payload: bytes) -> Any:
    """The answer that `encode_response` gave as `kind` and `payload`.

    Raises:
        CorruptFileError: they are damaged.
    """
    try:
        if kind == "text":
            return str(payload, "utf-8")
        if kind == "bytes":
            return bytes(payload)
        if kind == "data":
            return msgpack.unpackb(payload, ext_hook=_extension, strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as exc:
        damage = kind_of(exc)
    else:
        damage = "unknown kind"
    raise CorruptFileError(f"a stored response is damaged ({damage})")


def _check(value: object, path: list[object]) -> None:
    """Refuses what would not come back as it is, subclasses of the plain types included."""
    kind = type(value)
    if kind is str:
        if utf8(value) is None:  # type: ignore[arg-type]
            raise _unsavable(path, "a string with a lone surrogate")
    elif kind is dict:
        _deepen(path)
        for key, member in value.items():  # type: ignore[attr-defined]
            path.append(key)
            if type(key) is not str:
                raise _unsavable(path[:-1], f"a key of type {kind_of(key)}")
            if utf8(key) is None:
                raise _unsavable(path[:-1], "a key with a lone surrogate")
            _check(member, path)
            path.pop()
    elif kind is list or kind is tuple:
        _deepen(path)
        for i, member in enumerate(value):  # type: ignore[arg-type]
            path.append(i)
            _check(member, path)
            path.pop()
    elif kind is float:
        if value - value != 0:  # type: ignore[operator]
            raise _unsavable(path, "a float that is not finite")
    elif kind is not int and kind is not bool and value is not None:
        hint = "; pass .model_dump() of it" if hasattr(kind, "model_dump") else ""
        raise _unsavable(path, f"an object of type {kind_of(value)}{hint}")


def _deepen(path: list[object]) -> None:
    if len(path) >= MAX_DEPTH:
        raise UnsavableResponseError(f"the response nests deeper than {MAX_DEPTH} levels")


def _unsavable(path: list[object], what: str) -> UnsavableResponseError:
    where = ""
    for step in path:
        where = field(where, step)
    return UnsavableResponseError(f"the response holds {what}" + (f" at {where}" if where else ""))


def _long_int(value: object) -> msgpack.ExtType:
    # Only integers come here: all else was checked before.
    assert isinstance(value, int)
    return msgpack.ExtType(_LONG_INT, value.to_bytes(value.bit_length() // 8 + 1, signed=True))


def _extension(code: int, data: bytes) -> int:
    if code != _LONG_INT:
        raise ValueError("unknown extension")
    return int.from_bytes(data, signed=True)
