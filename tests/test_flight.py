"""Single flight: one computation for all who ask the same, in threads and event loops together."""

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from binary_semantic_cache.text import flight as flight_module
from binary_semantic_cache.text.flight import Flights

KEY, OTHER = b"k" * 16, b"o" * 16


class Computation:
    """Counts its calls, and waits for `go` in each."""

    def __init__(self, result="answer"):
        self.calls = 0
        self.result = result
        self.began = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self):
        self.calls += 1
        self.began.release()
        assert self.go.acquire(timeout=30)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def made(compute):
    """What a flight computes: the answer with "own" for its pilot, with "joined" for the others."""

    def work():
        result = compute()
        return (result, "own"), (result, "joined")

    return work


def awaited(compute):
    async def work():
        return await asyncio.to_thread(made(compute))

    return work


def run(flights: Flights, key: bytes, compute):
    return flights.run(key, made(compute), lambda own: None)


async def nothing(own):
    """Keeps nothing."""


async def arun(flights: Flights, key: bytes, compute):
    return await flights.arun(key, awaited(compute), nothing)


def waiting(flights: Flights, n: int, key=KEY) -> None:
    """Returns when `n` threads or tasks wait for the flight of `key`."""
    while sum(flight is flights._flights.get(key) for flight in list(flights._waits.values())) < n:
        pass


def test_threads_that_ask_the_same_share_one_computation():
    flights, compute = Flights(), Computation()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(run, flights, KEY, compute)
        assert compute.began.acquire(timeout=30)
        others = [pool.submit(run, flights, KEY, compute) for _ in range(8)]
        waiting(flights, 8)
        compute.go.release()
        assert first.result(30) == ("answer", "own")
        assert [other.result(30) for other in others] == [("answer", "joined")] * 8
    assert compute.calls == 1
    assert (flights._flights, flights._waits) == ({}, {})


def test_another_key_does_not_wait():
    flights, compute = Flights(), Computation()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, flights, KEY, compute)
        assert compute.began.acquire(timeout=30)
        assert run(flights, OTHER, lambda: 1) == (1, "own")
        compute.go.release()
        first.result(30)


def test_those_who_wait_have_their_answer_before_it_is_kept():
    flights, compute, keep = Flights(), Computation(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.run, KEY, made(compute), lambda own: keep.wait(30))
        assert compute.began.acquire(timeout=30)
        second = pool.submit(run, flights, KEY, compute)
        waiting(flights, 1)
        compute.go.release()
        assert second.result(30) == ("answer", "joined")
        assert not first.done()
        assert run(flights, KEY, compute) == ("answer", "joined")
        keep.set()
        assert first.result(30) == ("answer", "own")


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("no")])
def test_a_failure_reaches_all_and_the_next_call_computes_anew(error):
    flights, compute = Flights(), Computation(error)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(run, flights, KEY, compute)]
        assert compute.began.acquire(timeout=30)
        calls += [pool.submit(run, flights, KEY, compute) for _ in range(2)]
        waiting(flights, 2)
        compute.go.release()
        for call in calls:
            with pytest.raises(type(error), match="no"):
                call.result(30)
    assert compute.calls == 1
    assert run(flights, KEY, lambda: 2) == (2, "own")


def test_another_takes_over_from_one_who_was_interrupted():
    flights = Flights()
    interrupted, compute = Computation(KeyboardInterrupt()), Computation()
    compute.go.release()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, flights, KEY, interrupted)
        assert interrupted.began.acquire(timeout=30)
        second = pool.submit(run, flights, KEY, compute)
        waiting(flights, 1)
        interrupted.go.release()
        with pytest.raises(KeyboardInterrupt):
            first.result(30)
        assert second.result(30) == ("answer", "own")


def test_an_interrupt_at_any_moment_leaves_no_flight_behind():
    source = flight_module.__file__
    for n in range(1, 200):
        flights, left = Flights(), [n]

        def profile(frame, event, arg, left=left):
            if event != "c_call" and frame.f_code.co_filename == source:
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt

        sys.setprofile(profile)
        try:
            run(flights, KEY, lambda: 1)
            reached = False
        except KeyboardInterrupt:
            reached = True
        finally:
            sys.setprofile(None)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(run, flights, KEY, lambda: 2).result(20) == (2, "own"), n
        assert flight_module._computing.get() == frozenset()
        if not reached:
            break
    assert 5 < n < 199


