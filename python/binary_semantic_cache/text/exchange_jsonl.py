"""Exports as JSON lines: a header, one object an entry, one a reported pair, and a last line that ends it.

    {"format": "binary-semantic-cache entries", "version": 1, "made_by": {"embedder": ...}, "store": "...",
     "secret": "..." or null, "last_id": 12, "entries": 2, "pairs": 1}
    {"id": 3, "key": "...", "scope": "...", "owner": "...", "code": "...", "vector": "...", "prompt": "...",
     "kind": "text", "payload": "...", "created_at": 1764000000.0, "expires_at": null, "ttl_seconds": null,
     "tags": ["geography"], "saving": {"input_tokens": 12, "output_tokens": 80, "cost": 0.0, "seconds": 1.5}}
    {"pair": "..."}
    {"end": true}

Bytes are base64. Lines are read and written one at a time, so memory is bounded by the longest.
"""

import json
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NoReturn

from binary_semantic_cache.errors import (
    CorruptFileError,
    InvalidValueError,
    MissingFileError,
    StoreError,
)
from binary_semantic_cache.stores import Entry, Saving, Stored
from binary_semantic_cache.text.canonical import parse_json
from binary_semantic_cache.text.exchange import (
    Header,
    checked_entry,
    checked_header,
    checked_id,
    checked_pair,
    from_base64,
    header_fields,
    to_base64,
)

__all__ = ["JSONLinesExport", "write_jsonl"]

_LONGEST_LINE = 64 * 2**20
_BYTES = ("key", "scope", "owner", "code", "vector", "payload")
_STRINGS = ("prompt", "kind")
_TIMES = ("created_at", "expires_at", "ttl_seconds")
_FIELDS = frozenset({"id", *_BYTES, *_STRINGS, *_TIMES, "tags", "saving"})
_SAVING = frozenset({"input_tokens", "output_tokens", "cost", "seconds"})


def write_jsonl(file: BinaryIO, header: Header, entries: Iterable[Stored], pairs: Iterable[bytes]) -> None:
    """Writes an export line by line.

    Raises:
        InvalidValueError: an entry is too large for a line that would be read back.
    """
    _write(file, header_fields(header))
    for entry_id, entry in entries:
        saving = entry.saving
        line: dict[str, object] = {"id": entry_id}
        line |= {name: to_base64(getattr(entry, name)) for name in _BYTES}
        line |= {name: getattr(entry, name) for name in (*_STRINGS, *_TIMES)}
        line["tags"] = list(entry.tags)
        line["saving"] = {
            "input_tokens": saving.input_tokens,
            "output_tokens": saving.output_tokens,
            "cost": saving.cost,
            "seconds": saving.seconds,
        }
        if _write(file, line) > _LONGEST_LINE:
            raise InvalidValueError(f"entry {entry_id} is too large for a line of JSON; export to .npz")
    for pair in pairs:
        _write(file, {"pair": to_base64(pair)})
    _write(file, {"end": True})


