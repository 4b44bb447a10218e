"""SemanticCache: the way of a request, its verdicts, and what they are never allowed to be."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import numpy as np
import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.stores.memory import MemoryStore
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import Hit, Miss, MissReason, Veto
from words import NoGuards, WordEmbedder

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"
FAR = "how many legs does a spider have"
NO_CLASSES = Policy(exact_only=())


def make(store=None, **changes) -> SemanticCache:
    settings = {"embedder": WordEmbedder(), "guards": NoGuards(), "policy": NO_CLASSES, "threshold": 0.8}
    return SemanticCache(store, **(settings | changes))


@pytest.fixture(params=["memory", "sqlite"])
def where(request, tmp_path):
    """What to make a cache of, twice: each call names a new one."""
    return (
        (lambda: None)
        if request.param == "memory"
        else (lambda: tmp_path / f"{len(list(tmp_path.iterdir()))}.db")
    )


@pytest.fixture
def cache(where):
    with make(where()) as made:
        yield made


def reason(verdict) -> MissReason:
    assert isinstance(verdict, Miss)
    return verdict.reason


# Verdicts


def test_the_very_prompt_is_an_exact_hit_and_true(cache):
    entry_id = cache.put(QUESTION, "Paris")
    hit = cache.lookup(QUESTION)
    assert hit
    assert (hit.response, hit.kind, hit.similarity) == ("Paris", "exact", 1.0)
    assert (hit.entry_id, hit.prompt) == (entry_id, QUESTION)
    assert 0 <= hit.age_seconds < 60


def test_an_exact_hit_embeds_nothing(cache):
    cache.put(QUESTION, "Paris")
    calls = cache.embedder.calls
    assert cache.lookup(f"  {QUESTION}\n").kind == "exact"
    assert cache.embedder.calls == calls


def test_an_answer_that_lands_after_the_exact_tier_was_asked_is_an_exact_hit(cache, monkeypatch):
    find = cache.store.find

    def too_early(key, now):
        found = find(key, now)
        monkeypatch.undo()
        cache.put(QUESTION, "Paris")
        return found

    monkeypatch.setattr(cache.store, "find", too_early)
    hit = cache.lookup(QUESTION)
    assert (hit.response, hit.kind, hit.similarity) == ("Paris", "exact", 1.0)
    cache.report(hit)
    cache.put(QUESTION, "Paris, again")
    assert cache.lookup(QUESTION).response == "Paris, again"
    assert cache.stats().exact_hits == 2


def test_other_words_for_the_same_are_a_semantic_hit(cache):
    cache.put(QUESTION, "Paris")
    hit = cache.lookup(NEAR)
    assert (hit.response, hit.kind, hit.prompt) == ("Paris", "semantic", QUESTION)
    a, b = cache.embedder.embed([QUESTION, NEAR])
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert hit.similarity == pytest.approx(cosine, abs=3e-3)


def test_a_miss_is_false_and_says_why_and_what_came_nearest(cache):
    assert not cache.lookup(QUESTION)
    assert cache.lookup(QUESTION) == Miss(MissReason.NO_CANDIDATE)
    cache.put(QUESTION, "Paris")
    miss = cache.lookup(NEAR, threshold=0.99)
    assert not miss
    assert miss.reason is MissReason.BELOW_THRESHOLD
    assert miss.nearest.entry_id == cache.lookup(QUESTION).entry_id


def test_the_nearest_of_several_is_served(cache):
    cache.put("what is the capital of france", "no")
    cache.put(QUESTION, "yes")
    assert cache.lookup(NEAR, threshold=0.5).response == "yes"


def test_the_same_prompt_again_replaces_the_answer(cache):
    cache.put(QUESTION, "Lyon")
    cache.put(QUESTION, "Paris")
    assert cache.lookup(NEAR).response == "Paris"
    assert len(cache) == 1


@pytest.mark.parametrize("form", ["int8", "float16", "float32", "none"])
def test_every_form_of_vectors_finds_the_same(where, form):
    with make(where(), vectors=form, threshold=0.7) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR).response == "Paris"
        assert not cache.lookup(FAR)


def test_distances_are_exact_but_the_decision_is_by_the_exact_cosine(cache):
    cache.put(QUESTION, "Paris")
    similarity = cache.lookup(NEAR).similarity
    assert cache.lookup(NEAR, threshold=similarity - 1e-6)
    assert not cache.lookup(NEAR, threshold=similarity + 1e-6)


@pytest.mark.parametrize("answer", ["text ü", b"\x00bytes", {"a": [1, 2.5, None, True]}, [1], 7])
def test_answers_come_back_as_they_were_and_as_objects_of_ones_own(cache, answer):
    cache.put(QUESTION, answer)
    first, second = cache.lookup(QUESTION).response, cache.lookup(QUESTION).response
    assert first == second == answer
    assert type(first) is type(answer)
    if isinstance(answer, dict | list):
        assert first is not second


# Scopes


def test_no_answer_crosses_scopes(cache):
    cache.put(QUESTION, "Paris", scope="a")
    for scope in (None, "b", ["a"], {"a": 1}, "", 0):
        assert not cache.lookup(QUESTION, scope=scope)
        assert not cache.lookup(NEAR, scope=scope)
    assert cache.lookup(NEAR, scope="a").response == "Paris"


def chat(text: str, **changes) -> Request:
    body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": text}]}
    return Request.from_openai_chat(body | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "n"},
        {"temperature": 1},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"unknown": 1},
        {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": NEAR}]},
    ],
)
def test_no_answer_crosses_what_else_shapes_it(cache, changes):
    cache.put(chat(QUESTION), "Paris")
    assert cache.lookup(chat(NEAR)).response == "Paris"
    assert not cache.lookup(chat(NEAR, **changes))


def test_a_prompt_and_a_request_share_nothing(cache):
    cache.put(QUESTION, "Paris")
    assert not cache.lookup(chat(QUESTION))


def test_other_earlier_turns_share_nothing(cache):
    def talk(before: str, text: str) -> Request:
        turns = [{"role": "user", "content": before}, {"role": "assistant", "content": "ok"}]
        return Request.from_anthropic(
            {"model": "m", "max_tokens": 9, "messages": [*turns, {"role": "user", "content": text}]}
        )

    cache.put(talk("about cats", QUESTION), "meow")
    assert cache.lookup(talk("about cats", NEAR)).response == "meow"
    assert not cache.lookup(talk("about dogs", QUESTION))


# Never by meaning


def test_a_tool_turn_is_answered_by_exact_repeats_alone(cache):
    def turn(text: str) -> Request:
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages = [
            {"role": "user", "content": text},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "4"},
        ]
        return Request.from_openai_chat({"model": "m", "messages": messages})

    cache.put(turn(QUESTION), "four")
    assert cache.lookup(turn(QUESTION)).kind == "exact"
    assert reason(cache.lookup(turn(NEAR))) is MissReason.EXACT_ONLY
    assert cache.embedder.calls == 0


def test_texts_that_differ_only_past_the_window_do_not_meet(cache):
    class Blind(WordEmbedder):
        def embed(self, texts):
            return super().embed([" ".join(text.split()[: self.max_tokens]) for text in texts])

    with make(None, embedder=Blind()) as cache:
        start = "word " * 64
        cache.put(start + "one", "1")
        assert reason(cache.lookup(start + "two")) is MissReason.TOO_LONG
        assert cache.lookup(start + "one").kind == "exact"
        assert cache.embedder.calls == 0


def test_without_a_count_of_tokens_a_text_is_long_by_its_bytes():
    class Plain:
        bounded, dimension, fingerprint, max_tokens = True, 64, "plain", 40
        embed = WordEmbedder().embed

    with make(None, embedder=Plain()) as cache:
        cache.put("short", "s")
        assert reason(cache.lookup("a b " * 10)) is MissReason.TOO_LONG
        assert reason(cache.lookup("a b " * 9)) is not MissReason.TOO_LONG


def test_classes_of_policy_are_answered_by_exact_repeats_alone():
    with make(None, policy=Policy()) as cache:
        cache.put("what is the weather in paris right now", "rain")
        miss = cache.lookup("what is the weather in paris right now then")
        assert miss.reason is MissReason.POLICY
        assert miss.detail == "freshness"
        assert cache.lookup("what is the weather in paris right now").kind == "exact"
    with make(None, policy=NO_CLASSES) as cache:
        cache.put("what is the weather in paris right now", "rain")
        assert cache.lookup("what is the weather in paris right now then")


def test_the_caller_may_ask_for_exact_matches_only(cache):
    cache.put(QUESTION, "Paris")
    assert reason(cache.lookup(NEAR, exact_only=True)) is MissReason.EXACT_ONLY


@pytest.mark.parametrize("text", ["", "   ", "\ud800 lone"])
def test_a_text_without_meaning_is_a_miss_and_is_computed(cache, text):
    assert not cache.lookup(text)
    assert cache.get_or_compute(text, lambda: "answer") == "answer"


# Guards, verifier, reports


class Objecting:
    def check(self, prompt, candidates):
        return [[Veto("numbers", "1 against 2")] if "city" in text else [] for text in candidates]


def test_a_guards_veto_is_a_miss_with_its_name(where):
    with make(where(), guards=Objecting()) as cache:
        cache.put(QUESTION, "Paris")
        miss = cache.lookup(NEAR)
        assert (miss.reason, miss.detail) == (MissReason.GUARD, "numbers")
        assert miss.nearest.vetoes == (Veto("numbers", "1 against 2"),)
        assert cache.stats().vetoes == {"numbers": 1}


def test_after_a_veto_the_next_nearest_is_looked_at(where):
    with make(where(), guards=Objecting(), threshold=0.5) as cache:
        cache.put(QUESTION, "vetoed")
        cache.put("what is the capital of france", "served")
        assert cache.lookup(NEAR).response == "served"
        assert cache.stats().vetoes == {"numbers": 1}


def test_a_verifier_has_the_last_word_and_sees_both_prompts(where):
    seen = []

    def verifier(prompt, candidate):
        seen.append((prompt, candidate))
        return False

    with make(where(), verifier=verifier) as cache:
        cache.put(QUESTION, "Paris")
        assert reason(cache.lookup(NEAR)) is MissReason.VERIFIER
        assert cache.lookup(QUESTION)
    assert seen == [(NEAR, QUESTION)]


def test_a_verifier_that_fails_is_a_miss(where):
    def verifier(prompt, candidate):
        raise RuntimeError(prompt)

    with make(where(), verifier=verifier) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR) == Miss(MissReason.VERIFIER_FAILED, cache.lookup(NEAR).nearest)
        assert cache.stats().failures["verifier"] == 2


def test_a_reported_pair_never_matches_again(where, tmp_path):
    place = where()
    with make(place) as cache:
        cache.put(QUESTION, "Paris")
        hit = cache.lookup(NEAR)
        assert cache.report(hit) is True
        assert not cache.lookup(QUESTION)
        cache.put(QUESTION, "Paris again")
        assert reason(cache.lookup(NEAR)) is MissReason.REPORTED
        assert cache.lookup(QUESTION).response == "Paris again"
        assert cache.report(hit.id) is False
    if place is not None:
        with make(place) as cache:
            assert reason(cache.lookup(NEAR)) is MissReason.REPORTED


def test_a_reported_pair_does_not_match_the_other_way_round_either(cache):
    cache.put(QUESTION, "Paris")
    cache.report(cache.lookup(NEAR))
    cache.put(NEAR, "Paris")
    assert reason(cache.lookup(QUESTION)) is MissReason.REPORTED


def test_a_reported_exact_hit_loses_its_answer_alone(cache):
    cache.put(QUESTION, "Lyon")
    cache.report(cache.lookup(QUESTION))
    assert not cache.lookup(QUESTION)
    cache.put(QUESTION, "Paris")
    assert cache.lookup(QUESTION).response == "Paris"
    assert cache.lookup(NEAR)


def test_what_was_not_given_out_cannot_be_reported(cache):
    cache.put(QUESTION, "Paris")
    hit = cache.lookup(NEAR)
    with pytest.raises(errors.InvalidValueError):
        cache.report(hit.id[:-1] + ("0" if hit.id[-1] != "0" else "1"))
    with pytest.raises(errors.InvalidTypeError):
        cache.report(7)
    assert cache.lookup(NEAR)


# Time to live


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


# What is stored


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


# Limits


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


# get_or_compute


def test_what_is_computed_is_served_from_then_on(cache):
    assert cache.get_or_compute(QUESTION, lambda: "Paris") == "Paris"
    assert cache.get_or_compute(NEAR, lambda: 1 / 0) == "Paris"


def test_compute_is_given_the_prompt_if_it_takes_one(cache):
    assert cache.get_or_compute("a b", str.upper) == "A B"
    assert cache.get_or_compute("c d", lambda prompt: prompt[::-1]) == "d c"
    assert cache.get_or_compute("e f", lambda *args: len(args)) == 1
    assert cache.get_or_compute("g h", lambda: "none") == "none"


def test_the_computations_own_exception_comes_through_and_is_not_kept(cache):
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute(QUESTION, lambda: 1 / 0)
    assert cache.get_or_compute(QUESTION, lambda: "Paris") == "Paris"


def test_many_misses_at_once_make_one_computation(cache):
    calls, go = [], threading.Event()

    def compute():
        calls.append(1)
        assert go.wait(30)
        return ["Paris"]

    with ThreadPoolExecutor(24) as pool:
        answers = [pool.submit(cache.get_or_compute, QUESTION, compute) for _ in range(24)]
        while not calls:
            pass
        go.set()
        got = [answer.result(30) for answer in answers]
    assert got == [["Paris"]] * 24
    assert len({id(answer) for answer in got}) == 24
    assert len(calls) == 1


def test_what_cannot_be_shared_is_computed_by_each(cache):
    """A stream, say: what one reads of it is gone for the other."""
    began, go = threading.Event(), threading.Event()

    def compute():
        began.set()
        assert go.wait(30)
        return (number for number in range(4))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get_or_compute, QUESTION, compute)
        assert began.wait(30)
        second = pool.submit(cache.get_or_compute, QUESTION, compute)
        while not cache._flights._waits:
            pass
        go.set()
        assert list(first.result(30)) == list(second.result(30)) == [0, 1, 2, 3]


def test_those_who_joined_do_not_see_what_the_first_does_to_its_answer(cache):
    began, go = threading.Event(), threading.Event()

    def compute():
        began.set()
        assert go.wait(30)
        return {"a": ["Paris"] * 1000}

    def lead():
        answer = cache.get_or_compute(QUESTION, compute)
        answer["a"][:] = ["changed"] * 1000

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(lead)
        assert began.wait(30)
        others = [pool.submit(cache.get_or_compute, QUESTION, compute) for _ in range(4)]
        while len(cache._flights._waits) < 4:
            pass
        go.set()
        assert all(other.result(30) == {"a": ["Paris"] * 1000} for other in others)
        first.result(30)


def test_blocking_calls_in_the_loops_own_pool_do_not_hold_a_computation_up(cache):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        began, go = asyncio.Event(), asyncio.Event()

        async def compute():
            began.set()
            await go.wait()
            return "Paris"

        first = asyncio.create_task(cache.aget_or_compute(QUESTION, compute))
        await began.wait()
        blocking = [asyncio.to_thread(cache.get_or_compute, QUESTION, lambda: "other") for _ in range(2)]
        tasks = [asyncio.create_task(one) for one in blocking]
        while len(cache._flights._waits) < 2:
            await asyncio.sleep(0)
        go.set()
        assert await asyncio.wait_for(asyncio.gather(first, *tasks), 20) == ["Paris"] * 3

    asyncio.run(main())


def test_a_coroutine_function_is_for_the_asynchronous_method(cache):
    async def compute():
        return "Paris"

    with pytest.raises(errors.InvalidTypeError, match="aget_or_compute"):
        cache.get_or_compute(QUESTION, compute)


def test_strings_of_a_class_of_their_own_are_strings(cache):
    cache.put(np.str_(QUESTION), "Paris")
    assert cache.lookup(QUESTION).response == "Paris"


def test_threads_and_tasks_share_one_computation(cache):
    calls = []

    async def main():
        go = asyncio.Event()

        async def compute():
            calls.append(1)
            await go.wait()
            return "Paris"

        tasks = [asyncio.create_task(cache.aget_or_compute(QUESTION, compute)) for _ in range(200)]
        while len(cache._flights._waits) < 20:
            await asyncio.sleep(0)
        go.set()
        assert set(await asyncio.gather(*tasks)) == {"Paris"}

    asyncio.run(main())
    assert len(calls) == 1
    stats = cache.stats()
    assert stats.saved_calls == 199
    assert stats.joined + stats.exact_hits == 199


def test_everything_can_be_awaited(cache):
    async def main():
        assert await cache.aput(QUESTION, "Paris") is not None
        assert (await cache.alookup(NEAR)).response == "Paris"
        assert await cache.aget_or_compute("sync", lambda: "function") == "function"

    asyncio.run(main())


def test_the_event_loop_goes_on_while_the_embedder_works():
    release = threading.Event()

    class Slow(WordEmbedder):
        def embed(self, texts):
            assert release.wait(30)
            return super().embed(texts)

    async def main(cache):
        task = asyncio.create_task(cache.alookup(QUESTION))
        for _ in range(10):
            await asyncio.sleep(0)
        release.set()
        await task

    with make(None, embedder=Slow()) as cache:
        asyncio.run(main(cache))


# Failures


class Broken(WordEmbedder):
    def embed(self, texts):
        raise OSError("the secret prompt")


def test_a_dead_embedder_is_a_miss_and_the_exact_tier_goes_on(where, caplog):
    caplog.set_level(logging.DEBUG)
    with make(where(), embedder=Broken()) as cache:
        assert cache.put(QUESTION, "Paris") is not None
        assert cache.lookup(QUESTION).kind == "exact"
        assert reason(cache.lookup(NEAR)) is MissReason.EMBEDDER_FAILED
        assert cache.get_or_compute(FAR, lambda: "eight") == "eight"
        assert cache.stats().failures["embedder"] >= 3
    assert "embedder failed: OSError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "made", [[[1.0] * 63], [[float("nan")] * 64], [[0.0] * 64], [[1.0] * 64] * 2, "nonsense", None]
)
def test_an_embedder_that_returns_nonsense_is_a_miss(made):
    class Odd(WordEmbedder):
        def embed(self, texts):
            return made

    with make(None, embedder=Odd()) as cache:
        assert reason(cache.lookup(QUESTION)) is MissReason.EMBEDDER_FAILED


def test_a_hanging_embedder_costs_no_more_than_the_time_allowed():
    release = threading.Event()

    class Hanging(WordEmbedder):
        bounded = False

        def embed(self, texts):
            release.wait(60)
            return super().embed(texts)

    with make(None, embedder=Hanging(), timeout_seconds=0.2) as cache:
        began = monotonic()
        assert reason(cache.lookup(QUESTION)) is MissReason.EMBEDDER_TIMEOUT
        assert cache.get_or_compute(QUESTION, lambda: "Paris", exact_only=True) == "Paris"
        assert monotonic() - began < 30
    release.set()


class BrokenStore(MemoryStore):
    """Fails or hangs where it is told to."""

    def __init__(self, *broken: str, hang: bool = False):
        super().__init__()
        self.broken = set(broken)
        self.release = threading.Event()
        self.bounded = not hang

    def _maybe(self, name):
        if name in self.broken:
            if not self.bounded:
                self.release.wait(60)
            raise errors.StoreError("the secret prompt")


for _name in ("find", "get", "put_many", "vectors", "moved_past", "changes", "delete"):

    def _method(self, *args, _name=_name, **kwargs):
        self._maybe(_name)
        return getattr(MemoryStore, _name)(self, *args, **kwargs)

    setattr(BrokenStore, _name, _method)


@pytest.mark.parametrize("name", ["find", "get", "vectors", "moved_past"])
def test_a_store_that_fails_is_a_miss(name, caplog):
    caplog.set_level(logging.DEBUG)
    store = BrokenStore()
    with make(store) as cache:
        cache.put(QUESTION, "Paris")
        store.broken.add(name)
        assert reason(cache.lookup(NEAR)) is MissReason.STORE_FAILED
        assert cache.get_or_compute(FAR, lambda: "eight") == "eight"
        assert cache.stats().failures["store"] >= 1
    assert "secret" not in caplog.text


def test_a_store_that_gives_nonsense_does_not_reach_the_caller_of_a_computation():
    class Nonsense(MemoryStore):
        def find(self, key, now):
            found = super().find(key, now)
            return found and found._replace(entry="nonsense")

    with make(Nonsense()) as cache:
        cache.put(QUESTION, "Paris")
        assert reason(cache.lookup(QUESTION)) is MissReason.FAILED
        assert cache.get_or_compute(QUESTION, lambda: "computed") == "computed"
        assert asyncio.run(cache.aget_or_compute(QUESTION, lambda: "computed")) == "computed"


@pytest.mark.parametrize("name", ["put_many", "moved_past", "changes"])
def test_a_put_into_a_broken_store_is_an_error_and_a_computation_is_not(name):
    store = BrokenStore()
    with make(store) as cache:
        store.broken.add(name)
        with pytest.raises(errors.StoreError, match="StoreError"):
            cache.put(QUESTION, "Paris")
        assert cache.get_or_compute(FAR, lambda: "eight") == "eight"


@pytest.mark.parametrize("check", [lambda prompt, candidates: 1 / 0, lambda prompt, candidates: []])
def test_guards_that_fail_let_nothing_pass(check, caplog):
    class Odd:
        def check(self, prompt, candidates):
            return check(prompt, candidates)

    with make(None, guards=Odd()) as cache:
        cache.put(QUESTION, "Paris")
        assert reason(cache.lookup(NEAR)) is MissReason.GUARD
        assert cache.get_or_compute(NEAR, lambda: "computed") == "computed"
    assert "the guards failed" in caplog.text


def test_a_verifier_that_wants_to_end_the_program_ends_nothing():
    def verifier(prompt, candidate):
        raise SystemExit(3)

    with make(None, verifier=verifier) as cache:
        cache.put(QUESTION, "Paris")
        assert reason(cache.lookup(NEAR)) is MissReason.VERIFIER_FAILED


def test_a_damaged_vector_is_a_miss():
    from dataclasses import replace

    store = MemoryStore()
    with make(store) as cache:
        cache.put(QUESTION, "Paris")
        (entry_id,) = store._entries
        store._entries[entry_id] = replace(store._entries[entry_id], vector=b"\x01\x02")
        assert reason(cache.lookup(NEAR)) is MissReason.NO_CANDIDATE


@pytest.mark.parametrize("tokens", [10**20, 10**400, -1])
def test_usage_beyond_belief_is_not_counted_and_the_answer_is_kept(where, tokens):
    answer = {"text": "Paris", "usage": {"prompt_tokens": tokens, "completion_tokens": 1}}
    with make(where(), prices={"m": (1.0, 1.0)}) as cache:
        request = Request.from_prompt(QUESTION, model="m")
        assert cache.get_or_compute(request, lambda: answer) == answer
        assert cache.lookup(request).saved.cost == 0.0


def test_a_store_that_hangs_is_a_miss_in_time():
    store = BrokenStore("find", hang=True)
    with make(store, timeout_seconds=0.2) as cache:
        assert reason(cache.lookup(QUESTION)) is MissReason.STORE_TIMEOUT
    store.release.set()


def test_an_answer_that_is_damaged_in_the_store_is_a_miss():
    store = MemoryStore()
    with make(store) as cache:
        cache.put(QUESTION, {"a": 1})
        from dataclasses import replace

        (entry_id,) = store._entries
        store._entries[entry_id] = replace(store._entries[entry_id], payload=b"\xc1")
        assert reason(cache.lookup(QUESTION)) is MissReason.STORE_FAILED


def test_a_closed_cache_misses_and_computes(tmp_path):
    cache = make(tmp_path / "c.db")
    cache.put(QUESTION, "Paris")
    cache.close()
    assert reason(cache.lookup(QUESTION)) is MissReason.STORE_FAILED
    assert cache.get_or_compute(QUESTION, lambda: "computed") == "computed"
    with pytest.raises(errors.StoreError):
        cache.put(QUESTION, "Paris")


# Durable, shared


def test_a_file_is_found_again(tmp_path):
    with make(tmp_path / "c.db") as cache:
        cache.put(QUESTION, "Paris", scope="t")
    with make(str(tmp_path / "c.db")) as cache:
        assert cache.lookup(QUESTION, scope="t").response == "Paris"
        assert cache.lookup(NEAR, scope="t").response == "Paris"
        assert not cache.lookup(QUESTION)


def test_two_caches_of_one_file_share_puts_and_removals(tmp_path):
    with make(tmp_path / "c.db") as one, make(tmp_path / "c.db") as other:
        one.put(QUESTION, "Paris", tags=["t"])
        assert other.lookup(NEAR).response == "Paris"
        other.invalidate(tag="t")
        assert not one.lookup(NEAR)
        assert not one.lookup(QUESTION)


def test_a_cache_filled_with_another_embedder_is_refused(tmp_path):
    make(tmp_path / "c.db").close()
    with pytest.raises(errors.FingerprintError, match="bsc reembed"):
        make(tmp_path / "c.db", embedder=WordEmbedder(name="other"))


@pytest.mark.parametrize("place", ["redis://host", "", b"bytes", 7])
def test_a_place_that_is_none_is_refused(place):
    with pytest.raises((errors.InvalidValueError, errors.InvalidTypeError)):
        make(place)


# Explain, invalidate, stats


def test_an_explanation_shows_every_step_and_counts_as_nothing(where):
    with make(where(), guards=Objecting()) as cache:
        cache.put(QUESTION, "Paris")
        cache.put(FAR, "eight")
        before = cache.stats()
        explanation = cache.explain(NEAR)
        assert cache.stats() == before
    assert [found.prompt for found in explanation.candidates] == [QUESTION, FAR]
    assert explanation.candidates[0].vetoes == (Veto("numbers", "1 against 2"),)
    assert explanation.candidates[1].refused is MissReason.BELOW_THRESHOLD
    assert explanation.verdict.reason is MissReason.GUARD
    text = str(explanation)
    for part in (
        NEAR,
        QUESTION,
        "numbers: 1 against 2",
        "no guard objects",
        "below_threshold",
        "miss: guard",
        explanation.scope,
    ):
        assert part in text


@pytest.mark.parametrize(("text", "kind"), [(QUESTION, "exact"), (NEAR, "semantic")])
def test_an_explanation_decides_as_a_lookup_does(cache, text, kind):
    cache.put(QUESTION, "Paris")
    explained, looked_up = cache.explain(text).verdict, cache.lookup(text)
    assert isinstance(explained, Hit)
    assert (explained.kind, explained.similarity, explained.id) == (kind, looked_up.similarity, looked_up.id)


def test_an_explanation_names_policy_and_other_reasons():
    with make(None, policy=Policy()) as cache:
        cache.put("what is the weather right now", "rain")
        explanation = cache.explain("so what is the weather right now")
        assert explanation.policy == "freshness"
        assert "freshness" in str(explanation)
        assert len(explanation.candidates) == 0  # entries of such a class have no code
        assert "no_text" in str(cache.explain("  "))


def test_a_terminal_is_safe_from_what_a_prompt_holds(cache):
    assert "\x1b" not in str(cache.explain("\x1b[31m red \x07"))


def test_tags_scopes_and_prompts_invalidate(cache):
    def fill():
        cache.clear()
        cache.put("alpha", "1", tags=["x", "y"], scope="s")
        cache.put("beta", "2", tags=["x"])
        cache.put("gamma", "3")

    def left():
        return [
            text
            for text, scope in (("alpha", "s"), ("beta", None), ("gamma", None))
            if cache.lookup(text, scope=scope)
        ]

    for criteria, expected in (
        ({"tag": "x"}, ["gamma"]),
        ({"tag": "x", "scope": "s"}, ["beta", "gamma"]),
        ({"tag": "x", "scope": None}, ["alpha", "gamma"]),
        ({"scope": None}, ["alpha"]),
        ({"prompt": "beta"}, ["alpha", "gamma"]),
        ({"prompt": "alpha"}, ["alpha", "beta", "gamma"]),
        ({"prompt": "alpha", "scope": "s"}, ["beta", "gamma"]),
        ({"prompt": "beta", "tag": "y"}, ["alpha", "beta", "gamma"]),
        ({"tag": "z"}, ["alpha", "beta", "gamma"]),
    ):
        fill()
        planned = cache.invalidate(**criteria, dry_run=True)
        assert left() == ["alpha", "beta", "gamma"]
        done = cache.invalidate(**criteria)
        assert (planned.entries, planned.dry_run, done.dry_run) == (done.entries, True, False)
        assert left() == expected
        assert len(done) == 3 - len(expected)


def test_a_radius_invalidates_what_is_near_in_its_scope_alone(cache):
    cache.put(QUESTION, "Paris")
    cache.put(FAR, "eight")
    cache.put(QUESTION, "Paris", scope="other")
    distance = cache.explain(NEAR).candidates[0].distance
    assert len(cache.invalidate(prompt=NEAR, radius=distance - 1, dry_run=True)) == 0
    assert cache.invalidate(prompt=NEAR, radius=distance).entries[0][1] == QUESTION
    assert not cache.lookup(QUESTION)
    assert cache.lookup(FAR)
    assert cache.lookup(QUESTION, scope="other")


def test_invalidation_needs_something_to_go_by(cache):
    with pytest.raises(errors.InvalidValueError, match="clear"):
        cache.invalidate()
    with pytest.raises(errors.InvalidValueError, match="prompt"):
        cache.invalidate(tag="x", radius=5)
    with pytest.raises(errors.InvalidValueError, match="radius"):
        cache.invalidate(prompt="x", radius=257)


def test_clear_empties_all_or_one_scope_but_keeps_reports(cache):
    cache.put(QUESTION, "Paris")
    cache.report(cache.lookup(NEAR))
    cache.put(QUESTION, "Paris")
    cache.put(QUESTION, "Paris", scope="s")
    assert cache.clear(scope="s") == 1
    assert reason(cache.lookup(NEAR)) is MissReason.REPORTED
    assert cache.clear() == 1
    assert len(cache) == 0
    cache.put(QUESTION, "Paris")
    assert reason(cache.lookup(NEAR)) is MissReason.REPORTED


def test_savings_are_counted_from_the_answers_usage():
    answer = {
        "object": "chat.completion",
        "choices": [{"message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
    }
    with make(None, prices={"m": (2.0, 8.0)}) as cache:
        cache.put(chat(QUESTION), answer, took_seconds=1.5)
        assert cache.lookup(chat(QUESTION)).saved.input_tokens == 1000
        cache.lookup(chat(NEAR))
        stats = cache.stats()
    assert (stats.saved_calls, stats.saved_tokens, stats.saved_seconds) == (2, 3000, 3.0)
    assert stats.saved_cost == pytest.approx(2 * (1000 * 2.0 + 500 * 8.0) / 1e6)


def test_requests_are_counted_by_what_became_of_them(cache):
    cache.put(QUESTION, "Paris")
    for text in (QUESTION, NEAR, FAR, FAR):
        cache.lookup(text)
    stats = cache.stats()
    assert (stats.requests, stats.exact_hits, stats.semantic_hits, stats.hits) == (4, 1, 1, 2)
    assert stats.misses == {"below_threshold": 2}
    assert stats.hit_rate == 0.5
    assert (stats.entries, stats.puts) == (1, 1)


# Logs


def test_no_prompt_answer_or_scope_is_logged(where, caplog):
    caplog.set_level(logging.DEBUG)
    with make(where()) as cache:
        secret = "canary-7f3a question about canary things"
        cache.put(secret, "canary-7f3a answer", scope="canary-7f3a tenant", tags=["canary-7f3a"])
        cache.lookup(secret, scope="canary-7f3a tenant")
        cache.lookup(secret + " too", scope="canary-7f3a tenant")
        cache.lookup("canary-7f3a something else", scope="canary-7f3a tenant")
        cache.put("canary-7f3a", "")
        cache.get_or_compute("canary-7f3a x", lambda: {1, 2})
        assert "canary" not in repr(cache)
        assert "canary" not in str(cache.stats())
    assert "canary" not in caplog.text
    assert "semantic hit" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 1.5},
        {"threshold": "high"},
        {"max_entries": 0},
        {"max_bytes": 0},
        {"vectors": "int4"},
        {"timeout_seconds": 0},
        {"embedder": lambda texts: texts},
        {"ttl_seconds": -1},
        {"eviction": "fifo"},
        {"prices": {"m": 3}},
        {"prices": {"m": (1.0, -1.0)}},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises((errors.InvalidValueError, errors.InvalidTypeError)):
        make(None, **wrong)


def test_a_sqlite_store_that_was_passed_in_stays_open(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    with make(store) as cache:
        cache.put(QUESTION, "Paris")
    assert store.stats().entries == 1
    store.close()
