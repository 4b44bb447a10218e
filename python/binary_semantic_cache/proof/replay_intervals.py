"""Two-sided intervals of a share, without SciPy."""

import math
from statistics import NormalDist

__all__ = ["clopper_pearson", "wilson"]

_HALVINGS = 60
_TERMS = 500
_TINY = 1e-300


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a share of which `k` in `n` were seen; `(0.0, 1.0)` of none.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    if not n:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = k / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    # At the ends the formula gives 0 and 1 but for rounding.
    return (0.0 if k == 0 else middle - half), (1.0 if k == n else middle + half)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share of which `k` in `n` were seen; `(0.0, 1.0)` of none.

    Source: Clopper and Pearson 1934, The use of confidence or fiducial limits illustrated in the case of the
    binomial; the bounds are quantiles of Beta(k, n - k + 1) and of Beta(k + 1, n - k).
    """
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else _quantile(tail, k, n - k + 1)
    high = 1.0 if k == n else _quantile(1 - tail, k + 1, n - k)
    return low, high


def _quantile(p: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _beta_cdf(middle, a, b) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function.

    Source: Abramowitz and Stegun 1964, 26.5.8, by Lentz's way of evaluating a continued fraction.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta_cdf(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    fraction = numerator = 1.0
    denominator = 0.0
    for i in range(_TERMS):
        m = i // 2
        if i == 0:
            step = 1.0
        elif i % 2 == 0:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        denominator = 1.0 / _kept_off_zero(1.0 + step * denominator)
        numerator = _kept_off_zero(1.0 + step / numerator)
        fraction *= numerator * denominator
        if abs(1.0 - numerator * denominator) < 1e-14:
            break
    return math.exp(log_front) * (fraction - 1.0) / a


def _kept_off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
