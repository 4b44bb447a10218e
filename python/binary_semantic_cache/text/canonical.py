"""Canonical bytes of JSON-like values: equal values give equal bytes, different values different bytes.

JSON-like is `None`, bool, int, finite float, str without lone surrogates, list or tuple, and mapping with
string keys, nested at most `MAX_DEPTH` deep. Values are equal as JSON means it: the order of keys does not
matter, a tuple is a list, 1 is 1.0 and 0 is -0.0, but 1 is not true. An integer is compared exactly, a
fraction as the nearest float: `0.1` and `0.10` are one value, `1e23` and `100000000000000000000000` are two.

The encoding is a prefix code, so encodings may be written one after the other without becoming ambiguous:

    n  t  f                      null, true, false
    i <hex> ;                    an integer
    d <8 bytes>                  a float with a fraction, big-endian
    s <hex length> : <UTF-8>     a string
    [ <values> ]                 a list
    { <string value pairs> }     a mapping, its keys in the order of their encodings

A code of its own was preferred to `json.dumps` with sorted keys: that writes 1 and 1.0 differently, writes
NaN, and cannot write an integer of more than 4,300 digits.
"""

import json
import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError

__all__ = ["JSON", "MAX_DEPTH", "encode", "field", "kind_of", "parse_json", "utf8"]

JSON: TypeAlias = bool | int | float | str | list["JSON"] | tuple["JSON", ...] | Mapping[str, "JSON"] | None
"""What JSON can say, as Python holds it."""

MAX_DEPTH = 64
"""Deepest nesting that is read: bodies in the wild nest about ten deep, and recursion must end somewhere."""

_LONGEST_SHOWN_KEY = 40
_Put: TypeAlias = Callable[[bytes], None]
_pack_float = struct.Struct(">d").pack


def encode(value: object, name: str = "") -> bytes:
    """The canonical bytes of `value`.

    Args:
        value: any JSON-like value; read, not kept.
        name: what to call the value in an error, such as `scope`; the path inside it follows.

    Raises:
        InvalidTypeError: something in it is not JSON-like.
        InvalidValueError: a float is not finite, a string holds a lone surrogate, a JSON text repeated a key,
            or the nesting is too deep.
    """
    out: list[bytes] = []
    try:
        _write(value, out.append, MAX_DEPTH)
    except _RefusedError as refused:
        refusal = refused
    else:
        return b"".join(out)
    raise refusal.error(f"{refusal.path_from(name) or 'value'}: {refusal.reason}")


def parse_json(text: str | bytes | bytearray, name: str) -> object:
    """The value that a JSON text says, not yet checked: `encode` refuses the rest by its path.

    Args:
        text: one JSON value.
        name: what to call it in an error.

    Raises:
        InvalidValueError: it is not JSON, or too deep. The text itself is never quoted.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as exc:
        reason = f"is not JSON (line {exc.lineno}, column {exc.colno})"
    except UnicodeDecodeError:
        reason = "is not JSON (its bytes are not Unicode)"
    except RecursionError:
        reason = f"nests deeper than {MAX_DEPTH} levels"
    except ValueError:
        reason = "holds an integer of too many digits"
    # Raised out here, so that the error holds no reference to the parser's, which carries the text.
    raise InvalidValueError(f"{name}: {reason}")


def utf8(text: str) -> bytes | None:
    """The text in UTF-8; `None` when it holds a lone surrogate, which UTF-8 cannot say."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def field(path: str, key: object) -> str:
    """The path of a member: `messages`, then `messages[3]`, then `messages[3].content`.

    A key that does not look like the name of a field might be somebody's data, so it is not shown.
    """
    if isinstance(key, int):
        return f"{path}[{key}]"
    shown = key if isinstance(key, str) and key.isidentifier() and len(key) <= _LONGEST_SHOWN_KEY else "?"
    return f"{path}.{shown}" if path else shown


def kind_of(value: object) -> str:
    """The name of the value's type, for messages: it says nothing of the content."""
    return type(value).__name__


class _RepeatedKey:
    """Stands where a JSON text had an object with one key twice; readers disagree about which one counts."""


class _RefusedError(Exception):
    """Carries a refusal outwards; each level adds where it was, so that a good value pays for no path."""

    def __init__(self, error: type[InvalidTypeError] | type[InvalidValueError], reason: str) -> None:
        super().__init__()
        self.error = error
        self.reason = reason
        self.steps: list[object] = []

    def path_from(self, name: str) -> str:
        for step in reversed(self.steps):
            name = field(name, step)
        return name


def _object(pairs: list[tuple[str, object]]) -> object:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _RepeatedKey()


def _write(value: object, put: _Put, depth: int) -> None:
    if isinstance(value, str):
        put(_string(value))
    elif value is None:
        put(b"n")
    elif value is True:
        put(b"t")
    elif value is False:
        put(b"f")
    elif isinstance(value, int):
        put(b"i%x;" % value)
    elif isinstance(value, float):
        put(_number(value))
    elif isinstance(value, list | tuple):
        _write_list(value, put, depth - 1)
    elif isinstance(value, Mapping):
        _write_mapping(value, put, depth - 1)
    elif isinstance(value, _RepeatedKey):
        raise _RefusedError(InvalidValueError, "an object names a key twice")
    else:
        raise _RefusedError(InvalidTypeError, f"expected a JSON-like value, got {kind_of(value)}")


def _write_list(values: list[object] | tuple[object, ...], put: _Put, depth: int) -> None:
    if depth < 0:
        raise _RefusedError(InvalidValueError, f"nests deeper than {MAX_DEPTH} levels")
    put(b"[")
    step = 0
    try:
        for step, value in enumerate(values):  # noqa: B007 - the handler names the element
            _write(value, put, depth)
    except _RefusedError as refused:
        refused.steps.append(step)
        raise
    put(b"]")


def _write_mapping(members: Mapping[object, object], put: _Put, depth: int) -> None:
    if depth < 0:
        raise _RefusedError(InvalidValueError, f"nests deeper than {MAX_DEPTH} levels")
    written = []
    for key in members:
        if not isinstance(key, str):
            raise _RefusedError(InvalidTypeError, f"expected string keys, got a key of type {kind_of(key)}")
        written.append((_string(key), key))
    put(b"{")
    key = None
    try:
        for name, key in sorted(written):
            put(name)
            _write(members[key], put, depth)
    except _RefusedError as refused:
        refused.steps.append(key)
        raise
    put(b"}")


def _string(text: str) -> bytes:
    raw = utf8(text)
    if raw is None:
        raise _RefusedError(InvalidValueError, "a string holds a lone surrogate")
    return b"s%x:%b" % (len(raw), raw)


def _number(value: float) -> bytes:
    if value.is_integer():
        return b"i%x;" % int(value)
    if value - value != 0:
        raise _RefusedError(InvalidValueError, "expected a finite number, got NaN or infinity")
    return b"d" + _pack_float(value)
