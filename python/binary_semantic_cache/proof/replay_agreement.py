"""Whether the answer that a hit would have served is the one that was given: labels, or the answers' texts.

Without labels this is a stand-in. Two answers may differ in words and both be right, and a wrong answer may
share most words with the right one; so the shares that come of it are for comparing thresholds on one log.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.text.vectors import unit

__all__ = ["MEASURES", "Agreement", "Measure", "agreement_named", "token_overlap"]

Measure = Literal["exact", "tokens", "embedding"]
Agreement = Callable[[str, str], bool]
"""Whether two answers say the same."""

MEASURES: Mapping[str, float] = {"exact": 1.0, "tokens": 0.6, "embedding": 0.85}
"""From which value on two answers count as the same. Conventions, not calibrated ones: a share of words
that is rarely reached by chance, and a cosine near which `docs/quality.md` has paraphrases."""
_WORD = re.compile(r"\w+")
_MOST_CHARACTERS = 1000
"""Of an answer that is embedded: about as much as the local model's window holds."""


def agreement_named(name: str, embedder: Embedder, least: float | None = None) -> Agreement:
    """What tells whether two answers agree.

    Args:
        name: `exact`, equal but for case, punctuation and white space; `tokens`, `token_overlap`;
            `embedding`, the cosine of the beginnings' embeddings.
        embedder: for `embedding`.
        least: from which value on; `None` for that of `MEASURES`.

    Raises:
        InvalidValueError: there is no such measure, or `least` is not between 0 and 1.
    """
    if name not in MEASURES:
        raise InvalidValueError(f"expected an agreement of {', '.join(MEASURES)}, got {name!r}")
    needed = MEASURES[name] if least is None else least
    if not 0.0 < needed <= 1.0:
        raise InvalidValueError(f"expected an agreement above 0 and up to 1, got {needed}")

    def alike(a: str, b: str) -> float:
        if _words(a) == _words(b):
            return 1.0
        if name == "exact":
            return 0.0
        if name == "tokens":
            return token_overlap(a, b)
        first, second = (unit(row) for row in embedder.embed([a[:_MOST_CHARACTERS], b[:_MOST_CHARACTERS]]))
        return float(first @ second)

    return lambda a, b: alike(a, b) >= needed


def token_overlap(a: str, b: str) -> float:
    """The harmonic mean of the shares of words, counted with repeats, that each text has in common.

    Source: Rajpurkar et al. 2016, SQuAD, section 6.1, "F1 score".
    """
    first, second = Counter(_words(a)), Counter(_words(b))
    common = sum((first & second).values())
    return 2 * common / (first.total() + second.total()) if common else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
