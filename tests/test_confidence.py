"""Bounds of a share that hold at all times at once."""

import numpy as np
import pytest

from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.text.confidence import interval


def test_of_nothing_everything_is_possible():
    assert interval(0, 0) == (0.0, 1.0)


def test_more_draws_of_the_same_share_narrow_the_bounds():
    few, many = interval(10, 100), interval(100, 1000)
    assert few[0] < many[0] < 0.1 < many[1] < few[1]


def test_no_wrong_ones_prove_a_small_share_and_never_a_greater_one():
    low, high = interval(0, 1000)
    assert low == 0.0
    assert 0.003 < high < 0.01  # 3 / n would be the bound of a single look


def test_the_bounds_are_mirrored_when_right_and_wrong_are():
    low, high = interval(7, 60)
    assert interval(53, 60) == pytest.approx((1.0 - high, 1.0 - low))


def test_greater_confidence_widens_the_bounds():
    at_95, at_99 = interval(20, 200, 0.95), interval(20, 200, 0.99)
    assert at_99[0] < at_95[0]
    assert at_95[1] < at_99[1]


@pytest.mark.parametrize(
    ("count", "n", "confidence"), [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 1.0), (1, 3, 0.2)]
)
def test_what_is_out_of_range_is_refused(count, n, confidence):
    with pytest.raises(InvalidValueError, match="expected"):
        interval(count, n, confidence)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_95_of_100_sequences_never_miss_the_share_whenever_one_looks(share):
    sequences, draws = 2000, 200
    counts = np.cumsum(np.random.default_rng(7).random((sequences, draws)) < share, axis=1)
    missed = np.zeros(sequences, dtype=bool)
    for n in range(1, draws + 1):
        seen = counts[:, n - 1]
        outside = [k for k in np.unique(seen).tolist() if not _holds(interval(k, n), share)]
        missed |= np.isin(seen, outside)
    assert missed.mean() <= 0.05


def test_a_chance_that_changes_lifts_no_lower_bound_over_its_highest():
    sequences, draws = 500, 150
    chances = np.where(np.arange(draws) % 50 < 25, 0.08, 0.0)
    counts = np.cumsum(np.random.default_rng(8).random((sequences, draws)) < chances, axis=1)
    over = np.zeros(sequences, dtype=bool)
    for n in range(1, draws + 1):
        seen = counts[:, n - 1]
        over |= np.isin(seen, [k for k in np.unique(seen).tolist() if interval(k, n)[0] > 0.08])
    assert over.mean() <= 0.025


def _holds(bounds, share):
    return bounds[0] <= share <= bounds[1]
