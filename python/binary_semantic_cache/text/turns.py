"""Reads the turns of a conversation: the text of the last one, and what forbids a match by meaning.

The three chat formats differ in names alone: a turn has a role and a content; a content is a string or a list
of parts; a part has a type. `Dialect` says what one format calls things, the functions say what is done.

Sources: the OpenAI Python SDK's `ResponseInputItemParam` and `ChatCompletionContentPartParam`, the Anthropic
Python SDK's `ContentBlockParam`, read in 2026. Part types that are not listed here may show the model
something that is no text, so they count as attachments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.text.canonical import JSON, field, kind_of, utf8

__all__ = ["ANTHROPIC", "CHAT", "RESPONSES", "Dialect", "ExactOnly", "Turns", "checked_text", "plain", "read"]


class ExactOnly(StrEnum):
    """Why a request is answered from its exact repeat alone. Where several apply, the first of this list."""

    TOOL_CALL = "tool_call"
    """A tool was called: what it found out or did belongs to this conversation."""
    ATTACHMENT = "attachment"
    """There is an image, audio, a file or a part of unknown type, which the text does not describe."""
    STATE = "state"
    """It continues something that lies on the provider's server and may change there."""
    PREFILL = "prefill"
    """It ends in the beginning of the answer, which the answer must continue letter by letter."""
    NO_TEXT = "no_text"
    """It does not end in text of the user."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one format calls things."""

    list_name: str
    text_types: frozenset[str]
    """Parts that are text, which a string stands for."""
    silent_types: frozenset[str]
    """Further parts that do not forbid a match by meaning where they stand in earlier turns."""
    markers: frozenset[str] = frozenset()
    """Fields of a part that say how to process it and not what it is; left out."""
    prefill: bool = False
    """Whether a last turn of the assistant is the beginning of the answer."""


CHAT = Dialect("messages", frozenset({"text"}), frozenset({"refusal"}))
RESPONSES = Dialect("input", frozenset({"input_text"}), frozenset({"output_text", "refusal"}))
ANTHROPIC = Dialect(
    "messages",
    frozenset({"text"}),
    frozenset({"thinking", "redacted_thinking", "mid_conv_system"}),
    markers=frozenset({"cache_control"}),
    prefill=True,
)


@dataclass(frozen=True, slots=True)
class Turns:
    """A conversation taken apart."""

    text: str
    """Text of the last turn where that is the user's; else empty."""
    rest: list[JSON]
    """All turns, without `text`."""
    reasons: set[ExactOnly]


def read(turns: object, dialect: Dialect) -> Turns:
    """Takes a list of turns apart.

    Args:
        turns: what the request's body has under `dialect.list_name`.
        dialect: the format.

    Raises:
        InvalidTypeError: a turn, a content or a part has the wrong type.
        InvalidValueError: there is no turn, or the last turn is the user's and has no content.
    """
    name = dialect.list_name
    if not isinstance(turns, list | tuple):
        raise InvalidTypeError(f"{name}: expected a list, got {kind_of(turns)}")
    if not turns:
        raise InvalidValueError(f"{name}: expected at least one, got none")
    reasons: set[ExactOnly] = set()
    rest = [_read_turn(turn, field(name, i), dialect, reasons) for i, turn in enumerate(turns)]
    last, path = rest[-1], field(name, len(rest) - 1)
    # Only items that are no messages still have a type.
    role = None if dialect is RESPONSES and "type" in last else last.get("role")
    if role != "user":
        prefill = dialect.prefill and role == "assistant"
        reasons.add(ExactOnly.PREFILL if prefill else ExactOnly.NO_TEXT)
        return Turns("", [*rest], reasons)
    text, last["content"] = _split(last.get("content"), field(path, "content"), dialect)
    if not text:
        reasons.add(ExactOnly.NO_TEXT)
    return Turns(text, [*rest], reasons)


def plain(content: object, path: str, dialect: Dialect, reasons: set[ExactOnly]) -> JSON:
    """The content as it counts: a list of one plain text part is the string it says; markers are left out.

    Adds to `reasons` what its parts forbid.

    Raises:
        InvalidTypeError: the content is neither a string nor a list of parts.
    """
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise InvalidTypeError(f"{path}: expected a string or a list of parts, got {kind_of(content)}")
    parts = [_read_part(part, field(path, i), dialect, reasons) for i, part in enumerate(content)]
    if len(parts) == 1 and _is_text(parts[0], dialect) and len(parts[0]) == 2:
        return parts[0]["text"]
    return [*parts]


