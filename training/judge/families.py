"""Families of questions: wordings of one meaning, and near neighbours that mean something else.

A file below `families` is a domain, a block in it a family. A line is one meaning: `=`, the kind of
difference to the first line, `:`, and wordings with ` | ` between them. All wordings of a line have one
answer; two lines of a block never have. `{city}` is a slot, filled from `slots.txt`; `{city2}` is another
filling of the same slot.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Family", "Meaning", "Slots", "fill", "read_families", "read_slots", "slot_names"]

_HERE = Path(__file__).parent
_SLOT = re.compile(r"\{(\w+)\}")

Slots = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Meaning:
    """One line."""

    kind: str
    """How it differs from the family's first meaning; empty for that one."""
    wordings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One block."""

    domain: str
    number: int
    meanings: tuple[Meaning, ...]


def read_slots(path: Path = _HERE / "slots.txt") -> Slots:
    """The fillings of each slot."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, fillings = line.partition(":")
        found[name] = [filling.strip() for filling in fillings.split("|")]
    return found


def read_families(folder: Path = _HERE / "families") -> list[Family]:
    """All families, by file and place.

    Raises:
        ValueError: a line or block that is none.
    """
    found = []
    for path in sorted(folder.glob("*.txt")):
        blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
        for number, block in enumerate(blocks):
            meanings = tuple(_meaning(line, path) for line in block.splitlines())
            if meanings[0].kind or len(meanings) < 2:
                raise ValueError(f"expected a first meaning and others in block {number} of {path.name}")
            found.append(Family(path.stem, number, meanings))
    return found


def _meaning(line: str, path: Path) -> Meaning:
    matched = re.fullmatch(r"=(?:(\w+):)? (.+)", line)
    if matched is None:
        raise ValueError(f"expected '=kind: wording | wording' in {path.name}, got {line!r}")
    wordings = tuple(wording.strip() for wording in matched[2].split("|"))
    if not all(wordings) or len(set(wordings)) < len(wordings):
        raise ValueError(f"expected wordings, each once, in {path.name}, got {line!r}")
    return Meaning(matched[1] or "", wordings)


def slot_names(*wordings: str) -> list[str]:
    """The slots of some wordings, in alphabetical order."""
    return sorted({name for wording in wordings for name in _SLOT.findall(wording)})


def fill(wording: str, fillings: Mapping[str, str]) -> str:
    """The wording with its slots filled."""
    return _SLOT.sub(lambda found: fillings[found[1]], wording)
