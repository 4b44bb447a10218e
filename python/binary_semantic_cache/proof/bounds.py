"""Exact bounds of a share from a few labels, without SciPy.

The upper Clopper-Pearson bound of `k` in `n` is the share `p` at which `k` or fewer of `n` would be seen with
probability `1 - confidence`: the quantile of Beta(k + 1, n - k). Whatever the true share is, the bound lies
below it in at most `1 - confidence` of all samples.
Source: Clopper and Pearson 1934, The use of confidence or fiducial limits illustrated in the case of the
binomial.
"""

import math

from binary_semantic_cache.errors import InvalidValueError

__all__ = ["at_most", "labels_needed", "upper_bound"]

_HALVINGS = 60
_MOST_LABELS = 2**40


def at_most(k: int, n: int, p: float) -> float:
    """The probability that `k` or fewer of `n` independent draws succeed, each with probability `p`."""
    if k >= n or p <= 0.0:
        return 1.0
    if k < 0 or p >= 1.0:
        return 0.0
    log_term = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(p)
        + (n - k) * math.log1p(-p)
    )
    # Downward from `k`, in units of the term of `k`: below the mean each term is smaller than the one before.
    odds, mean = (1.0 - p) / p, n * p
    total = term = 1.0
    for j in range(k, 0, -1):
        term *= j / (n - j + 1) * odds
        total += term
        if j < mean and term < total * 1e-17:
            break
        if total > 1e250:  # `k` lies so far above the mean that all the probability is here
            return 1.0
    return min(1.0, math.exp(log_term + math.log(total)))


def upper_bound(k: int, n: int, confidence: float) -> float:
    """The one-sided upper bound of a share of which `k` in `n` were seen; 1.0 of none.

    Args:
        k: how many were seen, 0 to `n`.
        n: among how many.
        confidence: such as 0.95.

    Raises:
        InvalidValueError: an argument is out of range.
    """
    if not 0 <= k <= n:
        raise InvalidValueError(f"expected 0 to {n} of {n}, got {k}")
    rest = 1.0 - _checked(confidence, "confidence")
    if k == n:
        return 1.0
    if k == 0:
        return -math.expm1(math.log(rest) / n)
    low, high = k / n, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if at_most(k, n, middle) > rest:
            low = middle
        else:
            high = middle
    return high


def labels_needed(k: int, budget: float, confidence: float) -> int:
    """The fewest labels with `k` wrong among them whose upper bound is within `budget`.

    With none wrong it is `ln(1 - confidence) / ln(1 - budget)`, rounded up.

    Raises:
        InvalidValueError: `budget` or `confidence` is not between 0 and 1.
    """
    rest = 1.0 - _checked(confidence, "confidence")
    _checked(budget, "budget")
    low, high = k, max(1, 2 * k)
    while at_most(k, high, budget) > rest:
        low, high = high, 2 * high
        if high > _MOST_LABELS:
            raise InvalidValueError(f"expected a budget that labels can prove, got {budget}")
    while high - low > 1:
        middle = (low + high) // 2
        if at_most(k, middle, budget) > rest:
            low = middle
        else:
            high = middle
    return high


def _checked(value: float, name: str) -> float:
    if not 0.0 < value < 1.0:
        raise InvalidValueError(f"expected a {name} between 0 and 1, got {value}")
    return value
