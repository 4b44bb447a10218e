"""Pairs of prompts, labelled or not, from JSON lines and from CSV.

A line is an object with `a` and `b`, each a string or a list of chat messages, and with `same` (1: the answer
to `a` answers `b`; 0: it does not; absent or null: nobody said), `category` and `id` where there are any.
Files may be compressed with gzip (`.gz`). Errors name file and line, and never quote a prompt.
"""

import csv
import gzip
import io
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from binary_semantic_cache.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
    StoreError,
)
from binary_semantic_cache.text.canonical import parse_json
from binary_semantic_cache.text.request import Request

__all__ = [
    "UNNAMED",
    "Messages",
    "Pair",
    "json_lines",
    "last_text",
    "read_pairs",
    "requested",
    "sampled",
]

Messages: TypeAlias = list[dict[str, Any]]
"""A conversation, as OpenAI's chat API takes it."""

UNNAMED = "all"
"""The category of pairs that name none."""

_LABELS = {"1": True, "true": True, "yes": True, "same": True}
_LABELS |= {"0": False, "false": False, "no": False, "different": False}
_LONGEST_FIELD = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prompts. `a` was asked first and has an answer; `b` is asked now."""

    id: str
    a: str | Messages
    b: str | Messages
    same: bool | None
    """Whether the answer to `a` answers `b`; `None` where nobody said."""
    category: str


def read_pairs(path: Path, *, columns: Sequence[str] = (), header: bool = True) -> Iterator[Pair]:
    """The pairs of a file, in its order; read as they are asked for.

    Args:
        path: `.csv` and `.tsv` are read as such, all else as JSON lines; a `.gz` behind it is taken off.
        columns: of a CSV: the names of the columns of `a`, `b`, the label and the category; the latter two
            may be left out. None given: `a`, `b`, `same` and `category` where the file has them, or else its
            first two columns.
        header: whether the first line of a CSV names its columns; if not, the first two columns are `a` and
            `b`, the third, if any, the label, and the fourth the category.

    Raises:
        InvalidValueError, InvalidTypeError: a line is no pair; the message starts with `path:line`.
        MissingFileError: there is no file at the path.
        CorruptFileError: it is no UTF-8, or no gzip file though its name says so.
        StoreError: it could not be read.
    """
    ending = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if ending in (".csv", ".tsv"):
        yield from _csv_pairs(path, "\t" if ending == ".tsv" else ",", columns, header=header)
        return
    if columns or not header:
        raise InvalidValueError(
            f"{path}: expected a file that ends in .csv or .tsv, since columns were named"
        )
    for line, row in json_lines(path):
        yield _pair(path, line, row, row.get("same"))


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers, from 1, and objects of a file of JSON lines; empty lines are passed over.

    Raises:
        What `read_pairs` raises.
    """
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = parse_json(line, f"{path}:{number}")
            if not isinstance(row, dict):
                raise InvalidTypeError(f"{path}:{number}: expected an object, got {type(row).__name__}")
            yield number, row


def sampled(pairs: Iterable[Pair], limit: int | None, seed: int) -> list[Pair]:
    """All pairs, or `limit` of them, drawn evenly with a seed and left in their order."""
    listed = list(pairs)
    if limit is None or limit >= len(listed):
        return listed
    return [listed[i] for i in sorted(random.Random(seed).sample(range(len(listed)), limit))]


def requested(side: str | Messages) -> Request:
    """What a cache is asked: a bare prompt, or the body of a chat request.

    Raises:
        InvalidValueError, InvalidTypeError: it is neither.
    """
    if isinstance(side, str):
        return Request.from_prompt(side)
    messages: Any = side  # whether it is a list of messages is for the request to say
    return Request.from_openai_chat({"model": "any", "messages": messages})


def last_text(side: str | Messages) -> str:
    """The prompt, or the text of a conversation's last message: what a cache of bare strings is given."""
    if isinstance(side, str):
        return side
    content = side[-1].get("content")
    return content if isinstance(content, str) else requested(side).text


