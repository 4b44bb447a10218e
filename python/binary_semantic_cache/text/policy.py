"""Which questions meaning must not answer: commands, questions about this moment, and about the asker.

"Cancel my order" said twice is two cancellations; "what is the price now" has another answer tomorrow, "what
is my balance" another for each who asks. Similarity sees none of that. What does is a table of phrases,
`tables/policy.toml`, which explains itself at its top; such a question is answered from its exact repeat at
most.

Phrases were preferred to regular expressions: whoever runs the cache can read and extend the table, and
matching is linear in the text by construction.
"""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from binary_semantic_cache.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
)
from binary_semantic_cache.text.canonical import kind_of
from binary_semantic_cache.text.identifiers import holds_identifier
from binary_semantic_cache.text.phrases import Phrases, sentences_of

__all__ = ["Policy"]

_TABLE = Path(__file__).parent / "tables" / "policy.toml"
_NOTHING: frozenset[str] = frozenset()
_HOW_TO = "how to"
_SOFT = " unless how to"
_KEYS = frozenset({"always", "unless_how_to", "identifiers"})


class Policy:
    """Tells the classes of questions that are answered from exact repeats alone.

    May be used by many threads.

    Args:
        exact_only: the classes that count; of the shipped table `action`, `freshness` and `personal`.
        extend: further phrases by class, in the table's notation; a new class may be named here.
        table: path of a table that replaces the shipped one.

    Raises:
        InvalidTypeError: an argument has the wrong type.
        InvalidValueError: a class is in neither the table nor `extend`, or a phrase is malformed.
        MissingFileError: there is no table at the path.
        CorruptFileError: the table is not TOML, or not of the form that the shipped one explains.
    """

    def __init__(
        self,
        *,
        exact_only: Iterable[str] = ("action", "freshness", "personal"),
        extend: Mapping[str, Iterable[str]] | None = None,
        table: str | PathLike[str] | None = None,
    ) -> None:
        content = _read_table(_TABLE if table is None else Path(table))
        asked = _checked_strings(exact_only, "exact_only")
        further = {
            name: _checked_strings(phrases, f"extend[{name!r}]") for name, phrases in (extend or {}).items()
        }
        known = content["classes"].keys() | further.keys()
        unknown = [name for name in asked if name not in known]
        if unknown:
            raise InvalidValueError(f"expected classes among {sorted(known)}, got {unknown[0]!r}")
        self._exact_only = frozenset(asked)
        labelled: dict[str, list[str]] = {_HOW_TO: content["how_to"]} if asked else {}
        self._identifiers: set[str] = set()
        for name in self._exact_only:
            rules = content["classes"].get(name, {})
            labelled[name] = [*rules.get("always", []), *further.get(name, [])]
            labelled[name + _SOFT] = rules.get("unless_how_to", [])
            if rules.get("identifiers", False):
                self._identifiers.add(name)
        self._phrases = Phrases(labelled, content["sets"], content["openers"])

    @property
    def exact_only(self) -> frozenset[str]:
        """The classes that count."""
        return self._exact_only

    def classify(self, text: str) -> frozenset[str]:
        """The classes that `text` falls into; empty where meaning may answer it. Linear in the text."""
        found: set[str] = set()
        for sentence in sentences_of(text):
            labels = self._phrases.labels_of(sentence)
            if not labels:
                continue
            # "How do I cancel my order?" asks for advice, which is the same for everybody.
            advice = _HOW_TO in labels
            for label in labels:
                if not label.endswith(_SOFT):
                    found.add(label)
                elif not advice:
                    found.add(label.removesuffix(_SOFT))
        found.discard(_HOW_TO)
        if self._identifiers and holds_identifier(text):
            found |= self._identifiers
        return frozenset(found) if found else _NOTHING


@cache
def _read_table(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError as exc:
        raise MissingFileError(f"{path}: no such table") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise CorruptFileError(f"{path}: not TOML ({exc})") from exc
    wrong = _what_is_wrong(content)
    if wrong:
        raise CorruptFileError(f"{path}: {wrong}")
    return {"openers": [], "how_to": [], "sets": {}, **content}


def _what_is_wrong(content: dict[str, Any]) -> str | None:
    """What keeps a TOML document from being a table; `None` when nothing does."""
    unknown = content.keys() - {"openers", "how_to", "sets", "classes"}
    if unknown:
        return f"unknown key {sorted(unknown)[0]!r}"
    lists = {name: content.get(name, []) for name in ("openers", "how_to")}
    for table in ("sets", "classes"):
        if not isinstance(content.get(table, {}), dict):
            return f"{table}: expected a table"
    lists |= {f"sets.{name}": phrases for name, phrases in content.get("sets", {}).items()}
    for name, rules in content.get("classes", {}).items():
        if not isinstance(rules, dict) or rules.keys() - _KEYS:
            return f"classes.{name}: expected a table with {', '.join(sorted(_KEYS))}"
        if not isinstance(rules.get("identifiers", False), bool):
            return f"classes.{name}.identifiers: expected true or false"
        lists |= {f"classes.{name}.{key}": rules.get(key, []) for key in ("always", "unless_how_to")}
    for name, phrases in lists.items():
        if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
            return f"{name}: expected a list of strings"
    return None if content.get("classes") else "expected classes, got none"


def _checked_strings(values: object, name: str) -> list[str]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidTypeError(f"{name}: expected several strings, got {kind_of(values)}")
    listed = list(values)
    wrong = [value for value in listed if not isinstance(value, str)]
    if wrong:
        raise InvalidTypeError(f"{name}: expected strings, got {kind_of(wrong[0])}")
    return listed
