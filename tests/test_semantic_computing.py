"""SemanticCache: computations, shared by those who ask at the same time."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from binary_semantic_cache import errors
from semantic_caches import NEAR, QUESTION, make
from words import WordEmbedder


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
