"""Sentences of the training data that stand in the test data, too, or nearly so: there must be none."""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["overlaps", "texts_in"]

_NEAR = 0.8
_WORD = re.compile(r"[a-z0-9]+")
_SHORTEST = 3


def texts_in(folder: Path) -> Iterator[tuple[str, str]]:
    """File name and text, for every string of every set below `folder`."""
    for path in sorted(folder.rglob("*")):
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
                for line in lines:
                    yield from ((path.name, text) for text in _strings(json.loads(line)))
        elif path.suffix == ".tsv":
            for line in path.read_text(encoding="utf-8").splitlines():
                yield from ((path.name, text) for text in line.split("\t"))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def overlaps(own: Iterable[str], foreign: Iterable[tuple[str, str]]) -> list[tuple[float, str, str, str]]:
    """Pairs of an own and a foreign text that share four fifths of their words, or all.

    Texts of one or two words are left out: any two people write "thank you".

    Args:
        own: the training texts.
        foreign: name of a file and a text of it.

    Returns:
        Share of words (Jaccard, over sets; 1.0 only for the same words in the same order), file, own text,
        foreign text.
    """
    by_word: dict[str, set[str]] = defaultdict(set)
    words = {}
    for text in set(own):
        words[text] = tuple(_WORD.findall(text.lower()))
        if len(words[text]) >= _SHORTEST:
            for word in words[text]:
                by_word[word].add(text)
    found = []
    for name, text in set(foreign):
        theirs = tuple(_WORD.findall(text.lower()))
        # One of the rarest words is shared where four in five are, so only a few texts are looked at.
        rare = sorted(set(theirs), key=lambda word: (len(by_word.get(word, ())), word))
        rare = rare[: max(1, len(rare) // 4 + 1)]
        for mine in {candidate for word in rare for candidate in by_word.get(word, ())}:
            share = _share(words[mine], theirs)
            if share >= _NEAR:
                found.append((share, name, mine, text))
    return sorted(found, key=lambda row: (-row[0], *row[1:]))


def _share(a: tuple[str, ...], b: tuple[str, ...]) -> float:
    if a == b:
        return 1.0
    both, either = set(a) & set(b), set(a) | set(b)
    return min(0.99, len(both) / len(either))
