"""Quantiles out of counted buckets, against the sorted times themselves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache.proxy.watching.latencies import RELATIVE_ERROR, Latencies

times = st.lists(st.floats(1e-6, 1e5), min_size=1, max_size=200)


def counted(seconds):
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    return latencies


@given(times, st.floats(0, 1))
def test_a_quantile_is_within_two_per_cent_of_the_sorted_times(seconds, q):
    exact = sorted(seconds)[max(1, math.ceil(q * len(seconds))) - 1]
    assert counted(seconds).quantile(q) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.0001)


@given(times, times)
def test_two_that_were_merged_are_as_one(some, others):
    merged = counted(some)
    merged.merge(counted(others))
    whole = counted(some + others)
    assert merged.n == whole.n
    assert [merged.quantile(q / 10) for q in range(11)] == [whole.quantile(q / 10) for q in range(11)]


def test_nothing_has_no_quantile():
    assert Latencies().quantile(0.5) is None


def test_times_out_of_range_count_as_the_nearest_in_range_and_what_is_no_number_not_at_all():
    latencies = counted([0.0, -1.0, float("inf"), float("nan")])
    assert latencies.n == 3
    assert latencies.quantile(0.5) == pytest.approx(1e-7, rel=0.03)
    assert latencies.quantile(1.0) == pytest.approx(1e6, rel=0.03)


def test_the_number_of_buckets_is_bounded():
    latencies = counted(10 ** (i / 2000) for i in range(-16_000, 16_000))
    assert len(latencies._counts) <= 750
