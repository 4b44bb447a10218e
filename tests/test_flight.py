"""Single flight: one computation for all who ask the same, in threads and event loops together."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

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

    async def awaited(self):
        return await asyncio.to_thread(self)


def waiting(flights: Flights, n: int, key=KEY) -> None:
    """Returns when `n` threads wait for the flight of `key`."""
    while True:
        flight = flights._flights.get(key)
        if flight is not None and len(flight.outcome._condition._waiters) >= n:
            return


def test_threads_that_ask_the_same_share_one_computation():
    flights, compute = Flights(), Computation()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(flights.run, KEY, compute)
        assert compute.began.acquire(timeout=30)
        others = [pool.submit(flights.run, KEY, compute) for _ in range(8)]
        waiting(flights, 8)
        compute.go.release()
        assert first.result(30) == ("answer", False)
        assert [other.result(30) for other in others] == [("answer", True)] * 8
    assert compute.calls == 1


def test_another_key_does_not_wait():
    flights, compute = Flights(), Computation()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(flights.run, KEY, compute)
        assert compute.began.acquire(timeout=30)
        assert flights.run(OTHER, lambda: 1) == (1, False)
        compute.go.release()
        first.result(30)


def test_a_failure_reaches_all_and_the_next_call_computes_anew():
    flights, compute = Flights(), Computation(ValueError("no"))
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(flights.run, KEY, compute)]
        assert compute.began.acquire(timeout=30)
        calls += [pool.submit(flights.run, KEY, compute) for _ in range(2)]
        waiting(flights, 2)
        compute.go.release()
        for call in calls:
            with pytest.raises(ValueError, match="no"):
                call.result(30)
    assert compute.calls == 1
    assert flights.run(KEY, lambda: 2) == (2, False)


def test_another_takes_over_from_one_who_was_interrupted():
    flights = Flights()
    interrupted, compute = Computation(KeyboardInterrupt()), Computation()
    compute.go.release()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.run, KEY, interrupted)
        assert interrupted.began.acquire(timeout=30)
        second = pool.submit(flights.run, KEY, compute)
        waiting(flights, 1)
        interrupted.go.release()
        with pytest.raises(KeyboardInterrupt):
            first.result(30)
        assert second.result(30) == ("answer", False)


def test_a_computation_that_asks_for_itself_does_not_wait_for_itself():
    flights = Flights()
    assert flights.run(KEY, lambda: flights.run(KEY, lambda: "inner")) == (("inner", False), False)


def test_tasks_and_threads_share_one_computation():
    flights, compute = Flights(), Computation()

    async def main():
        first = asyncio.create_task(flights.arun(KEY, compute.awaited))
        await asyncio.to_thread(compute.began.acquire)
        tasks = [asyncio.create_task(flights.arun(KEY, compute.awaited)) for _ in range(3)]
        thread = asyncio.create_task(asyncio.to_thread(flights.run, KEY, compute))
        await asyncio.to_thread(waiting, flights, 1)
        compute.go.release()
        assert await first == ("answer", False)
        assert await asyncio.gather(*tasks, thread) == [("answer", True)] * 4

    asyncio.run(main())
    assert compute.calls == 1


def test_a_task_joins_a_threads_computation():
    flights, compute = Flights(), Computation()

    async def main():
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(flights.run, KEY, compute)
            await asyncio.to_thread(compute.began.acquire)
            task = asyncio.create_task(flights.arun(KEY, compute.awaited))
            await asyncio.sleep(0)
            compute.go.release()
            assert await task == ("answer", True)
            assert first.result(30) == ("answer", False)

    asyncio.run(main())


def test_a_waiter_that_is_cancelled_cancels_nobody_else():
    flights, compute = Flights(), Computation()

    async def main():
        first = asyncio.create_task(flights.arun(KEY, compute.awaited))
        await asyncio.to_thread(compute.began.acquire)
        impatient = asyncio.create_task(flights.arun(KEY, compute.awaited))
        patient = asyncio.create_task(flights.arun(KEY, compute.awaited))
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        compute.go.release()
        assert await first == ("answer", False)
        assert await patient == ("answer", True)

    asyncio.run(main())


def test_a_waiter_takes_over_from_a_task_that_was_cancelled():
    flights = Flights()

    async def main():
        for_ever = asyncio.Event()
        first = asyncio.create_task(flights.arun(KEY, for_ever.wait))
        await asyncio.sleep(0)

        async def quick():
            return "answer"

        second = asyncio.create_task(flights.arun(KEY, quick))
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.wait_for(second, 30) == ("answer", False)

    asyncio.run(main())


def test_a_blocking_call_inside_the_loop_that_computes_does_not_wait_for_it():
    flights = Flights()

    async def main():
        began, go = asyncio.Event(), asyncio.Event()

        async def slow():
            began.set()
            await go.wait()
            return "slow"

        first = asyncio.create_task(flights.arun(KEY, slow))
        await began.wait()
        assert flights.run(KEY, lambda: "at once") == ("at once", False)
        go.set()
        assert await first == ("slow", False)

    asyncio.run(main())