def checked_text(text: object, path: str) -> str:
    """The text without outer whitespace, which carries no meaning.

    Raises:
        InvalidTypeError: it is not a string.
        InvalidValueError: it holds a lone surrogate, so that it cannot be stored.
    """
    if not isinstance(text, str):
        raise InvalidTypeError(f"{path}: expected a string, got {kind_of(text)}")
    if utf8(text) is None:
        raise InvalidValueError(f"{path}: a string holds a lone surrogate")
    return text.strip()


def _read_turn(turn: object, path: str, dialect: Dialect, reasons: set[ExactOnly]) -> dict[str, JSON]:
    if not isinstance(turn, Mapping):
        raise InvalidTypeError(f"{path}: expected a mapping, got {kind_of(turn)}")
    rest: dict[str, JSON] = dict(turn)
    if dialect is RESPONSES:
        kind = rest.get("type")
        if kind is None and "id" in rest and "role" not in rest:
            kind = "item_reference"
        if kind not in ("message", None):
            reasons.update(_item_reasons(kind))
            return rest
        rest.pop("type", None)
    role = rest.get("role")
    if not isinstance(role, str):
        raise InvalidTypeError(f"{field(path, 'role')}: expected a string, got {kind_of(role)}")
    if role in ("tool", "function") or rest.get("tool_calls") or rest.get("function_call"):
        reasons.add(ExactOnly.TOOL_CALL)
    if rest.get("audio"):
        reasons.add(ExactOnly.ATTACHMENT)
    if "content" in rest:
        rest["content"] = plain(rest["content"], field(path, "content"), dialect, reasons)
    return rest


def _item_reasons(kind: object) -> set[ExactOnly]:
    """What an item of the responses API that is no message forbids."""
    if kind == "reasoning":
        return set()
    if kind == "item_reference":
        return {ExactOnly.STATE}
    if isinstance(kind, str) and (kind.endswith(("_call", "_output")) or kind.startswith("mcp_")):
        return {ExactOnly.TOOL_CALL}
    return {ExactOnly.ATTACHMENT}


def _read_part(
    part: object, path: str, dialect: Dialect, reasons: set[ExactOnly], *, nested: bool = False
) -> dict[str, JSON]:
    if not isinstance(part, Mapping):
        raise InvalidTypeError(f"{path}: expected a mapping, got {kind_of(part)}")
    rest: dict[str, JSON] = {key: value for key, value in part.items() if key not in dialect.markers}
    kind = rest.get("type")
    if not isinstance(kind, str):
        raise InvalidTypeError(f"{field(path, 'type')}: expected a string, got {kind_of(kind)}")
    if kind.endswith(("tool_use", "tool_result")):
        reasons.add(ExactOnly.TOOL_CALL)
    elif kind in dialect.text_types:
        if not isinstance(rest.get("text"), str):
            raise InvalidTypeError(
                f"{field(path, 'text')}: expected a string, got {kind_of(rest.get('text'))}"
            )
    elif kind not in dialect.silent_types:
        reasons.add(ExactOnly.ATTACHMENT)
    inner = rest.get("content")
    # The parts of a tool's result are the only parts in parts; a hostile body may nest them without end.
    if isinstance(inner, list | tuple) and not nested:
        at = field(path, "content")
        rest["content"] = [
            _read_part(p, field(at, i), dialect, reasons, nested=True) if isinstance(p, Mapping) else p
            for i, p in enumerate(inner)
        ]
    return rest


def _is_text(part: JSON, dialect: Dialect) -> bool:
    return isinstance(part, dict) and part["type"] in dialect.text_types


def _split(content: JSON, path: str, dialect: Dialect) -> tuple[str, JSON]:
    """The text of a user's turn, and the rest of its content.

    Of each text part the rest keeps the number of line ends and whether it is blank: with the joined text,
    that tells where the parts were divided, and still lets two wordings of one question share a scope.
    """
    if isinstance(content, str):
        return checked_text(content, path), None
    if content is None or not isinstance(content, list):
        raise InvalidTypeError(f"{path}: expected a string or a list of parts, got {kind_of(content)}")
    if not content:
        raise InvalidValueError(f"{path}: expected at least one part, got none")
    texts: list[str] = []
    rest: list[JSON] = []
    for i, part in enumerate(content):
        if isinstance(part, dict) and _is_text(part, dialect):
            text = str(part["text"])
            texts.append(text)
            if utf8(text) is None:
                raise InvalidValueError(f"{field(field(path, i), 'text')}: a string holds a lone surrogate")
            part = {**part, "text": [text.count("\n"), not text.strip()]}
        rest.append(part)
    return "\n".join(texts).strip(), rest
