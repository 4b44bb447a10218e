"""What is remembered of requests, and within which bounds."""

from dataclasses import replace
from itertools import pairwise

from binary_semantic_cache.proxy.watching.recents import Recents
from binary_semantic_cache.stores import Saving
from watched import chat, record


class Time:
    """A clock that stands until it is moved."""

    def __init__(self, at: float = 600_000.0):
        self.at = at

    def __call__(self) -> float:
        return self.at


def test_the_last_requests_are_listed_newest_first_under_growing_numbers():
    recents = Recents(max_records=3)
    for i in range(5):
        recents.watch(record(status=200 + i))
    assert [(number, told.status) for number, told in recents.listed(10)] == [(5, 204), (4, 203), (3, 202)]
    assert [number for number, _ in recents.listed(10, before=5)] == [4, 3]
    assert [number for number, _ in recents.listed(1)] == [5]
    assert recents.find(1) is None
    assert recents.find(4).status == 203


def test_a_list_may_be_of_one_outcome():
    recents = Recents()
    for outcome in ("miss", "exact", "miss"):
        recents.watch(record(outcome=outcome))
    assert [number for number, _ in recents.listed(10, outcome="miss")] == [3, 1]


def test_beyond_the_bytes_of_content_the_oldest_keep_their_figures_alone():
    recents = Recents(max_content_bytes=3 * len(chat("x" * 1000).context) + 3300)
    for i in range(5):
        recents.watch(record(request=chat("x" * 1000), prompt="y" * 50, status=200 + i))
    kept = [told.request is not None for _, told in recents.listed(10)]
    assert kept == [True, True, True, False, False]
    assert [told.status for _, told in recents.listed(10)] == [204, 203, 202, 201, 200]
    assert recents.find(1).prompt is None


def test_one_request_larger_than_all_room_keeps_no_content():
    recents = Recents(max_content_bytes=100)
    recents.watch(record(request=chat("x" * 1000)))
    assert recents.find(1).request is None


def test_content_of_requests_that_left_takes_no_room():
    recents = Recents(max_records=2, max_content_bytes=10_000)
    for _ in range(100):
        recents.watch(record(request=chat("x" * 1000)))
    assert all(told.request is not None for _, told in recents.listed(10))
    assert len(recents._contents) == 2


def test_a_tally_is_of_the_last_minutes_and_of_all_since_the_start():
    now = Time()
    recents = Recents(now=now)
    recents.watch(record(outcome="exact", saved=Saving(1, 2, 0.5, 1.0)))
    now.at += 59 * 60
    recents.watch(record(guards=("numbers",), reason="guard"))
    recents.watch(record(outcome="bypass", reason="mode"))
    assert recents.tally(60).hit_rate == 0.5
    now.at += 60
    assert recents.tally(60).hit_rate == 0.0
    assert recents.tally().hit_rate == 0.5
    told = recents.tally().as_json()
    assert told["requests"] == 3
    assert told["outcomes"] == {"exact": 1, "semantic": 0, "miss": 1, "bypass": 1}
    assert told["saved"] == {"tokens": 3, "cost": 0.5, "seconds": 1.0}
    assert told["misses"] == {"guard": 1}
    assert told["vetoes"] == {"numbers": 1}
    assert told["latency_seconds"]["miss"]["requests"] == 1


def test_hits_of_shadow_mode_are_tallied_apart_and_count_for_no_entry():
    recents = Recents()
    recents.watch(record(reason="shadow", would_be="exact", hit_id="hit_00", entry_id=1))
    assert recents.tally(60).as_json()["would_be"] == {"exact": 1, "semantic": 0}
    assert recents.tally().hit_rate == 0.0
    assert recents.used_entries() == {}


def test_there_is_no_hit_rate_where_the_cache_was_not_asked():
    recents = Recents()
    assert recents.tally().hit_rate is None
    recents.watch(record(outcome="bypass", reason="mode"))
    assert recents.tally().hit_rate is None


def test_minutes_of_more_than_a_day_ago_are_forgotten_but_count_since_the_start():
    now = Time()
    recents = Recents(now=now)
    for _ in range(2000):
        recents.watch(record())
        now.at += 60
    assert len(recents._minutes) <= 1440
    assert recents.tally().n_requests == 2000
    assert recents.tally(1440).n_requests == 1439


def test_a_series_has_equal_parts_at_fixed_times_and_all_requests_of_them():
    now = Time(at=600_000.0 + 7 * 60)
    recents = Recents(now=now)
    for _ in range(40):
        recents.watch(record())
        now.at += 60
    series = recents.series(60, 12)
    starts = [at for at, _ in series]
    assert len(series) == 12
    assert {b - a for a, b in pairwise(starts)} == {300.0}
    assert all(at % 300 == 0 for at in starts)
    assert sum(tally.n_requests for _, tally in series) == 40
    now.at += 60
    assert set(starts) & {at for at, _ in recents.series(60, 12)}


def test_entries_are_ranked_by_what_they_were_good_for():
    recents = Recents()
    for _ in range(3):
        recents.watch(record(outcome="exact", entry_id=7, prompt="p" * 1000, saved=Saving(1, 2, 0.5, 1.0)))
    recents.watch(record(outcome="semantic", entry_id=8))
    recents.watch(record(entry_id=9))
    used = recents.used_entries()
    assert sorted(used) == [7, 8]
    assert (used[7].hits, used[7].saved) == (3, Saving(3, 6, 1.5, 3.0))
    assert used[7].prompt == "p" * 300


def test_of_very_many_entries_the_most_used_are_kept():
    recents = Recents()
    for entry_id in range(5000):
        for _ in range(3 if entry_id < 10 else 1):
            recents.watch(record(outcome="exact", entry_id=entry_id))
    used = recents.used_entries()
    assert len(used) <= 2048
    assert set(range(10)) <= set(used)


def test_reasons_from_outside_are_bounded():
    recents = Recents()
    for i in range(200):
        recents.watch(record(reason=f"reason-{i}", stored=f"why-{i}"))
    tally = recents.tally()
    assert len(tally.misses) == len(tally.refused) == 65
    assert tally.misses["other"] == 136


def test_the_scope_of_a_tenant_is_that_of_its_last_request():
    recents = Recents()
    assert recents.scope_of("acme") is None
    recents.watch(record(tenant="acme", scope="a"))
    recents.watch(record(tenant="acme", scope=["b"]))
    recents.watch(record(tenant="acme"))
    assert recents.scope_of("acme") == (["b"],)


def test_a_record_that_cannot_be_remembered_fails_nobody(caplog):
    recents = Recents()
    recents.watch(replace(record(), total_seconds="canary"))
    assert "not remembered" in caplog.text
    assert "canary" not in caplog.text
