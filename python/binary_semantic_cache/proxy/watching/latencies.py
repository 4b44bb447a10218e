"""Quantiles of times that cannot all be kept.

A time is counted in one of the buckets whose bounds grow by a fixed factor, so that any quantile is read off
with a fixed relative error, and the counts of two minutes or two processes are simply added. Source: Masson,
Rim, Lee 2019, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees",
section 2.
"""

import math
from collections import Counter

__all__ = ["RELATIVE_ERROR", "Latencies"]

RELATIVE_ERROR = 0.02
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
_LEAST_SECONDS = 1e-7
_MOST_SECONDS = 1e6


class Latencies:
    """Times in seconds, from 100 ns to some days; those outside count as the nearest inside.

    At most 750 buckets, whatever is added.
    """

    __slots__ = ("_counts", "n")

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.n = 0
        """How many times were added."""

    def add(self, seconds: float) -> None:
        """Counts one time; what is no number is left out."""
        if math.isnan(seconds):
            return
        inside = min(max(seconds, _LEAST_SECONDS), _MOST_SECONDS)
        self._counts[math.ceil(math.log(inside) / _LOG_GAMMA)] += 1
        self.n += 1

    def merge(self, other: "Latencies") -> None:
        """Counts all that `other` counted."""
        self._counts.update(other._counts)
        self.n += other.n

    def quantile(self, q: float) -> float | None:
        """The time that a share `q` of all do not exceed, within 2 per cent; `None` before the first.

        Args:
            q: 0.0 to 1.0. The rank is `ceil(q * n)`, at least 1.
        """
        rank = max(1, math.ceil(q * self.n))
        below = 0
        for bucket in sorted(self._counts):
            below += self._counts[bucket]
            if below >= rank:
                # The middle, in the sense of relative error, of (gamma^(b-1), gamma^b].
                return 2 * _GAMMA**bucket / (_GAMMA + 1)
        return None
