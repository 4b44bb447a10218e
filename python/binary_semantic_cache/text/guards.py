"""Guards: deterministic checks that can veto a semantic hit, never make one.

An embedding tells that two questions are about one thing; it cannot tell 30 days from 60, "buy" from
"sell", or "from A to B" from "from B to A". Each guard looks at one such difference. The words they know
stand in the folder `tables` beside this file; `docs/guards.md` describes all of it and how well it does.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from binary_semantic_cache.binary_semantic_cache_rs import TextGuards
from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError, MissingFileError, StoreError
from binary_semantic_cache.text.verdict import Veto

__all__ = ["GUARDS", "TABLES", "Guards", "Veto"]

GUARDS: tuple[str, ...] = TextGuards.names
TABLES: tuple[str, ...] = TextGuards.table_names

_LEXICON = "lexicon.bin"


class Guards:
    """The guards that are on, with the words they know. Immutable; threads may share one.

    Args:
        disabled: names of guards that shall not be asked.
        tables: a folder; a file in it replaces the shipped one of the same name (`antonyms.txt`,
            `lexicon.bin`). Other files are an error, so that a misspelt name is noticed.
        extend: lines to add to a table, by the table's name: `{"antonyms": ["bid ask"]}`.

    Raises:
        InvalidValueError: an unknown guard or table, or a line that is not an entry of its table.
        MissingFileError: there is no folder `tables`.
        CorruptFileError: the lexicon is damaged. FormatVersionError: it has another format.
    """

    def __init__(
        self,
        *,
        disabled: Iterable[str] = (),
        tables: str | os.PathLike[str] | None = None,
        extend: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        off = _names("guard", disabled, GUARDS)
        lexicon, lines = _read(None if tables is None else Path(tables))
        for name, added in (extend or {}).items():
            _names("table", [name], TABLES)
            if isinstance(added, str):
                raise InvalidTypeError(f"expected lines for table {name}, got one string: {added!r}")
            lines[name] += added
        try:
            self.native = TextGuards(lexicon, lines, disabled=off)
            """What does the work; a judge builds on it."""
        except TypeError as exc:
            raise InvalidTypeError(f"expected lines of tables as strings: {exc}") from exc
        except UnicodeEncodeError as exc:
            raise InvalidValueError(f"expected lines of tables without lone surrogates: {exc}") from exc
        self._enabled = tuple(name for name in GUARDS if name not in off)

    @property
    def names(self) -> tuple[str, ...]:
        """All guards, in the order in which they are asked."""
        return GUARDS

    @property
    def enabled(self) -> tuple[str, ...]:
        """The guards that are on, in the same order."""
        return self._enabled

    def check(self, prompt: str, candidates: Sequence[str]) -> list[list[Veto]]:
        """For each candidate, every veto; an empty list where all guards let it pass.

        Equal texts always pass. The interpreter is released meanwhile. Time is linear in the length of the
        texts. A lone surrogate is read as U+FFFD.

        Args:
            prompt: the new prompt; analysed once.
            candidates: stored prompts.

        Raises:
            InvalidTypeError: the prompt or a candidate is no string.
        """
        if isinstance(candidates, str):
            raise InvalidTypeError(f"expected a list of candidates, got one string: {candidates[:40]!r}")
        try:
            found = self.native.check(prompt, candidates)
        except TypeError as exc:
            raise InvalidTypeError(f"expected a string and a list of strings: {exc}") from exc
        return [[Veto(guard, detail) for guard, detail in vetoes] for vetoes in found]

    def __repr__(self) -> str:
        return f"Guards(disabled={[name for name in GUARDS if name not in self._enabled]})"


def _names(what: str, given: Iterable[str], known: Sequence[str]) -> list[str]:
    """The names as a list, all of them known."""
    if isinstance(given, str):
        raise InvalidTypeError(f"expected names of {what}s, got one string: {given!r}")
    names = list(given)
    for name in names:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(str(name), known, n=1, cutoff=0)
            raise InvalidValueError(f"expected the name of a {what}, got {name!r}; did you mean {near[0]!r}?")
    return names


def _read(folder: Path | None) -> tuple[bytes, dict[str, list[str]]]:
    """The lexicon and the lines of each table, from `folder` where it has them."""
    shipped = resources.files(__package__) / "tables"
    files = {name: shipped / name for name in (_LEXICON, *(f"{table}.txt" for table in TABLES))}
    try:
        for path in sorted(folder.iterdir()) if folder else ():
            _names("table file", [path.name], list(files))
            files[path.name] = path
        lexicon = files.pop(_LEXICON).read_bytes()
        return lexicon, {
            name.removesuffix(".txt"): path.read_text("utf-8").splitlines() for name, path in files.items()
        }
    except FileNotFoundError as exc:
        raise MissingFileError(f"expected a folder of tables, got nothing at {exc.filename}") from exc
    except UnicodeDecodeError as exc:
        raise InvalidValueError(f"expected tables in UTF-8, got other bytes in {folder}: {exc}") from exc
    except OSError as exc:
        raise StoreError(f"cannot read the tables in {folder or 'the package'}: {exc}") from exc
