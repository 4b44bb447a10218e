"""The live budget and shadow mode: what is judged, when a class stops, and what is never served."""

import asyncio
import logging
import sqlite3
import threading

import pytest

from binary_semantic_cache import Budget, Hit, MissReason, Policy, Request, SemanticCache
from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError, StoreError
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.text.background import Background
from binary_semantic_cache.text.judging import same_answer
from binary_semantic_cache.text.ledger import Ledger, Tally
from words import NoGuards, WordEmbedder

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"


def make(store=None, **changes) -> SemanticCache:
    settings = {"embedder": WordEmbedder(), "guards": NoGuards(), "policy": Policy(exact_only=())}
    return SemanticCache(store, **(settings | {"threshold": 0.8} | changes))


def near(n):
    return f"{QUESTION} {n}"


def stop(cache, model="default"):
    """Judges wrong hits until the class is stopped; with `ask`, which must answer otherwise."""
    for n in range(100):
        verdict = cache.lookup(near(n))
        assert cache.settle()
        if not verdict and verdict.reason is MissReason.BUDGET:
            return n
    raise AssertionError("the class was never stopped")


def wrong_budget(**changes):
    return Budget(**({"sample": 1.0, "ask": lambda prompt: "Lyon", "per_minute": 10_000.0} | changes))


# Judging


@pytest.mark.parametrize(
    ("new", "kept", "same"),
    [
        ("Paris", " paris\n", True),
        ("Paris", "Lyon", False),
        ({"id": "1", "choices": ["Yes"]}, {"id": "2", "choices": ["yes"]}, True),
        ({"choices": ["yes"]}, {"choices": ["no"]}, False),
        ([1, 2], [1, 2], True),
        (b"a", b"b", False),
    ],
)
def test_answers_are_the_same_but_for_case_spaces_and_the_name_of_the_call(new, kept, same):
    assert same_answer("", "", new, kept) is same


# The live budget


def test_a_sampled_hit_is_served_and_made_anew_in_the_background():
    with make(budget=wrong_budget(ask=lambda prompt: "paris")) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR).response == "Paris"
        assert cache.settle()
        (known,) = cache.stats().budget.values()
        assert (known.judged, known.wrong, known.stopped) == (1, 0, False)


def test_the_reply_does_not_wait_for_the_model_or_the_judge():
    let_go = threading.Event()

    def ask(prompt):
        assert let_go.wait(10)
        return "Paris"

    with make(budget=wrong_budget(ask=ask)) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR)
        assert cache.stats().budget == {}
        let_go.set()
        assert cache.settle()
        assert cache.stats().budget["default"].judged == 1


def test_an_exact_hit_is_not_judged():
    asked = []
    with make(budget=wrong_budget(ask=asked.append)) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(QUESTION)
        assert cache.settle()
    assert asked == []


def test_a_class_whose_lower_bound_passes_the_budget_is_answered_by_exact_matches_only(caplog):
    with make(budget=wrong_budget(max_wrong=0.02)) as cache, caplog.at_level(logging.WARNING):
        cache.put(QUESTION, "Paris")
        stop(cache)
        assert "exact matches only" in caplog.text
        known = cache.stats().budget["default"]
        assert known.stopped
        assert known.low > 0.02
        assert cache.lookup(NEAR).reason is MissReason.BUDGET
        assert cache.lookup(QUESTION).kind == "exact"
        assert cache.explain(NEAR).verdict.reason is MissReason.BUDGET


def test_a_stopped_class_embeds_nothing_at_a_lookup():
    with make(budget=wrong_budget()) as cache:
        cache.put(QUESTION, "Paris")
        stop(cache)
        calls = cache.embedder.calls
        cache.lookup(NEAR)
        assert cache.embedder.calls == calls


def test_a_reset_class_is_served_again_and_counted_from_nothing():
    with make(budget=wrong_budget()) as cache:
        cache.put(QUESTION, "Paris")
        stop(cache)
        cache.budget.reset("default")
        assert cache.lookup(NEAR)
        assert cache.settle()
        assert cache.budget.classes()["default"].judged == 1


def test_what_was_put_while_a_class_was_stopped_is_found_after_its_reset():
    with make(budget=wrong_budget()) as cache:
        cache.put(QUESTION, "Paris")
        stop(cache)
        cache.put("how many legs has a spider in all", "eight")
        cache.budget.reset("default")
        assert cache.lookup("how many legs has a spider in all then").response == "eight"


def test_one_class_stops_and_another_goes_on():
    budget = wrong_budget(class_of=lambda prompt, scope: str(scope))
    with make(budget=budget) as cache:
        for scope in ("a", "b"):
            cache.put(QUESTION, "Paris", scope=scope)
        while cache.lookup(NEAR, scope="a"):
            assert cache.settle()
        assert cache.lookup(NEAR, scope="a").reason is MissReason.BUDGET
        assert cache.lookup(NEAR, scope="b")