class JSONLinesExport:
    """A file that `write_jsonl` wrote, or that somebody says it did.

    Raises:
        MissingFileError: there is none.
        StoreError: it could not be read.
        CorruptFileError: its first line is no header.
        FormatVersionError: of a version that this package does not read.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        place, line = next(self._lines())
        self.header, self._check = checked_header(place, line)

    def entries(self) -> Iterator[Stored]:
        """See `Export.entries`. Checks that the whole file is there, once the last entry was taken."""
        last = n = 0
        ended = False
        n_pairs = 0
        for number, (place, line) in enumerate(self._lines()):
            if number == 0:
                continue
            if ended:
                raise CorruptFileError(f"{place}: expected nothing behind the end")
            if "end" in line:
                ended = True
            elif "pair" in line:
                self._pair(place, line)
                n_pairs += 1
            elif n_pairs:
                raise CorruptFileError(f"{place}: an entry behind the pairs")
            else:
                last = checked_id(place, line.get("id"), last, self.header.last_id)
                yield Stored(last, self._entry(place, line))
                n += 1
        if not ended:
            raise CorruptFileError(f"{self.path}: has no last line: it was cut off")
        expected = (self.header.entries, self.header.pairs)
        if (n, n_pairs) != expected:
            raise CorruptFileError(
                f"{self.path}: expected {expected[0]} entries and {expected[1]} pairs, got {n} and {n_pairs}"
            )

    def pairs(self) -> Iterator[bytes]:
        """See `Export.pairs`."""
        for place, line in self._lines():
            if "pair" in line:
                yield self._pair(place, line)

    def _pair(self, place: str, line: dict[str, object]) -> bytes:
        if len(line) != 1:
            _refuse(place, "pair: expected nothing beside it")
        return checked_pair(place, from_base64(place, "pair", line["pair"]))

    def _entry(self, place: str, line: dict[str, object]) -> Entry:
        if line.keys() != _FIELDS:
            missing = sorted(_FIELDS - line.keys())
            _refuse(place, f"no field {missing[0]}" if missing else "an unknown field")
        tags = line["tags"]
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            _refuse(place, "tags: expected a list of strings")
        raw = {name: from_base64(place, name, line[name]) for name in _BYTES}
        strings = {name: _string(place, name, line[name]) for name in _STRINGS}
        created_at = _number(place, "created_at", line["created_at"])
        entry = Entry(
            key=raw["key"],
            scope=raw["scope"],
            owner=raw["owner"],
            code=raw["code"],
            vector=raw["vector"],
            prompt=strings["prompt"],
            kind=strings["kind"],
            payload=raw["payload"],
            created_at=created_at,
            expires_at=_optional(place, "expires_at", line["expires_at"]),
            ttl_seconds=_optional(place, "ttl_seconds", line["ttl_seconds"]),
            tags=tuple(tags),
            saving=_saving(place, line["saving"]),
        )
        return checked_entry(place, entry, self._check)

    def _lines(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Every line's place and object; at least one."""
        if not self.path.is_file():
            raise MissingFileError(f"expected a file to import, got nothing at {self.path}")
        try:
            with self.path.open("rb") as file:
                number = 0
                while raw := file.readline(_LONGEST_LINE + 1):
                    number += 1
                    place = f"{self.path}: line {number}"
                    if len(raw) > _LONGEST_LINE:
                        _refuse(place, f"longer than {_LONGEST_LINE} bytes")
                    yield place, _object(place, raw)
                if not number:
                    raise CorruptFileError(f"{self.path}: an empty file, not an export of a cache")
        except OSError as exc:
            if isinstance(exc, StoreError):
                raise
            raise StoreError(f"{self.path} could not be read: {exc.strerror}") from exc


def _write(file: BinaryIO, line: dict[str, object]) -> int:
    return file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _object(place: str, raw: bytes) -> dict[str, object]:
    try:
        line = parse_json(raw, place)
    except InvalidValueError as exc:
        raise CorruptFileError(str(exc)) from None
    if not isinstance(line, dict):
        _refuse(place, "expected an object whose keys differ")
    return line


def _refuse(place: str, what: str) -> NoReturn:
    raise CorruptFileError(f"{place}: {what}")


def _string(place: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        _refuse(place, f"{name}: expected a string")
    return value


def _number(place: str, name: str, value: object) -> float:
    if type(value) is float:
        return value
    if type(value) is int and abs(value) < 2**63:
        return float(value)
    _refuse(place, f"{name}: expected a number")


def _optional(place: str, name: str, value: object) -> float | None:
    return None if value is None else _number(place, name, value)


def _saving(place: str, value: object) -> Saving:
    if not isinstance(value, dict) or value.keys() != _SAVING:
        _refuse(place, f"saving: expected an object of {', '.join(sorted(_SAVING))}")
    input_tokens, output_tokens = value["input_tokens"], value["output_tokens"]
    if type(input_tokens) is not int or type(output_tokens) is not int:
        _refuse(place, "saving: expected tokens as whole numbers")
    return Saving(
        input_tokens,
        output_tokens,
        _number(place, "saving.cost", value["cost"]),
        _number(place, "saving.seconds", value["seconds"]),
    )
