"""Clocks that jump, in one process or between several: nothing expired is served, nothing lives for ever."""

import pytest

from binary_semantic_cache.text import clock
from torture import make_cache

HOUR, YEAR = 3600.0, 365.0 * 86_400.0
NOW = 1_800_000_000.0
TTL = 100.0
JUMPS = [HOUR, -HOUR, YEAR, -YEAR]
QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"


class Clocks:
    """The wall clock, which may be set, and the monotonic one, which only goes on."""

    def __init__(self):
        self.wall, self.monotonic = NOW, 50.0

    def go_on(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def set(self, wall: float) -> None:
        self.wall = wall


@pytest.fixture
def clocks(monkeypatch):
    made = Clocks()
    monkeypatch.setattr(clock, "time", lambda: made.wall)
    monkeypatch.setattr(clock, "monotonic", lambda: made.monotonic)
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "c.db"


def served(cache) -> list:
    """What the very prompt and one near it are given."""
    return [verdict.response for verdict in map(cache.lookup, (QUESTION, NEAR)) if verdict]


@pytest.mark.parametrize("sliding", [False, True])
@pytest.mark.parametrize("jump", JUMPS)
def test_in_one_process_a_jump_brings_back_nothing_and_keeps_nothing_longer(clocks, path, jump, sliding):
    with make_cache(path, ttl_seconds=TTL, sliding_ttl=sliding) as cache:
        cache.put(QUESTION, "Paris")
        clocks.go_on(TTL - 1)
        assert served(cache) == ["Paris"] * 2
        clocks.set(clocks.wall + jump)
        clocks.go_on(1 + TTL * sliding)
        assert served(cache) == []
        clocks.set(NOW)
        assert served(cache) == []
        cache.put(QUESTION, "Paris again")
        assert served(cache) == ["Paris again"] * 2
        clocks.go_on(TTL)
        assert served(cache) == []


@pytest.mark.parametrize("sliding", [False, True])
@pytest.mark.parametrize("jump", JUMPS)
def test_what_a_process_of_another_time_put_is_served_no_longer_than_asked(clocks, path, jump, sliding):
    """By the clock of the reader, an entry is served at most for its time and the trusted difference."""
    clocks.set(NOW + jump)
    with make_cache(path, ttl_seconds=TTL, sliding_ttl=sliding) as theirs:
        theirs.put(QUESTION, "Paris")
        assert served(theirs) == ["Paris"] * 2
    clocks.set(NOW)
    with make_cache(path, ttl_seconds=TTL) as cache:
        # Of the past: expired. Of the future: not to be trusted, its time may never come.
        assert served(cache) == []
        clocks.go_on(TTL + 61)
        assert served(cache) == []


@pytest.mark.parametrize("jump", JUMPS)
def test_without_a_time_to_live_only_the_future_is_not_served(clocks, path, jump):
    clocks.set(NOW + jump)
    with make_cache(path) as theirs:
        theirs.put(QUESTION, "Paris")
    clocks.set(NOW)
    with make_cache(path) as cache:
        assert served(cache) == (["Paris"] * 2 if jump < 0 else [])
        clocks.go_on(abs(jump))
        assert served(cache) == ["Paris"] * 2


@pytest.mark.parametrize("jump", [HOUR, YEAR])
def test_a_use_at_a_wrong_time_does_not_keep_a_sliding_entry_alive(clocks, path, jump):
    """A process whose clock is a year ahead uses an entry of ten times that: it must not live for a year."""
    ttl = 10 * YEAR
    with make_cache(path, ttl_seconds=ttl, sliding_ttl=True) as cache:
        cache.put(QUESTION, "Paris")
        clocks.set(NOW + jump)
        with make_cache(path, ttl_seconds=ttl, sliding_ttl=True) as theirs:
            assert served(theirs) == ["Paris"] * 2
    clocks.set(NOW)
    with make_cache(path, ttl_seconds=ttl, sliding_ttl=True) as cache:
        assert served(cache) == []


@pytest.mark.parametrize("jump", JUMPS)
def test_a_sweep_at_a_wrong_time_removes_early_and_never_keeps(clocks, path, jump):
    with make_cache(path, ttl_seconds=TTL) as cache:
        cache.put(QUESTION, "Paris")
        cache.store.sweep(NOW + jump, 10)
        assert len(cache) == (0 if jump > 0 else 1)
        clocks.go_on(TTL)
        assert served(cache) == []
        cache.store.sweep(clocks.wall, 10)
        assert len(cache) == 0


@pytest.mark.parametrize("jump", JUMPS)
def test_processes_that_take_turns_with_wrong_clocks_serve_nothing_expired(clocks, path, jump):
    """Each reader in turn puts, and reads what the one before it put, by true age."""
    true = NOW
    for turn in range(6):
        clocks.set(true + (jump if turn % 2 else 0.0))
        with make_cache(path, ttl_seconds=TTL) as cache:
            hit = cache.lookup(QUESTION)
            if hit:
                assert true - float(hit.response) < TTL + 61
            cache.put(QUESTION, str(true))
        true += TTL + 61
        clocks.set(true)
        with make_cache(path, ttl_seconds=TTL) as cache:
            assert served(cache) == []