def test_the_class_is_the_model_of_the_request():
    body = {"model": "small", "messages": [{"role": "user", "content": QUESTION}]}
    asked = {"model": "small", "messages": [{"role": "user", "content": NEAR}]}
    with make(budget=wrong_budget()) as cache:
        cache.put(Request.from_openai_chat(body), "Paris")
        assert cache.lookup(Request.from_openai_chat(asked))
        assert cache.settle()
        assert list(cache.stats().budget) == ["small"]


def test_classes_beyond_64_are_counted_as_other():
    with make(
        budget=wrong_budget(ask=lambda prompt: "Paris", class_of=lambda prompt, scope: str(scope))
    ) as cache:
        for n in range(70):
            cache.put(QUESTION, "Paris", scope=n)
            assert cache.lookup(NEAR, scope=n)
            assert cache.settle()
        known = cache.stats().budget
        assert len(known) == 65
        assert known["other"].judged == 6


def test_a_judge_or_model_that_fails_counts_nothing_and_hurts_nobody(caplog):
    def ask(prompt):
        raise RuntimeError(QUESTION)

    with make(budget=wrong_budget(ask=ask)) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR)
        assert cache.settle()
        assert cache.stats().budget == {}
        assert "RuntimeError" in caplog.text
        assert QUESTION not in caplog.text


def test_a_judge_that_cannot_say_counts_nothing():
    with make(budget=wrong_budget(judge=lambda *given: None)) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR)
        assert cache.settle()
        assert cache.stats().budget == {}


def test_the_judge_is_given_both_prompts_and_both_answers():
    given = []
    with make(budget=wrong_budget(judge=lambda *them: given.append(them))) as cache:
        cache.put(QUESTION, "Paris")
        cache.lookup(NEAR)
        assert cache.settle()
    assert given == [(NEAR, QUESTION, "Lyon", "Paris")]


def test_without_a_model_to_ask_the_sampled_hit_is_asked_by_its_caller():
    with make(budget=wrong_budget(ask=None)) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR).reason is MissReason.AUDIT
        assert cache.get_or_compute(near(1), lambda: "Paris") == "Paris"
        assert cache.settle()
        assert cache.stats().budget["default"].judged == 1
        assert cache.stats().misses == {"audit": 2}


def test_a_hit_whose_new_answer_will_not_be_put_is_not_sampled():
    with make(budget=wrong_budget(ask=None)) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR, will_put=False).kind == "semantic"
        assert asyncio.run(cache.alookup(NEAR, will_put=False)).kind == "semantic"
        assert cache.lookup(NEAR).reason is MissReason.AUDIT


def test_a_sampled_hit_is_served_where_no_more_are_judged_in_this_minute():
    with make(budget=wrong_budget(ask=None, per_minute=1.0)) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.get_or_compute(near(1), lambda: "Paris") == "Paris"
        assert cache.settle()
        assert [cache.lookup(near(n)).kind for n in (2, 3)] == ["semantic"] * 2
        assert cache.stats().misses == {"audit": 1}


def test_an_event_loop_audits_as_threads_do():
    async def answer():
        return "Lyon"

    async def ask(cache):
        return await cache.aget_or_compute(NEAR, answer)

    with make(budget=wrong_budget(ask=None)) as cache:
        cache.put(QUESTION, "Paris")
        assert asyncio.run(ask(cache)) == "Lyon"
        assert cache.settle()
        known = cache.stats().budget["default"]
        assert (known.judged, known.wrong) == (1, 1)


def test_only_the_sampled_share_is_judged():
    asked = []
    with make(
        budget=wrong_budget(sample=0.2, seed=3, ask=lambda prompt: asked.append(prompt) or "Paris")
    ) as cache:
        cache.put(QUESTION, "Paris")
        for n in range(100):
            assert cache.lookup(near(n))
        assert cache.settle()
    assert 10 <= len(asked) <= 30


def test_many_threads_count_every_judged_hit_once():
    with make(threshold=0.5, budget=wrong_budget(ask=lambda prompt: "Paris")) as cache:
        cache.put(QUESTION, "Paris")
        threads = [
            threading.Thread(target=lambda t=t: [cache.lookup(near(f"{t} {n}")) for n in range(10)])
            for t in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.settle()
        assert cache.stats().budget["default"].judged == cache.stats().semantic_hits == 80


def test_a_stopped_class_stays_stopped_over_a_new_start(tmp_path):
    with make(tmp_path / "prompts.db", budget=wrong_budget()) as cache:
        cache.put(QUESTION, "Paris")
        stop(cache)
    with make(tmp_path / "prompts.db", budget=wrong_budget()) as cache:
        assert cache.lookup(NEAR).reason is MissReason.BUDGET
        cache.budget.reset("default")
        assert cache.lookup(NEAR)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"max_wrong": 0.0}, InvalidValueError),
        ({"sample": 1.5}, InvalidValueError),
        ({"sample": "all"}, InvalidTypeError),
        ({"per_minute": 0.5}, InvalidValueError),
        ({"judge": None}, InvalidTypeError),
        ({"ask": 3}, InvalidTypeError),
        ({"confidence": 0.1}, InvalidValueError),
    ],
)
def test_wrong_settings_are_refused(given, error):
    with pytest.raises(error, match="expected"):
        Budget(**given)


