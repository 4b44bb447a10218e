"""Two prompts on a terminal, what differs made plain, and keys for answers; or lines without a terminal."""

import os
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from typing import TextIO

from binary_semantic_cache.cli.shown import safe
from binary_semantic_cache.proof.candidates import Candidate
from binary_semantic_cache.proof.labelling import Labelling
from binary_semantic_cache.proof.pairs import Messages, last_text

__all__ = ["Screen", "marked", "run"]

_ANSWERS = {"s": "same", "d": "different", "k": "skip", " ": "skip", "u": "undo", "q": "quit"}
_QUESTION = "would the answer to the first be right for the second? [s]ame [d]ifferent s[k]ip [u]ndo [q]uit "
_MOST_CHARACTERS = 4_000
_TURNS = 4
_END = ("\x03", "\x04", "")
"""Ctrl-C, Ctrl-D and the end of the input."""


class Screen:
    """Where pairs are shown and answers come from.

    Args:
        keys: the standard input: single keys where it is a terminal, lines otherwise.
        out: the standard output: bold words where it is a terminal that shows them, brackets otherwise.
    """

    def __init__(self, keys: TextIO, out: TextIO) -> None:
        self._keys, self._out = keys, out
        self._is_terminal = keys.isatty() and _can_read_keys()
        plain = "NO_COLOR" in os.environ or os.environ.get("TERM") in (None, "", "dumb")
        self._marks = ("\x1b[1;7m", "\x1b[0m") if out.isatty() and not plain else ("[", "]")

    def show(self, candidate: Candidate, headline: str) -> None:
        """Prints the pair."""
        width = min(100, shutil.get_terminal_size().columns)
        a, b = marked(_shown(candidate.a), _shown(candidate.b), self._marks)
        self._print(f"\n{headline}")
        for name, side, text in (("1", candidate.a, a), ("2", candidate.b, b)):
            for line in _turns(side):
                self._print(textwrap.shorten(line, width, placeholder=" ..."))
            self._print(_wrapped(text, width, f"{name}  ", self._marks))

    def say(self, line: str) -> None:
        """Prints a line."""
        self._print(line)

    def answer(self) -> str:
        """What was answered: same, different, skip, undo or quit; asks again for anything else."""
        while True:
            self._out.write(_QUESTION)
            self._out.flush()
            given = self._key() if self._is_terminal else self._line()
            if given in _END:
                self._print("")
                return "quit"
            found = _ANSWERS.get(given) or (given if given in _ANSWERS.values() else None)
            self._print(found or "")
            if found is not None:
                return found

    def _line(self) -> str:
        line = self._keys.readline()
        return line.strip().lower() or " " * bool(line.strip("\n")) or ("?" if line else "")

    def _key(self) -> str:
        with _single_keys(self._keys.fileno()):
            return os.read(self._keys.fileno(), 1).decode("ascii", "replace").lower()

    def _print(self, line: str) -> None:
        self._out.write(f"{line}\n")


def run(labelling: Labelling, screen: Screen) -> None:
    """Goes through the pairs until all have a label or somebody quits."""
    if labelling.resumed:
        screen.say(f"{labelling.resumed:,} of {labelling.total:,} have a label already")
    while (candidate := labelling.current) is not None:
        screen.show(candidate, _headline(labelling))
        answer = screen.answer()
        if answer == "quit":
            break
        if answer == "undo":
            if not labelling.undo():
                screen.say("there is nothing to undo")
        elif answer == "skip":
            labelling.skip()
        else:
            labelling.label(same=answer == "same")
    different = labelling.labelled - labelling.same
    screen.say(
        f"\n{labelling.labelled:,} of {labelling.total:,} labelled: {labelling.same:,} same, "
        f"{different:,} different; {labelling.skipped:,} skipped"
    )


def marked(a: str, b: str, marks: tuple[str, str]) -> tuple[str, str]:
    """Both texts, the words that only one of them has at that place between marks."""
    words = [re.findall(r"\S+", text) for text in (a, b)]
    folded = [[word.casefold().strip(".,;:!?\"'()") for word in side] for side in words]
    matcher = SequenceMatcher(None, folded[0], folded[1], autojunk=False)
    shown: tuple[list[str], list[str]] = ([], [])
    for what, a_from, a_to, b_from, b_to in matcher.get_opcodes():
        for side, part in zip(shown, (words[0][a_from:a_to], words[1][b_from:b_to]), strict=True):
            side += part if what == "equal" else [f"{marks[0]}{word}{marks[1]}" for word in part]
    return " ".join(shown[0]), " ".join(shown[1])


def _headline(labelling: Labelling) -> str:
    parts = [f"pair {labelling.labelled + labelling.skipped + 1:,} of {labelling.total:,}"]
    parts.append(f"{labelling.labelled:,} labelled")
    if labelling.seconds_each is not None:
        left = labelling.seconds_each * (labelling.total - labelling.labelled - labelling.skipped)
        parts.append(f"{labelling.seconds_each:.0f} s each, some {max(1, round(left / 60))} min left")
    candidate = labelling.current
    if candidate is not None and candidate.similarity is not None:
        parts.append(f"cosine {candidate.similarity:.3f}")
    return "-- " + ", ".join(parts)


def _shown(side: str | Messages) -> str:
    return safe(last_text(side), _MOST_CHARACTERS)


def _turns(side: str | Messages) -> Iterator[str]:
    """The last turns before the last message of a conversation."""
    if isinstance(side, str):
        return
    before: Sequence[dict[str, object]] = side[:-1]
    if len(before) > _TURNS:
        yield f"   ({len(before) - _TURNS:,} messages before)"
    for message in before[-_TURNS:]:
        content = message.get("content")
        said = safe(content, 400) if isinstance(content, str) else "..."
        yield f"   {safe(str(message.get('role')), 12)}: {said}"


def _wrapped(text: str, width: int, first: str, marks: tuple[str, str]) -> str:
    """Lines of `width` characters behind `first`; escape sequences take no place."""
    unseen = len(marks[0]) + len(marks[1]) if marks[0].startswith("\x1b") else 0
    lines: list[list[str]] = [[]]
    used = len(first)
    for word in text.split():
        length = len(word) - (unseen if word.startswith(marks[0]) else 0)
        if lines[-1] and used + length > width:
            lines.append([])
            used = len(first)
        lines[-1].append(word)
        used += length + 1
    indent = " " * len(first)
    return "\n".join((indent if i else first) + " ".join(line) for i, line in enumerate(lines))


def _can_read_keys() -> bool:
    try:
        import termios  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def _single_keys(terminal: int) -> Iterator[None]:
    """Keys come one by one and are not echoed; the terminal is put back whatever happens."""
    import termios
    import tty

    before = termios.tcgetattr(terminal)
    try:
        # cbreak, not raw: Ctrl-C and Ctrl-Z go on working.
        tty.setcbreak(terminal, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
