"""Phrases with slots, matched over the words of a sentence.

A phrase is words between spaces. Besides a word as it is:

    {name}         any phrase of the set of that name; {a|b} of either set
    ...            up to four words of any kind
    #              a word with four digits or more
    word? {name}?  the word or the set, or nothing
    ^              first of all: the phrase must open its sentence, but for words such as `please`
    $              last of all: the phrase must end its sentence

All phrases are merged into one automaton over words. Which of its places are reached at once is worked out
when it first happens and remembered, so that a word costs a look-up. Where a text keeps reaching new ones, a
word costs a step from each place reached, whose number the table bounds: linear in the text in any case.

Source: Thompson 1968, "Regular expression search algorithm", and the lazy subset construction after it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from binary_semantic_cache.errors import InvalidValueError

__all__ = ["Phrases", "Sets", "sentences_of"]

Sets: TypeAlias = Mapping[str, Sequence[str]]
"""Lists of phrases of plain words, by name."""

_GAP_WORDS = 4
_MOST_GAPS = 2
_MOST_PLACES = 12
_NUMBER_DIGITS = 4
"""Digits that make a word the number of something: an order, a ticket."""

# Then all is worked out anew: ten thousand questions reach about 3,000, a text made to fill the memory 20 MB.
_MOST_STATES = 4096
_OTHER_WORD, _OTHER_NUMBER = "", "#"

# A full stop inside a number or a name ends nothing, and the look-ahead keeps it so in linear time.
_TOKEN = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[.!?;](?=\s|$)|\n")
_ENDS = frozenset(".!?;\n")


def sentences_of(text: str) -> list[list[str]]:
    """The lower-cased words of each sentence of `text`."""
    sentences: list[list[str]] = [[]]
    for token in _TOKEN.findall(text.replace("\u2019", "'").lower()):
        if token not in _ENDS:
            sentences[-1].append(token)
        elif sentences[-1]:
            sentences.append([])
    return sentences


class Phrases:
    """Finds whose phrases a sentence holds.

    May be used by many threads.

    Args:
        labelled: phrases, by the label that they stand for.
        sets: what `{name}` stands for.
        openers: words that may stand before the first word that counts.

    Raises:
        InvalidValueError: a phrase is malformed or names no set.
    """

    def __init__(
        self, labelled: Mapping[str, Iterable[str]], sets: Sets, openers: Iterable[str] = ()
    ) -> None:
        self._anywhere, self._opening = _Node(), _Node()
        for label, phrases in labelled.items():
            for phrase in phrases:
                places = phrase.split()
                opens = places[:1] == ["^"]
                node = _compiled(places[1:] if opens else places, phrase, label, sets)
                (self._opening if opens else self._anywhere).merge(node)
        for word in openers:
            self._opening.words.setdefault(word, []).append(self._opening)
        self._known = self._anywhere.vocabulary() | self._opening.vocabulary()
        self._forget()

    def labels_of(self, sentence: Sequence[str]) -> frozenset[str]:
        """The labels of all phrases in `sentence`, a list of words as `sentences_of` gives them."""
        state = self._start
        for word in sentence:
            state = state.next.get(word) or self._step(state, word)
        return state.labels | state.labels_at_end

    def _forget(self) -> None:
        self._states: dict[tuple[frozenset[_Node], frozenset[str]], _State] = {}
        self._start = _State(frozenset((self._opening,)), frozenset())

    def _step(self, state: "_State", word: str) -> "_State":
        """The state after `word`, which is then found in `state.next`."""
        numbered = not word.isalpha() and sum(map(str.isdigit, word)) >= _NUMBER_DIGITS
        if word not in self._known:
            # Words that no phrase holds are all alike, so that they do not fill the tables.
            word = _OTHER_NUMBER if numbered else _OTHER_WORD
            if word in state.next:
                return state.next[word]
        nodes = set(self._anywhere.words.get(word, ()))
        for node in state.nodes:
            nodes.update(node.words.get(word, ()), node.any)
            if numbered:
                nodes.update(node.number)
        key = frozenset(nodes), state.labels.union(*(node.labels for node in nodes))
        after = self._states.get(key)
        if after is None:
            if len(self._states) >= _MOST_STATES:
                self._forget()
            after = self._states[key] = _State(*key)
        state.next[word] = after
        return after


class _Node:
    """A place between two words of a phrase: where the next word leads, and which labels are reached."""

    __slots__ = ("any", "labels", "labels_at_end", "number", "words")

    def __init__(self) -> None:
        self.words: dict[str, list[_Node]] = {}
        self.number: list[_Node] = []
        self.any: list[_Node] = []
        self.labels: frozenset[str] = frozenset()
        self.labels_at_end: frozenset[str] = frozenset()

    def merge(self, other: "_Node") -> None:
        """Makes this place do what `other` does as well."""
        for word, nodes in other.words.items():
            self.words.setdefault(word, []).extend(nodes)
        self.number += other.number
        self.any += other.any
        self.labels |= other.labels
        self.labels_at_end |= other.labels_at_end

    def vocabulary(self) -> set[str]:
        """All words that lead anywhere from here on."""
        words: set[str] = set()
        seen: set[_Node] = set()
        ahead = [self]
        while ahead:
            node = ahead.pop()
            if node not in seen:
                seen.add(node)
                words |= node.words.keys()
                ahead += [*node.number, *node.any, *(each for nodes in node.words.values() for each in nodes)]
        return words


class _State:
    """All places that the words so far lead to, at once, and the labels reached on the way."""

    __slots__ = ("labels", "labels_at_end", "next", "nodes")

    def __init__(self, nodes: frozenset[_Node], labels: frozenset[str]) -> None:
        self.nodes = nodes
        self.labels = labels
        self.labels_at_end = frozenset[str]().union(*(node.labels_at_end for node in nodes))
        self.next: dict[str, _State] = {}


def _compiled(places: list[str], phrase: str, label: str, sets: Sets) -> _Node:
    """The first node of a phrase, built from its last."""
    if not 0 < len(places) <= _MOST_PLACES or places.count("...") > _MOST_GAPS:
        raise InvalidValueError(
            f"expected 1 to {_MOST_PLACES} places and at most {_MOST_GAPS} gaps, got {phrase!r}"
        )
    node = _Node()
    if places[-1] == "$":
        places = places[:-1]
        node.labels_at_end = frozenset((label,))
    else:
        node.labels = frozenset((label,))
    for place in reversed(places):
        node = _before(node, place, phrase, sets)
    first = places[0] if places else ""
    if not first or first in ("...", "#") or first.endswith("?"):
        raise InvalidValueError(f"expected a phrase that begins with a word or a set, got {phrase!r}")
    return node


def _before(after: _Node, place: str, phrase: str, sets: Sets) -> _Node:
    """A node from which `place` leads to `after`."""
    node = _Node()
    if place == "...":
        node = after
        for _ in range(_GAP_WORDS):
            longer = _Node()
            longer.merge(after)
            longer.any.append(node)
            node = longer
        return node
    if place == "#":
        node.number.append(after)
        return node
    # Phrases of a set share their beginnings, so that "i" is one step and not one for each that begins so.
    inner: dict[tuple[str, ...], _Node] = {(): node}
    for words in _choices(place.removesuffix("?"), phrase, sets):
        for i, word in enumerate(words):
            begun, further = tuple(words[:i]), tuple(words[: i + 1])
            targets = inner[begun].words.setdefault(word, [])
            if len(further) == len(words):
                targets.append(after)
            elif further not in inner:
                inner[further] = _Node()
                targets.append(inner[further])
    if place.endswith("?"):
        node.merge(after)
    return node


def _choices(place: str, phrase: str, sets: Sets) -> list[list[str]]:
    """The phrases of plain words that a place stands for."""
    if not place.startswith("{"):
        choices = [place]
    else:
        names = place.removeprefix("{").removesuffix("}").split("|")
        unknown = [name for name in names if name not in sets]
        if unknown or not place.endswith("}"):
            raise InvalidValueError(f"expected the name of a set in {phrase!r}, got {place!r}")
        choices = [choice for name in names for choice in sets[name]]
    # Read as the text is read, so that a phrase that no text can hold is found here and not never.
    read = [sentences_of(choice) for choice in choices]
    said = [" ".join(word for sentence in sentences for word in sentence) for sentences in read]
    if said != choices or "" in said:
        raise InvalidValueError(f"expected lower-case words, got {place!r} in {phrase!r}")
    return [sentences[0] for sentences in read]