def test_the_proxys_metrics_tell_of_each_class():
    with make(budget=wrong_budget()) as cache:
        metrics = Metrics(cache)
        assert b"bsc_budget_judged{" not in metrics.exposition()[0]
        cache.put(QUESTION, "Paris")
        stop(cache)
        known = cache.stats().budget["default"]
        told = metrics.exposition()[0].decode()
        assert f'bsc_budget_judged{{class="default"}} {known.judged}.0' in told
        assert f'bsc_budget_wrong{{class="default"}} {known.wrong}.0' in told
        assert f'bsc_budget_wrong_low{{class="default"}} {known.low}' in told
        assert 'bsc_budget_stopped{class="default"} 1.0' in told


# The ledger


def test_a_ledger_adds_up_what_two_of_its_kind_count(tmp_path):
    one, two = Ledger(tmp_path / "counts"), Ledger(tmp_path / "counts")
    one.add("a", wrong=True)
    assert two.add("a", wrong=False) == Tally(2, 1)
    two.stop("a")
    assert Ledger(tmp_path / "counts").all() == {"a": Tally(2, 1, stopped=True)}


def test_a_ledger_is_for_its_owner_alone(tmp_path):
    Ledger(tmp_path / "counts").add("a", wrong=True)
    assert (tmp_path / "counts").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_ledger_is_refused(tmp_path):
    (tmp_path / "counts").write_bytes(b"something else entirely, of some length" * 100)
    with pytest.raises(StoreError, match="expected a ledger"):
        Ledger(tmp_path / "counts")


def test_a_ledger_whose_file_is_gone_counts_on_in_memory(tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    ledger = Ledger(folder / "counts")
    (folder / "counts").unlink()
    folder.rmdir()
    assert ledger.add("a", wrong=True) == Tally(1, 1)
    assert "OperationalError" in caplog.text


def test_a_reset_that_cannot_be_written_is_an_error_and_changes_nothing(tmp_path):
    path = tmp_path / "counts"
    ledger, other = Ledger(path), sqlite3.connect(path)
    ledger.add("a", wrong=True)
    ledger.stop("a")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="class 'a' could not be reset"):
        ledger.reset("a")
    assert ledger.all()["a"].stopped
    other.rollback()
    other.close()
    ledger.reset("a")
    assert ledger.all() == {}


# Work in the background


def test_more_than_a_minute_may_take_is_refused():
    work = Background(per_minute=2.0)
    assert [work.take(lambda: None) for _ in range(3)] == [True, True, False]
    assert work.settle(10)


def test_nothing_is_taken_after_the_close():
    work = Background(per_minute=100.0)
    work.close()
    assert not work.take(lambda: None)


# Shadow mode


def test_in_shadow_mode_nothing_is_served_and_everything_is_told():
    with make(mode="shadow") as cache:
        cache.put(QUESTION, "Paris")
        for prompt, kind in ((QUESTION, "exact"), (NEAR, "semantic")):
            miss = cache.lookup(prompt)
            assert miss.reason is MissReason.SHADOW
            assert isinstance(miss.would_serve, Hit)
            assert (miss.would_serve.kind, miss.would_serve.response) == (kind, "Paris")
            assert cache.explain(prompt).verdict.reason is MissReason.SHADOW
        stats = cache.stats()
        assert (stats.hits, stats.shadowed, stats.saved_calls) == (0, 2, 0)


def test_in_shadow_mode_every_answer_is_computed():
    with make(mode="shadow") as cache:
        answers = iter(["Paris", "Lyon", "Nice"])
        assert [cache.get_or_compute(QUESTION, lambda: next(answers)) for _ in range(3)] == [
            "Paris",
            "Lyon",
            "Nice",
        ]


def test_in_shadow_mode_the_log_tells_what_would_be_served(caplog):
    with make(mode="shadow") as cache, caplog.at_level(logging.DEBUG):
        cache.put(QUESTION, "Paris")
        cache.lookup(NEAR)
    assert "miss: shadow" in caplog.text
    assert "semantic hit, entry" in caplog.text
    assert QUESTION not in caplog.text


def test_in_shadow_mode_the_budget_is_counted_from_the_answers_that_come_anyway():
    asked = []
    with make(mode="shadow", budget=wrong_budget(ask=asked.append)) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.get_or_compute(NEAR, lambda: "Lyon") == "Lyon"
        assert cache.settle()
        known = cache.stats().budget["default"]
        assert (known.judged, known.wrong) == (1, 1)
    assert asked == []


def test_another_mode_is_refused():
    with pytest.raises(InvalidValueError, match="expected mode among on, shadow"):
        make(mode="off")