def test_a_computation_that_asks_for_itself_does_not_wait_for_itself():
    flights = Flights()
    assert run(flights, KEY, lambda: run(flights, KEY, lambda: "inner")) == (("inner", "own"), "own")


def test_two_computations_that_ask_for_each_other_do_not_wait_for_ever():
    flights, both = Flights(), threading.Barrier(2)

    def ask(key, other):
        def compute():
            both.wait(30)
            return run(flights, other, lambda: "inner")[0]

        return run(flights, key, compute)[0]

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask, KEY, OTHER), pool.submit(ask, OTHER, KEY)]
        assert [one.result(30) for one in asked] == ["inner", "inner"]


def test_one_who_waited_long_computes(monkeypatch):
    monkeypatch.setattr(flight_module, "PATIENCE_SECONDS", 0.05)
    flights, compute = Flights(), Computation()

    async def main():
        return await arun(flights, KEY, lambda: "task")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, flights, KEY, compute)
        assert compute.began.acquire(timeout=30)
        assert run(flights, KEY, lambda: "impatient") == ("impatient", "own")
        assert asyncio.run(main()) == ("task", "own")
        compute.go.release()
        assert first.result(30) == ("answer", "own")


def test_tasks_and_threads_share_one_computation():
    flights, compute = Flights(), Computation()

    async def main():
        first = asyncio.create_task(arun(flights, KEY, compute))
        await asyncio.to_thread(compute.began.acquire)
        tasks = [asyncio.create_task(arun(flights, KEY, compute)) for _ in range(3)]
        thread = asyncio.create_task(asyncio.to_thread(run, flights, KEY, compute))
        await asyncio.to_thread(waiting, flights, 4)
        compute.go.release()
        assert await first == ("answer", "own")
        assert await asyncio.gather(*tasks, thread) == [("answer", "joined")] * 4

    asyncio.run(main())
    assert compute.calls == 1


def test_a_task_joins_a_threads_computation():
    flights, compute = Flights(), Computation()

    async def main():
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(run, flights, KEY, compute)
            await asyncio.to_thread(compute.began.acquire)
            task = asyncio.create_task(arun(flights, KEY, compute))
            await asyncio.sleep(0)
            compute.go.release()
            assert await task == ("answer", "joined")
            assert first.result(30) == ("answer", "own")

    asyncio.run(main())


def test_a_waiter_that_is_cancelled_cancels_nobody_else():
    flights, compute = Flights(), Computation()

    async def main():
        first = asyncio.create_task(arun(flights, KEY, compute))
        await asyncio.to_thread(compute.began.acquire)
        impatient = asyncio.create_task(arun(flights, KEY, compute))
        patient = asyncio.create_task(arun(flights, KEY, compute))
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        compute.go.release()
        assert await first == ("answer", "own")
        assert await patient == ("answer", "joined")

    asyncio.run(main())


def test_a_waiter_takes_over_from_a_task_that_was_cancelled():
    flights = Flights()

    async def main():
        for_ever = asyncio.Event()

        async def endless():
            await for_ever.wait()

        first = asyncio.create_task(flights.arun(KEY, endless, nothing))
        await asyncio.sleep(0)
        second = asyncio.create_task(arun(flights, KEY, lambda: "answer"))
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.wait_for(second, 30) == ("answer", "own")

    asyncio.run(main())


def test_a_blocking_call_inside_the_loop_that_computes_does_not_wait_for_it():
    flights = Flights()

    async def main():
        began, go = asyncio.Event(), asyncio.Event()

        async def slow():
            began.set()
            await go.wait()
            return "slow", "slow"

        first = asyncio.create_task(flights.arun(KEY, slow, nothing))
        await began.wait()
        assert run(flights, KEY, lambda: "at once") == ("at once", "own")
        go.set()
        assert await first == "slow"

    asyncio.run(main())
