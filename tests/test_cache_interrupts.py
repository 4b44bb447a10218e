"""An exception at any moment (Ctrl-C, out of memory) leaves a cache that serves no wrong answer."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import binary_semantic_cache
from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder

PACKAGE = str(Path(binary_semantic_cache.__file__).parent)
ENCODER = RustBinaryEncoder(16)
X = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)
CAPACITY = 6


class Interrupter:
    """Raises KeyboardInterrupt at the n-th place of the package's code where a signal can arrive.

    The interpreter looks for signals when a function begins and when a call has returned.
    """

    def __init__(self, n: int):
        self.left = n

    def __call__(self, frame, event, arg):
        if event != "c_call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def interrupted(work, n: int) -> bool:
    """Does `work` with an interrupt at its n-th place; whether it got that far."""
    sys.setprofile(Interrupter(n))
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def full_cache() -> BinarySemanticCache:
    cache = BinarySemanticCache(ENCODER, CAPACITY, 1.0)
    for i in range(CAPACITY):
        cache.put(X[i], i)
    return cache


def check(cache: BinarySemanticCache, n_certain: int) -> None:
    """Every answer is right, at least `n_certain` are there, and the cache goes on as a cache does."""

    def use():
        served = [cache.get(x) for x in X]
        assert all(entry is None or entry.response == i for i, entry in enumerate(served))
        assert sum(entry is not None for entry in served) == len(cache) >= n_certain
        entries = cache.get_all_entries()
        assert len({entry.id for entry in entries}) == len(entries) == len(cache)
        for i in range(20, 40):
            cache.put(X[i], i)
            assert cache.get(X[i]).response == i
        assert len(cache) == CAPACITY
        assert all(cache.delete(entry.id) for entry in cache.get_all_entries())
        assert len(cache) == 0

    # In a thread of its own: a lock left behind would stop it.
    error = []

    def guarded():
        try:
            use()
        except BaseException as exc:
            error.append(exc)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    if error:
        raise error[0]


WORK = {
    "a put that evicts": (lambda c: c.put(X[10], 10), CAPACITY - 1),
    "a put of a code that is there": (lambda c: c.put(X[3], 3), CAPACITY),
    "a get that hits": (lambda c: c.get(X[2]), CAPACITY),
    "a batch of gets": (lambda c: c.get_many(X[:8]), CAPACITY),
    "a delete": (lambda c: c.delete(c.get_all_entries()[2].id), CAPACITY - 1),
    "a delete and a put": (lambda c: (c.delete(c.get_all_entries()[2].id), c.put(X[11], 11)), CAPACITY - 2),
    "a clear": (lambda c: c.clear(), 0),
}


@pytest.mark.parametrize("name", WORK)
def test_an_interrupt_at_any_moment_of(name):
    work, n_certain = WORK[name]
    for n in range(1, 10_000):
        cache = full_cache()
        reached = interrupted(lambda cache=cache: work(cache), n)
        check(cache, n_certain if reached else 0)
        if not reached:
            break
    assert 3 < n < 9_999


# Between `open` and `with` an interrupt leaves a file to the collector, which closes it and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("mmap", [False, True])
def test_an_interrupt_at_any_moment_of_a_load(tmp_path, mmap):
    full_cache().save(tmp_path / "c.npz")
    for n in range(1, 10_000):
        cache = BinarySemanticCache(ENCODER, CAPACITY, 1.0)
        for i in range(30, 34):
            cache.put(X[i], i)
        reached = interrupted(lambda cache=cache: cache.load(tmp_path / "c.npz", mmap=mmap), n)
        check(cache, 0)
        if not reached:
            break
    assert 3 < n < 9_999


def test_an_interrupt_at_any_moment_of_the_first_put_after_a_load(tmp_path):
    full_cache().save(tmp_path / "c.npz")
    for n in range(1, 10_000):
        cache = BinarySemanticCache(ENCODER, CAPACITY, 1.0)
        cache.load(tmp_path / "c.npz", mmap=True)
        reached = interrupted(lambda cache=cache: cache.put(X[10], 10), n)
        check(cache, CAPACITY - 1)
        if not reached:
            break
    assert 3 < n < 9_999


def test_memory_that_runs_out_while_the_cache_grows_does_no_harm(monkeypatch):
    from binary_semantic_cache.vector import columns, lru, table

    for module in (columns, lru, table):
        for failing in range(1, 8):
            cache = BinarySemanticCache(ENCODER, 1_000, 1.0)
            real, calls = module.room, []

            def room(*args, real=real, calls=calls, failing=failing):
                calls.append(args)
                if len(calls) == failing:
                    raise MemoryError
                return real(*args)

            monkeypatch.setattr(module, "room", room)
            stored = []
            numbers = np.random.default_rng(1).standard_normal((150, 16)).astype(np.float32)
            for i, x in enumerate(numbers):
                try:
                    cache.put(x, i)
                    stored.append(i)
                except MemoryError:
                    pass
            monkeypatch.setattr(module, "room", real)
            assert len(stored) >= 149 - (module is not columns)
            assert [cache.get(numbers[i]).response for i in stored] == stored
