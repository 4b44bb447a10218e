"""How many wrong answers are borne, and what happens when there are more: `Budget`, `LiveBudget`.

A share of the semantic hits is made anew and judged. From the counts follow bounds of the share of wrong hits
that hold at all times at once (`confidence.py`). When the lower bound of a class passes the budget, it is
plain that the class costs too much: from then on meaning answers nothing in it, until somebody resets it.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, Final

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.text.canonical import JSON
from binary_semantic_cache.text.confidence import interval
from binary_semantic_cache.text.judging import AnswerJudge, same_answer
from binary_semantic_cache.text.ledger import Ledger
from binary_semantic_cache.text.request import Request

__all__ = ["Budget", "BudgetClass", "LiveBudget", "opened_ledger"]

_logger = logging.getLogger(__name__)

_MOST_CLASSES: Final = 64
_OTHER: Final = "other"
_NAME_LENGTH: Final = 64


def _by_model(prompt: str | Request, scope: JSON) -> str:
    """The model of the request; the same for all that name none."""
    return (prompt.model if isinstance(prompt, Request) else None) or "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is borne, and how it is watched.

    Raises:
        InvalidTypeError, InvalidValueError: a value has the wrong type or is out of range.
    """

    max_wrong: float = 0.02
    """Share of semantic hits that may be wrong, above 0 and below 1."""
    sample: float = 0.05
    """Share of semantic hits that is judged, above 0 and at most 1."""
    judge: AnswerJudge = same_answer
    """Whether a kept answer is right, given one that was made anew. The one that comes with the package suits
    answers that leave no choice of words."""
    ask: Callable[[str | Request], Any] | None = None
    """Makes an answer anew, in the background, after the hit was served. Without it a hit that is sampled is
    not served: it is a miss with the reason `audit`, and the answer that is then put is judged."""
    per_minute: float = 60.0
    """Most answers made anew and judged in a minute, in this process."""
    confidence: float = 0.95
    """Chance that the bounds of a class never miss its share of wrong hits."""
    class_of: Callable[[str | Request, JSON], str] = _by_model
    """Called with prompt and scope: the class that a request is counted in. At most 64 are told apart."""
    path: str | PathLike[str] | None = None
    """File of the counts; `None` for one beside the cache's own, or memory for a cache that has none."""
    seed: int | None = None
    """Of the sample; `None` for another one each time."""

    def __post_init__(self) -> None:
        for name, most in (("max_wrong", 1.0), ("sample", 1.0), ("per_minute", 1e6)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidTypeError(f"expected {name} as a number, got {type(value).__name__}")
            if not 0.0 < value <= most:
                raise InvalidValueError(f"expected {name} above 0 and at most {most:g}, got {value}")
        if self.per_minute < 1.0:
            raise InvalidValueError(f"expected per_minute of at least 1, got {self.per_minute}")
        for name in ("judge", "class_of", *(["ask"] if self.ask is not None else [])):
            if not callable(getattr(self, name)):
                raise InvalidTypeError(f"expected a function for {name}, got {getattr(self, name)!r}")
        interval(0, 0, self.confidence)


@dataclass(frozen=True, slots=True)
class BudgetClass:
    """What is known of one class of requests."""

    judged: int
    wrong: int
    low: float
    """Lower bound of its share of wrong hits."""
    high: float
    stopped: bool
    """Meaning answers nothing in it until it is reset."""


def opened_ledger(budget: Budget, cache: object) -> Ledger:
    """The counts of a budget.

    Args:
        budget: names their file, perhaps.
        cache: what the cache was made of; if that is a path, the counts lie beside it.

    Raises:
        StoreError: the file is there but is none of these.
    """
    if budget.path is not None:
        return Ledger(budget.path)
    return Ledger(f"{fspath(cache)}.budget" if isinstance(cache, str | PathLike) else None)


class LiveBudget:
    """Counts what was judged, and stops classes.

    Args:
        budget: what is borne.
        ledger: where it is counted.
    """

    def __init__(self, budget: Budget, ledger: Ledger) -> None:
        self._budget = budget
        self._ledger = ledger
        self._chance = random.Random(budget.seed)

    @property
    def settings(self) -> Budget:
        """As given."""
        return self._budget

    def classes(self) -> dict[str, BudgetClass]:
        """Each class that was judged."""
        found = {}
        for name, tally in self._ledger.all().items():
            low, high = interval(tally.wrong, tally.judged, self._budget.confidence)
            found[name] = BudgetClass(tally.judged, tally.wrong, low, high, tally.stopped)
        return found

    def reset(self, name: str) -> None:
        """Serves a class again and counts it from nothing: say what was changed before this.

        Raises:
            StoreError: the file of the counts could not be written.
        """
        self._ledger.reset(name)
        _logger.warning("the budget of class %r was reset", name)

    def class_of(self, prompt: str | Request, scope: JSON) -> str:
        """The class of a request; `other` beyond 64 of them, or where the caller's function failed."""
        try:
            name = self._budget.class_of(prompt, scope)
        except Exception as exc:
            _logger.warning("the class of a request could not be told: %s", type(exc).__name__)
            return _OTHER
        if not isinstance(name, str) or not name or len(name) > _NAME_LENGTH:
            return _OTHER
        known = self._ledger.all()
        return name if name in known or len(known) < _MOST_CLASSES else _OTHER

    def is_stopped(self, name: str) -> bool:
        """Whether meaning answers nothing in this class."""
        tally = self._ledger.all().get(name)
        return tally is not None and tally.stopped

    def draws(self) -> bool:
        """Whether this hit is in the sample."""
        return self._chance.random() < self._budget.sample

    def judged(self, name: str, *, right: bool) -> None:
        """Counts a judged hit, and stops its class if its lower bound is over the budget."""
        tally = self._ledger.add(name, wrong=not right)
        low, high = interval(tally.wrong, tally.judged, self._budget.confidence)
        if low > self._budget.max_wrong and not tally.stopped:
            self._ledger.stop(name)
            _logger.warning(
                "class %r is answered by exact matches only: of %d judged hits %d were wrong, "
                "a share of %.4f to %.4f where %.4f is borne",
                name,
                tally.judged,
                tally.wrong,
                low,
                high,
                self._budget.max_wrong,
            )
