"""The same question as another hand would type it: typing errors, small words, no capitals."""

import re
from collections.abc import Callable
from random import Random

__all__ = ["careless", "rewritten"]

_CONTRACTIONS = (
    ("what is", "what's"),
    ("how do i", "how can i"),
    ("can i", "may i"),
    ("is not", "isn't"),
    ("do not", "don't"),
    ("i am", "i'm"),
    ("where is", "where's"),
    ("who is", "who's"),
    ("how do i", "how would i"),
    ("how much is", "how much would be"),
    ("cannot", "can't"),
    ("i want to", "i'd like to"),
    ("does not", "doesn't"),
    ("what are the", "which are the"),
)
_OPENINGS = (
    "Hi, {}", "Hello! {}", "quick question: {}", "Please tell me: {}", "um, {}", "so {}", "ok so {}",
    "I was wondering, {}", "Just asking: {}", "Hey, {}", "Could you help? {}", "Sorry, {}",
)  # fmt: skip
_ENDINGS = (
    " please",
    " please?",
    " thanks",
    ", thank you",
    "??",
    "...",
    "!",
    " pls",
    ", please help",
    " - any idea?",
)


def rewritten(text: str, draw: Random) -> str:
    """The text with one or two changes that leave its meaning alone; never the same text.

    Args:
        text: a prompt.
        draw: where chance comes from.
    """
    ways: list[Callable[[str, Random], str]] = [
        _typo, _typo, _contracted, _contracted, _opened, _ended, _lowered, _unpunctuated, _stuttered
    ]  # fmt: skip
    changed = text
    for way in draw.sample(ways, draw.choice((1, 1, 2))):
        changed = way(changed, draw)
    return changed if changed != text else _ended(text, draw)


def careless(text: str, draw: Random) -> str:
    """The text as it is, or in lower case, without its question mark or with a typing error, by chance."""
    if draw.random() < 0.15:
        text = _lowered(text, draw)
    if draw.random() < 0.12:
        text = _unpunctuated(text, draw)
    if draw.random() < 0.06:
        text = _typo(text, draw)
    return text


def _typo(text: str, draw: Random) -> str:
    words = [found for found in re.finditer(r"\b[a-zA-Z]{5,}\b", text) if not found[0].isupper()]
    if not words:
        return text
    found = draw.choice(words)
    word = found[0]
    at = draw.randrange(1, len(word) - 1)
    way = draw.randrange(4)
    if way == 0:
        word = word[:at] + word[at + 1 :]
    elif way == 1:
        word = word[:at] + word[at] + word[at:]
    elif way == 2 and word[at] != word[at + 1]:
        word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    else:
        word = word[:at] + draw.choice("aeiourstln") + word[at + 1 :]
    return text[: found.start()] + word + text[found.end() :]


def _contracted(text: str, draw: Random) -> str:
    low = text.lower()
    fitting = [(old, new) for old, new in _CONTRACTIONS if old in low]
    if not fitting:
        return text
    old, new = draw.choice(fitting)
    at = low.index(old)
    new = new.capitalize() if text[at].isupper() else new
    return text[:at] + re.sub(r"\bi\b", "I", new) + text[at + len(old) :]


def _opened(text: str, draw: Random) -> str:
    starts_with_name = text[:1] == "I" or text[1:2].isupper()
    return draw.choice(_OPENINGS).format(text if starts_with_name else text[:1].lower() + text[1:])


def _ended(text: str, draw: Random) -> str:
    return text.rstrip("?.!") + draw.choice(_ENDINGS)


def _lowered(text: str, draw: Random) -> str:
    del draw
    return text.lower()


def _unpunctuated(text: str, draw: Random) -> str:
    del draw
    return re.sub(r"[?!,]|\.$", "", text)


def _stuttered(text: str, draw: Random) -> str:
    words = text.split(" ")
    at = draw.randrange(1, len(words)) if len(words) > 1 else 0
    return " ".join(
        [*words[:at], draw.choice(("um", "uh", "like", "actually", "exactly", "just")), *words[at:]]
    )
