"""SemanticCache: which answers are stored, for how long, and which leave."""

import pytest

from binary_semantic_cache import Request, errors
from semantic_caches import FAR, NEAR, QUESTION, chat, make


@pytest.fixture
def time_at(monkeypatch):
    """Sets the clocks of the cache."""
    from binary_semantic_cache.text import clock

    def at(seconds: float) -> None:
        monkeypatch.setattr(clock, "time", lambda: 1e9 + seconds)
        monkeypatch.setattr(clock, "monotonic", lambda: seconds)

    at(0)
    return at


@pytest.mark.parametrize("text", [QUESTION, NEAR])
def test_nothing_is_served_from_its_expiry_on(where, time_at, text):
    with make(where(), ttl_seconds=10) as cache:
        cache.put(QUESTION, "Paris")
        time_at(9.99)
        assert cache.lookup(text)
        time_at(10)
        assert not cache.lookup(text)


def test_a_hit_does_not_prolong_a_life_unless_asked(where, time_at):
    with make(where(), ttl_seconds=10) as fixed, make(where(), ttl_seconds=10, sliding_ttl=True) as sliding:
        for cache in (fixed, sliding):
            cache.put(QUESTION, "Paris")
        time_at(8)
        assert fixed.lookup(QUESTION)
        assert sliding.lookup(NEAR)
        time_at(12)
        assert not fixed.lookup(QUESTION)
        assert sliding.lookup(NEAR)
        time_at(23)
        assert not sliding.lookup(NEAR)


def test_a_put_may_have_a_life_of_its_own(cache, time_at):
    with make(None, ttl_seconds=100) as cache:
        cache.put(QUESTION, "Paris", ttl_seconds=5)
        cache.put(FAR, "eight")
        time_at(6)
        assert not cache.lookup(QUESTION)
        assert cache.lookup(FAR)


def test_a_clock_that_is_set_back_brings_nothing_back(where, time_at, monkeypatch):
    from binary_semantic_cache.text import clock

    with make(where(), ttl_seconds=10) as cache:
        cache.put(QUESTION, "Paris")
        time_at(11)
        assert not cache.lookup(QUESTION)
        monkeypatch.setattr(clock, "time", lambda: 1e9 - 3600)
        assert not cache.lookup(QUESTION)
        cache.put(QUESTION, "Paris")
        monkeypatch.setattr(clock, "monotonic", lambda: 20.9)
        assert cache.lookup(QUESTION)
        monkeypatch.setattr(clock, "monotonic", lambda: 21)
        assert not cache.lookup(QUESTION)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_time_to_live_that_is_none_is_refused(cache, ttl):
    with pytest.raises((errors.InvalidValueError, errors.InvalidTypeError), match="ttl_seconds"):
        cache.put(QUESTION, "Paris", ttl_seconds=ttl)


@pytest.mark.parametrize("answer", ["", "  \n", {}, {"error": {"message": "no"}}])
def test_answers_that_are_none_are_not_kept(cache, answer):
    assert cache.put(QUESTION, answer) is None
    assert not cache.lookup(QUESTION)
    assert sum(cache.stats().refusals.values()) == 1


def test_an_answer_that_was_cut_off_is_returned_but_not_kept(cache):
    cut = {
        "object": "chat.completion",
        "choices": [{"message": {"content": "Par"}, "finish_reason": "length"}],
    }
    assert cache.get_or_compute(QUESTION, lambda: cut) == cut
    assert not cache.lookup(QUESTION)
    assert cache.stats().refusals == {"truncated": 1}


def test_an_answer_too_large_is_not_kept(where):
    with make(where(), max_response_bytes=100) as cache:
        assert cache.put(QUESTION, "x" * 101) is None
        assert cache.put(QUESTION, "x" * 90) is not None


def test_an_answer_of_another_type_is_an_error_to_put_and_none_to_compute(cache):
    with pytest.raises(errors.UnsavableResponseError):
        cache.put(QUESTION, object())
    answer = object()
    assert cache.get_or_compute(QUESTION, lambda: answer) is answer
    assert cache.stats().refusals == {"unsavable": 1}


def test_much_that_has_to_leave_does_so_in_handfuls(where):
    place = where()
    if place is None:
        return
    with make(place) as cache:
        for number in range(300):
            cache.put(f"word{number}", "x" * 100)
    with make(place, max_bytes=20_000) as cache:
        for number in range(5):
            cache.put(f"more{number}", "y")
        assert cache.stats().n_bytes <= 20_000
        assert cache.lookup("more4")


def test_beyond_its_entries_the_least_recently_used_leaves(where):
    with make(where(), max_entries=2) as cache:
        cache.put("alpha", "1")
        cache.put("beta", "2")
        cache.lookup("alpha")
        cache.put("gamma", "3")
        assert cache.lookup("alpha")
        assert not cache.lookup("beta")
        assert len(cache) == 2
        assert cache.stats().evictions == 1


def test_the_least_used_leaves_if_so_asked(where):
    with make(where(), max_entries=3, eviction="lfu") as cache:
        for word in ("alpha", "beta", "gamma"):
            cache.put(word, word)
        for word in ("alpha", "alpha", "beta", "beta", "gamma"):
            cache.lookup(word)
        cache.put("delta", "4")
        left = [word for word in ("alpha", "beta", "gamma", "delta") if cache.lookup(word)]
    assert left == ["alpha", "beta", "delta"]


def test_the_one_that_saves_the_least_money_a_byte_leaves_if_so_asked(where):
    def answer(tokens, text="x"):
        return {
            "object": "chat.completion",
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 0},
        }

    with make(where(), max_entries=3, eviction="cost", prices={"m": (10.0, 10.0)}) as cache:
        cache.put(chat("alpha"), answer(1000))
        cache.put(chat("beta"), answer(10))
        cache.put(chat("gamma"), answer(1000, "x" * 20_000))
        cache.put(chat("delta"), answer(500))
        left = [word for word in ("alpha", "beta", "gamma", "delta") if cache.lookup(chat(word))]
        assert left == ["alpha", "gamma", "delta"]
        cache.put(chat("epsilon"), answer(1000))
        assert not cache.lookup(chat("gamma"))


def test_beyond_its_bytes_the_least_recently_used_leaves(where):
    with make(where(), max_bytes=3000) as cache:
        for number in range(20):
            cache.put(f"word{number}", "x" * 500)
            cache.lookup("word0")
        assert cache.stats().n_bytes <= 3000
        assert cache.lookup("word0")
        assert cache.lookup("word19")
        assert not cache.lookup("word5")
        assert cache.put("huge", "x" * 4000) is None


def test_what_each_answer_changes_is_neither_served_nor_kept_nor_shared():
    answers = iter(["first", "second", "third"])
    request = Request.from_openai_responses({"model": "m", "input": "go on", "conversation": "c"})
    with make(None) as cache:
        for expected in ("first", "second"):
            assert cache.get_or_compute(request, lambda: next(answers)) == expected
        assert cache.put(request, "other") is None
        assert cache.lookup(request).reason == "state"
        assert len(cache) == 0
        assert cache.stats().refusals == {"state": 1}
