"""The same pairs as other hands would type them: in lower case, with words misspelt."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from binary_semantic_cache.proof.pairs import Messages, Pair

__all__ = ["AS_WRITTEN", "INPUTS", "MISSPELT_SHARE", "misspelt", "typed"]

MISSPELT_SHARE = 0.10
"""Of the words that are long enough to be misspelt and still known."""

_WORD = re.compile(r"[A-Za-z]{4,}")
_WAYS = ("swapped", "dropped", "doubled")


def misspelt(text: str, draw: Random, share: float = MISSPELT_SHARE) -> str:
    """The text with one letter wrong in some of its words of four letters or more.

    In such a word two neighbouring letters are swapped, one is dropped or one is doubled, each a third of the
    time; its first letter stays. Numbers, short words and all that is no letter are left alone.

    Args:
        text: a prompt.
        draw: where chance comes from.
        share: the probability that a word is hit, 0.0 to 1.0.
    """
    return _WORD.sub(lambda found: _wrong(found[0], draw) if draw.random() < share else found[0], text)


def _wrong(word: str, draw: Random) -> str:
    at, way = draw.randrange(1, len(word) - 1), draw.choice(_WAYS)
    if way == "dropped":
        return word[:at] + word[at + 1 :]
    if way == "doubled":
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _same(text: str, draw: Random) -> str:
    del draw
    return text


def _lowered(text: str, draw: Random) -> str:
    del draw
    return text.lower()


AS_WRITTEN = "as written"

INPUTS: Mapping[str, Callable[[str, Random], str]] = {
    AS_WRITTEN: _same,
    "in lower case": _lowered,
    f"{MISSPELT_SHARE:.0%} of words misspelt": misspelt,
}
"""How a text is typed, by name."""


def typed(pairs: Sequence[Pair], name: str) -> Iterator[Pair]:
    """The pairs with both sides typed in one of the `INPUTS`; the same each time.

    Each side has errors of its own: who asks again does not repeat them.
    """
    change = INPUTS[name]
    for pair in pairs:
        a, b = (
            _changed(side, change, Random(f"{pair.id} {place}"))
            for place, side in (("a", pair.a), ("b", pair.b))
        )
        yield Pair(pair.id, a, b, pair.same, pair.category)


def _changed(side: str | Messages, change: Callable[[str, Random], str], draw: Random) -> str | Messages:
    if isinstance(side, str):
        return change(side, draw)
    return [message | {"content": change(message["content"], draw)} for message in side]
