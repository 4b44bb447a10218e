"""Draws labelled pairs from the families. The same families give the same pairs, on every machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from random import Random
from typing import TypeVar

from training.judge.families import Family, Slots, fill, slot_names
from training.judge.perturbing import careless, rewritten

__all__ = ["TrainingPair", "draw_pairs", "texts_of"]

_Row = TypeVar("_Row")

_FILLINGS = 4
_SAME, _OTHER, _SWAPPED, _NEAR = 14, 14, 6, 5
_NUMERIC = {
    "n", "n2", "age", "age2", "percent", "big", "year", "century", "month", "weekday", "hour", "v", "status",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """Two prompts, and whether they have one answer."""

    domain: str
    family: str
    category: str
    a: str
    b: str
    same: bool


def draw_pairs(families: Sequence[Family], slots: Slots) -> list[TrainingPair]:
    """Pairs of each family, in the order of the families.

    Args:
        families: where wordings come from.
        slots: fillings.
    """
    found: list[TrainingPair] = []
    for family in families:
        draw = Random(f"{family.domain} {family.meanings[0].wordings[0]}")
        for category, a, b, same in _drawn(family, slots, draw):
            a, b = careless(a, draw), careless(b, draw)
            if draw.random() < 0.5:
                a, b = b, a
            if a != b:
                name = f"{family.domain} {family.number}"
                found.append(TrainingPair(family.domain, name, category, a, b, same))
    return found


def texts_of(family: Family, slots: Slots) -> list[tuple[int, str]]:
    """One filling of every wording, with the place of its meaning, for neighbours of other families."""
    draw = Random(f"neighbours of {family.domain} {family.number}")
    fillings = _fillings(family, slots, draw)
    return [
        (place, fill(wording, fillings))
        for place, meaning in enumerate(family.meanings)
        for wording in meaning.wordings
    ]


def _drawn(family: Family, slots: Slots, draw: Random) -> Iterator[tuple[str, str, str, bool]]:
    """Category, two texts, and whether they are the same."""
    filled = [_fillings(family, slots, draw) for _ in range(_FILLINGS)]
    names = slot_names(*(wording for meaning in family.meanings for wording in meaning.wordings))
    if not names:
        filled = filled[:1]
    same = [
        (fill(x, fillings), fill(y, fillings))
        for fillings in filled
        for meaning in family.meanings
        for x, y in combinations(meaning.wordings, 2)
    ]
    for a, b in _some(same, _SAME, draw):
        yield "paraphrase", a, b, True
    other = [
        (second.kind or first.kind, fill(x, fillings), fill(y, fillings))
        for fillings in filled
        for first, second in combinations(family.meanings, 2)
        for x, y in product(first.wordings, second.wordings)
    ]
    for kind, a, b in _some(other, _OTHER, draw):
        yield kind, a, b, False
    for kind, a, b in _some(list(_swaps(family, filled, slots, names, draw)), _SWAPPED, draw):
        yield kind, a, b, False
    for _ in range(_NEAR):
        meaning = draw.choice(family.meanings)
        text = fill(draw.choice(meaning.wordings), draw.choice(filled))
        yield "near_repeat", text, rewritten(text, draw), True


def _swaps(
    family: Family, filled: Sequence[dict[str, str]], slots: Slots, names: Sequence[str], draw: Random
) -> Iterator[tuple[str, str, str]]:
    """The same meaning with one slot filled otherwise."""
    for fillings, name, meaning in product(filled, names, family.meanings):
        having = [wording for wording in meaning.wordings if name in slot_names(wording)]
        if not having:
            continue
        taken = set(fillings.values())
        left = [filling for filling in slots[_base(name, slots)] if filling not in taken]
        if left:
            x, y = draw.choice(having), draw.choice(having)
            kind = "number" if name in _NUMERIC else "entity"
            yield kind, fill(x, fillings), fill(y, fillings | {name: draw.choice(left)})


def _fillings(family: Family, slots: Slots, draw: Random) -> dict[str, str]:
    """A filling for each slot, no two alike."""
    found: dict[str, str] = {}
    for name in slot_names(*(wording for meaning in family.meanings for wording in meaning.wordings)):
        left = [filling for filling in slots[_base(name, slots)] if filling not in found.values()]
        found[name] = draw.choice(left)
    return found


def _base(name: str, slots: Slots) -> str:
    return name if name in slots else name.removesuffix("2")


def _some(rows: list[_Row], most: int, draw: Random) -> list[_Row]:
    return rows if len(rows) <= most else draw.sample(rows, most)
