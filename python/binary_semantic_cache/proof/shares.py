"""Shares with their intervals."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

__all__ = ["Point", "Share", "wilson"]

_Z95 = 1.959964
"""The normal distribution's 97.5 % quantile."""


def wilson(count: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` in `n`; everything is possible when `n` is 0.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = count / n, _Z95 * _Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    count: int
    n: int

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> "Share":
        """The share of true ones."""
        listed = list(outcomes)
        return cls(sum(listed), len(listed))

    @property
    def value(self) -> float:
        """0.0 to 1.0; 0.0 of none."""
        return self.count / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, of 95 %."""
        return wilson(self.count, self.n)


@dataclass(frozen=True, slots=True)
class Point:
    """What a decision did with a set of pairs."""

    served: Share
    """Of the pairs that one answer serves."""
    traps: Share
    """Of the pairs that it does not serve: wrong answers."""

    @property
    def precision(self) -> Share:
        """Of the answers given, those that were right."""
        return Share(self.served.count, self.served.count + self.traps.count)

    @property
    def hit_rate(self) -> Share:
        """Of all pairs, those that were given an answer."""
        return Share(self.served.count + self.traps.count, self.served.n + self.traps.n)