def _csv_pairs(path: Path, delimiter: str, columns: Sequence[str], *, header: bool) -> Iterator[Pair]:
    csv.field_size_limit(_LONGEST_FIELD)
    with _opened(path) as lines:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        places: list[int | None] | None = None if header else [0, 1, 2, 3]
        n_columns = 0
        while True:
            # Before the row is read: a quoted field may run over several lines, and the first names it.
            line = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error as exc:
                raise InvalidValueError(f"{path}:{line}: {exc}") from exc
            if row is None:
                return
            if places is None:
                places, n_columns = _places(f"{path}:{line}", row, columns), len(row)
                continue
            if not any(row):
                continue
            n_columns = n_columns or len(row)
            if len(row) != n_columns or n_columns < 2:
                raise InvalidValueError(
                    f"{path}:{line}: expected {max(2, n_columns)} columns, got {len(row)}; "
                    "a text that holds the separator wants quotation marks"
                )
            cells = [row[at] if at is not None and at < len(row) else "" for at in places]
            named = {"a": cells[0], "b": cells[1], "category": cells[3] or None}
            yield _pair(path, line, named, cells[2].strip().lower() or None)


def _places(where: str, names: Sequence[str], columns: Sequence[str]) -> list[int | None]:
    """Where `a`, `b`, the label and the category stand."""
    cleaned = [name.strip() for name in names]
    if columns:
        missing = [name for name in columns if name not in cleaned]
        if missing or not 2 <= len(columns) <= 4:
            raise InvalidValueError(
                f"{where}: expected columns among {', '.join(cleaned)}, got {', '.join(columns)}"
            )
        found = [cleaned.index(name) for name in columns]
        return [*found, *[None] * (4 - len(found))]
    if len(cleaned) < 2:
        raise InvalidValueError(f"{where}: expected two columns or more, got {len(cleaned)}")
    both = [0, 1]
    if "a" in cleaned and "b" in cleaned:
        both = [cleaned.index("a"), cleaned.index("b")]
    rest = [cleaned.index(name) if name in cleaned else None for name in ("same", "category")]
    return [*both, *rest]


def _pair(path: Path, line: int, row: dict[str, Any], label: object) -> Pair:
    where = f"{path}:{line}"
    sides = []
    for name in ("a", "b"):
        side = row.get(name)
        if not isinstance(side, str | list) or side == []:
            raise InvalidTypeError(
                f"{where}: {name}: expected a text or a list of messages, "
                f"got {'nothing' if not side else type(side).__name__}"
            )
        try:
            requested(side)
        except InvalidTypeError as exc:
            raise InvalidTypeError(f"{where}: {name}: {exc}") from exc
        except InvalidValueError as exc:
            raise InvalidValueError(f"{where}: {name}: {exc}") from exc
        sides.append(side)
    category = row.get("category")
    named = row.get("id")
    return Pair(
        id=f"{path.name}:{line}" if named is None else str(named),
        a=sides[0],
        b=sides[1],
        same=_label(where, label),
        category=UNNAMED if category is None else str(category),
    )


def _label(where: str, label: object) -> bool | None:
    if label is None:
        return None
    # `True` is written as "true", 1 as "1".
    found = _LABELS.get(str(label).lower()) if isinstance(label, bool | int | str) else None
    if found is None:
        raise InvalidValueError(f"{where}: same: expected 1 or 0, got {str(label)[:20]!r}")
    return found


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        with path.open("rb") as raw:
            packed: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            with io.TextIOWrapper(packed, encoding="utf-8-sig", newline="") as text:
                yield text
    except FileNotFoundError as exc:
        raise MissingFileError(f"expected a file of pairs, got nothing at {path}") from exc
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise CorruptFileError(f"{path}: not readable as text: {exc}") from exc
    except OSError as exc:
        raise StoreError(f"{path}: {exc.strerror or exc}") from exc
