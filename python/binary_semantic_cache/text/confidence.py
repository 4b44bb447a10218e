"""How large a share can be, judged from a sample that is looked at after each draw.

An interval from a table of binomials holds for one look. Who looks after each draw, and acts at the first
look that is bad enough, needs one that holds at all of them at once: a confidence sequence. This one is a
bet: against each share `p`, a player stakes a part of the purse on each draw; if no draw has a greater
chance than `p`, the purse is not expected to grow, so it passes `1 / alpha` at any time with a chance of at
most `alpha`. The shares at which it passed are ruled out. The purse is spread over a fixed grid of bets, so
that it follows from two counts alone, and may be taken up by any process that has them.

Draws need not be alike: the lower bound supposes no more than that each chance is at most `p`, the upper one
that each is at least `p`.

Source: Waudby-Smith, Ramdas 2024, Estimating means of bounded random variables by betting, section 4;
the mixture is Robbins 1970, Statistical methods related to the law of the iterated logarithm, section 4.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import InvalidValueError

__all__ = ["interval"]

_POINTS: Final = 240
_LEAST_LOGIT: Final = 8.0
"""The grid goes from a share of 0.0003 to its counterpart, evenly in log-odds: fine where shares are
small."""

_GRID: Final[NDArray[np.float64]] = 1.0 / (1.0 + np.exp(-np.linspace(-_LEAST_LOGIT, _LEAST_LOGIT, _POINTS)))
_LOG_GRID, _LOG_REST = np.log(_GRID), np.log1p(-_GRID)


@lru_cache(maxsize=4096)
def interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of the share of which `count` were seen in `n` draws, good at all times at once.

    Args:
        count: draws that were so, 0 to `n`.
        n: draws.
        confidence: chance that no interval of the whole sequence misses the share, above 0.5 and below 1.

    Raises:
        InvalidValueError: an argument is out of range.
    """
    if not 0 <= count <= n:
        raise InvalidValueError(f"expected a count from 0 to {n}, got {count}")
    if not 0.5 < confidence < 1.0:
        raise InvalidValueError(f"expected confidence above 0.5 and below 1, got {confidence}")
    needed = math.log(2.0 / (1.0 - confidence))
    likelihood = count * _LOG_GRID + (n - count) * _LOG_REST
    above = _ruled_out(likelihood, needed)
    below = _ruled_out(likelihood[::-1], needed)
    low = float(_GRID[above - 1]) if above else 0.0
    high = float(_GRID[_POINTS - below]) if below else 1.0
    return low, high


def _ruled_out(likelihood: NDArray[np.float64], needed: float) -> int:
    """How many shares from the grid's first on are too small, by bets on all greater ones."""
    # The purse against share i: the mean over the bets j > i of the likelihood ratio; the rest is not staked.
    greater = np.logaddexp.accumulate(likelihood[::-1])[::-1]
    gained = np.full(_POINTS, -np.inf)
    gained[:-1] = greater[1:] - likelihood[:-1] - math.log(_POINTS)
    idle = np.log(np.arange(1, _POINTS + 1) / _POINTS)
    passed = np.logaddexp(gained, idle) >= needed
    return _POINTS if passed.all() else int(np.argmin(passed))
