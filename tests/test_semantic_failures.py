"""SemanticCache: a failure of embedder, store, guard or verifier is a miss that says so."""

import asyncio
import logging
import threading
from time import monotonic

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.stores.memory import MemoryStore
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.verdict import MissReason
from semantic_caches import FAR, NEAR, QUESTION, make, reason
from words import WordEmbedder


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


for _name in ("find", "get", "put_many", "vectors", "moved_past", "changes", "delete", "prolong"):

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


def test_a_store_that_takes_nothing_serves_what_it_has():
    store = BrokenStore()
    with make(store, ttl_seconds=3600.0, sliding_ttl=True) as cache:
        cache.put(QUESTION, "Paris")
        store.broken |= {"put_many", "prolong"}
        for _ in range(10):
            with pytest.raises(errors.StoreError):
                cache.put(FAR, "eight")
        for _ in range(10):
            assert cache.lookup(QUESTION).response == "Paris"


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
