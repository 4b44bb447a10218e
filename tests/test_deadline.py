"""Calls that may hang or fail: bounded in time, not made while known to be down, silent about content."""

import logging
import threading
from time import monotonic

import pytest

from binary_semantic_cache.text import deadline
from binary_semantic_cache.text.deadline import Guarded, UnavailableError

SOON = 0.05


@pytest.fixture(params=[True, False], ids=["in place", "in a thread"])
def calls(request):
    return Guarded("thing", bounded=request.param)


def test_a_result_comes_back(calls):
    assert calls.call(lambda: 7, monotonic() + 30) == 7


def test_any_exception_becomes_one_that_tells_only_its_class(calls, caplog):
    def fail():
        raise ValueError("the secret prompt")

    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(UnavailableError, match="thing failed: ValueError") as caught,
    ):
        calls.call(fail, monotonic() + 30)
    assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text
    assert not caught.value.timed_out


def test_what_hangs_is_left_behind_when_the_time_is_up():
    calls, release = Guarded("thing", bounded=False), threading.Event()
    with pytest.raises(UnavailableError, match="in time") as caught:
        calls.call(lambda: release.wait(30), monotonic() + SOON)
    assert caught.value.timed_out
    release.set()


def test_after_three_failures_in_a_row_it_is_not_asked_until_the_time_to_cool_down(calls, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(deadline, "monotonic", lambda: now[0])
    asked = []

    def fail():
        asked.append(1)
        raise OSError

    for _ in range(5):
        with pytest.raises(UnavailableError):
            calls.call(fail, now[0] + 30)
    assert len(asked) == 3
    now[0] += 10.5
    assert calls.call(lambda: "well again", now[0] + 30) == "well again"
    with pytest.raises(UnavailableError, match="failed"):
        calls.call(fail, now[0] + 30)
    assert len(asked) == 4


def test_an_impatient_caller_says_nothing_about_health():
    calls, release = Guarded("thing", bounded=False), threading.Event()
    for _ in range(4):
        with pytest.raises(UnavailableError, match="in time"):
            calls.call(lambda: release.wait(30), monotonic() + 0.001)
    release.set()
    assert calls.call(lambda: 1, monotonic() + 30) == 1


def test_what_one_input_is_refused_for_is_no_matter_of_others(calls):
    def refuse():
        raise ValueError

    for _ in range(4):
        with pytest.raises(UnavailableError):
            calls.call(refuse, monotonic() + 30)
    assert calls.call(lambda: 1, monotonic() + 30) == 1


def test_after_the_time_to_cool_down_one_caller_tries(monkeypatch):
    now, calls = [1000.0], Guarded("thing", bounded=True)
    monkeypatch.setattr(deadline, "monotonic", lambda: now[0])

    def fail():
        raise OSError

    for _ in range(3):
        with pytest.raises(UnavailableError):
            calls.call(fail, now[0] + 30)
    now[0] += 10.5

    def try_while_another_tries():
        with pytest.raises(UnavailableError, match="not asked"):
            calls.call(lambda: 1, now[0] + 30)
        return "tried"

    assert calls.call(try_while_another_tries, now[0] + 30) == "tried"
    assert calls.call(lambda: 1, now[0] + 30) == 1


def test_success_forgets_failures(calls):
    for _ in range(4):
        for _ in range(2):
            with pytest.raises(UnavailableError):
                calls.call(lambda: 1 / 0, monotonic() + 30)
        assert calls.call(lambda: 1, monotonic() + 30) == 1


def test_so_many_hanging_calls_are_left_behind_and_no_more(monkeypatch):
    monkeypatch.setattr(deadline, "_MOST_THREADS", 2)
    monkeypatch.setattr(deadline, "_FAILURES_TO_OPEN", 100)
    calls, release, began = Guarded("thing", bounded=False), threading.Event(), []

    def hang():
        began.append(1)
        release.wait(30)

    for _ in range(4):
        with pytest.raises(UnavailableError):
            calls.call(hang, monotonic() + SOON)
    assert len(began) == 2
    release.set()


def test_an_interrupt_is_not_swallowed():
    calls = Guarded("thing", bounded=True)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calls.call(interrupt, monotonic() + 30)
