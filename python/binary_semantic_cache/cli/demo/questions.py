"""The questions of the demonstration, read from `questions.json` beside this file."""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

__all__ = ["Asked", "Kind", "Questions", "Stored", "load"]

Kind = Literal["paraphrase", "unrelated", "trap"]


@dataclass(frozen=True, slots=True)
class Stored:
    """A question that goes into the cache, with its answer."""

    id: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question asked of the cache; `target` is the stored question whose answer is right, if there is one.

    A trap `resembles` a stored question but needs another answer; `because` says in a few words why.
    """

    kind: Kind
    question: str
    target: str | None = None
    resembles: str | None = None
    because: str | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """All questions of the demonstration, on one subject."""

    subject: str
    stored: tuple[Stored, ...]
    asked: tuple[Asked, ...]


def load() -> Questions:
    """The questions to store and to ask: paraphrases first, then unrelated ones, then traps."""
    data = json.loads((files(__package__) / "questions.json").read_text(encoding="utf-8"))
    asked = [Asked("paraphrase", row["question"], target=row["target"]) for row in data["paraphrases"]]
    asked += [Asked("unrelated", question) for question in data["unrelated"]]
    asked += [
        Asked("trap", row["question"], resembles=row["resembles"], because=row["because"])
        for row in data["traps"]
    ]
    return Questions(data["subject"], tuple(Stored(**row) for row in data["questions"]), tuple(asked))
