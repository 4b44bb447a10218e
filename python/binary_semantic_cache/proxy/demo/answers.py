"""What the demo's model says: a few things it knows, and of everything else that it does not."""

import re
from collections.abc import Iterator

__all__ = ["answer_to", "n_tokens", "pieces"]

_MARK = "[demo model]"
"""In front of every answer, so that nobody takes one for a real model's."""

_KNOWN: tuple[tuple[str, str], ...] = (
    (
        "undo last latest commit git",
        "`git reset --soft HEAD~1` takes the last commit back and keeps its changes staged. If others have "
        "it, `git revert HEAD` makes a new commit that undoes it.",
    ),
    (
        "undo last latest merge git",
        "`git reset --hard ORIG_HEAD` right after the merge goes back to where the branch was; a merge that "
        "was pushed is undone by `git revert -m 1 MERGE`.",
    ),
    (
        "rename branch git",
        "`git branch -m NEW` renames the branch that is checked out, `git branch -m OLD NEW` another one.",
    ),
    (
        "reset change password forgot",
        "Follow the link on the sign-in page; it sends a message with a link to set a new one.",
    ),
    ("capital france", "The capital of France is Paris."),
    ("capital australia", "The capital of Australia is Canberra."),
    (
        "water boil boiling temperature",
        "At sea level water boils at 100 degrees Celsius, which is 212 Fahrenheit.",
    ),
    (
        "photosynthesis plants light",
        "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen; in plants it happens in "
        "the chloroplasts.",
    ),
    (
        "leap year",
        "A year is a leap year if 4 divides it, unless 100 does; but if 400 does, it is one all the same.",
    ),
    (
        "semantic cache",
        "A semantic cache keeps answers and finds them again when the same question comes in other words.",
    ),
)
_LEAST_SHARED = 2


def answer_to(question: str) -> str:
    """The demo's answer: the same for the same question, always."""
    words = set(re.findall(r"\w+", question.lower()))
    shared, known = max(
        ((len(words & set(topic.split())), text) for topic, text in _KNOWN), key=lambda it: it[0]
    )
    if shared >= _LEAST_SHARED:
        return f"{_MARK} {known}"
    said = " ".join(question.split())
    said = said if len(said) <= 200 else f"{said[:200]}..."
    return (
        f'{_MARK} You asked: "{said}" This model is part of the demo and knows next to nothing: it answers '
        "any question in these words, after some time, as a model would. Ask again: that is worth watching."
    )


def pieces(text: str) -> Iterator[str]:
    """`text` as a model streams it: a word at a time, with the blank in front of it."""
    yield from re.findall(r"\s*\S+|\s+", text)


def n_tokens(text: str) -> int:
    """Tokens as the demo counts them: words and marks."""
    return max(1, len(re.findall(r"\w+|[^\w\s]", text)))
