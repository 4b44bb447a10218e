"""Two processes on one cache file: what one of them does, the other one's next lookup knows."""

import pytest

from binary_semantic_cache.text.verdict import MissReason
from torture import apart, make_cache

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"


def do_elsewhere(path: str, action: str, argument: str) -> dict:
    """Runs in a process of its own."""
    with make_cache(path) as cache:
        if action == "put":
            cache.put(QUESTION, argument)
        elif action == "report":
            cache.report(argument)
        elif action == "clear":
            cache.clear()
        else:
            cache.invalidate(**{action: argument})
    return {}


@pytest.fixture
def cache(tmp_path):
    with make_cache(tmp_path / "answers.db") as made:
        yield made


def elsewhere(cache, action: str, argument: str = "") -> None:
    apart("test_sharing", "do_elsewhere", str(cache.store.path), action, argument, timeout=60)


def test_what_another_process_put_is_a_hit_at_once(cache):
    assert not cache.lookup(NEAR)
    elsewhere(cache, "put", "Paris")
    assert [cache.lookup(asked).response for asked in (NEAR, QUESTION)] == ["Paris", "Paris"]


def test_an_answer_that_another_process_replaced_is_not_served_again(cache):
    cache.put(QUESTION, "Lyon")
    assert cache.lookup(NEAR).response == "Lyon"
    elsewhere(cache, "put", "Paris")
    assert [cache.lookup(asked).response for asked in (NEAR, QUESTION)] == ["Paris", "Paris"]


@pytest.mark.parametrize(("action", "argument"), [("tag", "france"), ("prompt", QUESTION), ("clear", "")])
def test_what_another_process_invalidated_is_not_served_again(cache, action, argument):
    cache.put(QUESTION, "Paris", tags=["france"])
    assert cache.lookup(NEAR)
    elsewhere(cache, action, argument)
    assert not cache.lookup(NEAR)
    assert not cache.lookup(QUESTION)


def test_a_pair_that_another_process_reported_does_not_match_again(cache):
    cache.put(QUESTION, "Lyon")
    elsewhere(cache, "report", cache.lookup(NEAR).id)
    assert not cache.lookup(QUESTION)
    cache.put(QUESTION, "Paris")
    assert cache.lookup(QUESTION).response == "Paris"
    assert cache.lookup(NEAR).reason is MissReason.REPORTED
