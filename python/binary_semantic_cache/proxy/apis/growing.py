"""Values that arrive in fragments: joined as long as there is one way to join them, given up otherwise."""

from typing import Any, Literal

__all__ = [
    "Failure",
    "Indexed",
    "Text",
    "UnkeptError",
    "append",
    "extend",
    "grow",
    "joined",
    "later",
    "settled",
]

Failure = Literal["error", "unknown_event", "unknown_delta", "malformed"]


class UnkeptError(Exception):
    """The stream cannot become an answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure: Failure = failure


class Text:
    """A string in fragments; joined once, so that many small fragments take linear time."""

    __slots__ = ("fragments",)

    def __init__(self, first: str = "") -> None:
        self.fragments = [first]

    def whole(self) -> str:
        """The string. A character that was cut into two surrogates is put together again."""
        text = "".join(self.fragments)
        try:
            text.encode()
        except UnicodeEncodeError:
            try:
                return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
            except UnicodeDecodeError:
                raise UnkeptError("malformed") from None
        return text


class Indexed(dict[int, Any]):
    """A list whose members come with their index, in any order; a huge index takes no room."""

    def at(self, index: object, first: Any) -> Any:
        """The member at `index`; `first` becomes it where there is none yet."""
        if type(index) is not int or index < 0:
            raise UnkeptError("malformed")
        return self.setdefault(index, first)

    def whole(self) -> list[Any]:
        """The members in order; a gap means that one was lost."""
        if not all(index in self for index in range(len(self))):
            raise UnkeptError("malformed")
        return [settled(self[index]) for index in range(len(self))]


def grow(holder: dict[str, Any], key: str, fragment: str) -> None:
    """Appends to a string."""
    old = holder.get(key)
    if isinstance(old, Text):
        old.fragments.append(fragment)
    elif old is None:
        holder[key] = Text(fragment)
    elif isinstance(old, str):
        text = Text(old)
        text.fragments.append(fragment)
        holder[key] = text
    else:
        raise UnkeptError("unknown_delta")


def append(holder: dict[str, Any], key: str, member: Any) -> None:
    """Appends to a list."""
    extend(holder, key, [member])


def extend(holder: dict[str, Any], key: str, members: Any) -> None:
    """Appends to a list that grows by its end; `None` says that there is none yet."""
    if members is None:
        holder.setdefault(key, None)
        return
    old = holder.get(key)
    if not isinstance(members, list) or not (old is None or isinstance(old, list)):
        raise UnkeptError("unknown_delta")
    if old is None:
        holder[key] = members
    else:
        old.extend(members)


def joined(old: Any, new: Any) -> Any:
    """Two sayings of one value that do not contradict each other, as one."""
    if new is None or new == old:
        return old
    if old is None:
        return new
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: joined(old.get(key), value) for key, value in new.items()}}
    raise UnkeptError("unknown_delta")


def later(old: Any, new: Any) -> Any:
    """As `joined`, but of two plain values the later one counts."""
    scalar = str | int | float
    if isinstance(old, scalar) and isinstance(new, scalar):
        return new
    return joined(old, new)


def settled(value: Any) -> Any:
    """The value with all its fragments joined."""
    if isinstance(value, Text | Indexed):
        return value.whole()
    if isinstance(value, dict):
        return {key: settled(member) for key, member in value.items()}
    return value
