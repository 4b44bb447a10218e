"""A store's content on its way to another file: what both export formats say, and whom a secret names.

Keys and scopes are hashes keyed with the store's secret, so an export that is to be found again elsewhere
must carry it, and whoever has it can test which prompts and tenants the hashes stand for. An export without
it still says which store it came from (`store_mark`), and can go back into that one; nowhere else do its keys
mean anything.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from binary_semantic_cache.errors import CorruptFileError, FormatVersionError
from binary_semantic_cache.stores import Entry, Stored
from binary_semantic_cache.text.soundness import entry_checks

__all__ = [
    "FORMAT",
    "LAST_ID",
    "SECRET_BYTES",
    "VERSION",
    "Export",
    "Header",
    "Progress",
    "checked_entry",
    "checked_header",
    "checked_id",
    "checked_pair",
    "from_base64",
    "header_fields",
    "store_mark",
    "to_base64",
]

FORMAT = "binary-semantic-cache entries"
VERSION = 1
SECRET_BYTES = 32
_DIGEST_BYTES = 16
_MARK_BYTES = 16
_MOST_ENTRIES = 2**31 - 1
LAST_ID = 2**62
"""Ids may not be greater: there must be room for those that follow."""
_HEADER = ("made_by", "store", "secret", "last_id", "entries", "pairs")

Progress = Callable[[int], object]
"""Is called with the number of entries done since the last call."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an export says before its entries."""

    fingerprint: str
    """Of embedder and formula, as the store keeps it."""
    mark: bytes
    """`store_mark` of the store's secret."""
    secret: bytes | None
    last_id: int
    """No id up to this one may be given to another entry."""
    entries: int
    pairs: int


class Export(Protocol):
    """An export to be read, as often as need be: first to check all of it, then to store."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def header(self) -> Header:
        """Checked when the file was opened."""

    def entries(self) -> Iterator[Stored]:
        """Every entry, checked, ids ascending. Raises CorruptFileError that names its place."""

    def pairs(self) -> Iterator[bytes]:
        """Every reported pair, checked."""


def store_mark(secret: bytes) -> bytes:
    """Stands for a secret without telling it: equal for files of one store."""
    return blake2b(key=secret, digest_size=_MARK_BYTES, person=b"bsc mark").digest()


def header_fields(header: Header) -> dict[str, object]:
    """The header as JSON says it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": json.loads(header.fingerprint),
        "store": to_base64(header.mark),
        "secret": None if header.secret is None else to_base64(header.secret),
        "last_id": header.last_id,
        "entries": header.entries,
        "pairs": header.pairs,
    }


def checked_header(place: str, fields: Mapping[str, object]) -> tuple[Header, Callable[[Entry], str | None]]:
    """The header that `header_fields` wrote, and what checks the entries that follow it.

    Args:
        place: where it stands, for errors.
        fields: what JSON said; other fields are left alone.

    Raises:
        CorruptFileError: something in it is not as it must be.
        FormatVersionError: a version that this package does not read.
    """
    version, made_by = fields.get("version"), fields.get("made_by")
    if fields.get("format") != FORMAT:
        raise CorruptFileError(f"{place}: not the header of an export")
    if type(version) is not int or version < 1:
        raise CorruptFileError(f"{place}: version: expected a whole number")
    if version != VERSION:
        raise FormatVersionError(f"{place}: version: expected {VERSION}, got {str(version)[:20]}")
    missing = [name for name in _HEADER if name not in fields]
    if missing:
        raise CorruptFileError(f"{place}: no field {missing[0]}")
    if not isinstance(made_by, dict) or not all(isinstance(x, str | int | None) for x in made_by.values()):
        raise CorruptFileError(f"{place}: made_by: expected an object of strings and numbers")
    fingerprint = json.dumps(made_by, sort_keys=True)
    try:
        check = entry_checks(fingerprint)
    except CorruptFileError as exc:
        raise CorruptFileError(f"{place}: made_by: {exc}") from exc
    mark = from_base64(place, "store", fields["store"])
    secret = None if fields["secret"] is None else from_base64(place, "secret", fields["secret"])
    if len(mark) != _MARK_BYTES:
        raise CorruptFileError(f"{place}: store: expected {_MARK_BYTES} bytes")
    if secret is not None and len(secret) != SECRET_BYTES:
        raise CorruptFileError(f"{place}: secret: expected {SECRET_BYTES} bytes, or null")
    if secret is not None and store_mark(secret) != mark:
        raise CorruptFileError(f"{place}: secret: not that of the store it names")
    return Header(
        fingerprint=fingerprint,
        mark=mark,
        secret=secret,
        last_id=_whole(place, "last_id", fields["last_id"], LAST_ID),
        entries=_whole(place, "entries", fields["entries"], _MOST_ENTRIES),
        pairs=_whole(place, "pairs", fields["pairs"], _MOST_ENTRIES),
    ), check


def checked_id(place: str, entry_id: object, after: int, last: int) -> int:
    """An entry's id, if it is greater than the one before it and not beyond the last."""
    if type(entry_id) is not int or not after < entry_id <= last:
        raise CorruptFileError(f"{place}: id: expected a whole number from {after + 1} to {last}")
    return entry_id


def checked_entry(place: str, entry: Entry, check: Callable[[Entry], str | None]) -> Entry:
    """`entry`, if nothing is wrong with it."""
    wrong = check(entry)
    if wrong is not None:
        raise CorruptFileError(f"{place}: {wrong}")
    return entry


def checked_pair(place: str, pair: object) -> bytes:
    """A pair, if it can be one."""
    if not isinstance(pair, bytes) or len(pair) != _DIGEST_BYTES:
        raise CorruptFileError(f"{place}: pair: expected {_DIGEST_BYTES} bytes")
    return pair


def to_base64(raw: bytes) -> str:
    """Bytes as JSON can say them."""
    return base64.b64encode(raw).decode()


def from_base64(place: str, name: str, value: object) -> bytes:
    """The bytes that `to_base64` said."""
    if not isinstance(value, str):
        raise CorruptFileError(f"{place}: {name}: expected base64")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise CorruptFileError(f"{place}: {name}: expected base64") from None


def _whole(place: str, name: str, value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise CorruptFileError(f"{place}: {name}: expected a whole number from 0 to {most}")
    return value
