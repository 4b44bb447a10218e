"""Server-sent events: read from bytes cut anywhere, and written.

Source: the HTML standard, section 9.2.6 (interpreting an event stream), read in 2026.
"""

import codecs
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Event", "EventReader", "event_bytes", "json_event_bytes"]

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
# No line ends here, but to clients that read lines as Python's `str.splitlines` has them, which then lose the
# event. JSON has the other such characters escaped already.
_LINE_ENDS = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"})


class Event(NamedTuple):
    """One event."""

    name: str
    """The `event` field; empty where there was none."""
    data: str
    """The `data` fields, joined by line ends."""


class EventReader:
    """Reads the events of one stream.

    An event counts when its blank line has come: what a stream ends in without one is no event.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest: list[str] = []
        self._after_cr = False
        self._is_first = True
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completed. All chunks together take time linear in their bytes."""
        text = self._decoder.decode(chunk)
        if self._is_first and text:
            self._is_first = False
            text = text.removeprefix("\ufeff")
        # A line ends in LF, CR, or CR LF, and the last may come in two chunks.
        if self._after_cr and text.startswith("\n"):
            text = text[1:]
        if text:
            self._after_cr = text.endswith("\r")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if "\n" not in text:
            # Joined once: a long line in small chunks would be copied with each of them.
            self._rest.append(text)
            return []
        lines = ("".join(self._rest) + text).split("\n")
        self._rest = [lines.pop()]
        return [event for line in lines if (event := self._take(line)) is not None]

    def _take(self, line: str) -> Event | None:
        if not line:
            event = Event(self._name, "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None


def event_bytes(data: str, name: str = "") -> bytes:
    """One event as it travels.

    Args:
        data: what it says; line ends in it become fields of their own.
        name: its `event` field; none if empty.
    """
    head = f"event: {name}\n" if name else ""
    return (head + "".join(f"data: {line}\n" for line in data.split("\n")) + "\n").encode()


def json_event_bytes(value: Mapping[str, Any], name: str = "") -> bytes:
    """One event that says a JSON object, on one line by whatever rules."""
    return event_bytes(_ENCODER.encode(value).translate(_LINE_ENDS), name)
