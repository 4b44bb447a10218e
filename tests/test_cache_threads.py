"""Many threads on one cache: every hit is a whole entry, and nothing is lost."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder

DIM = 16
ENCODER = RustBinaryEncoder(DIM)
N = 4000
EMBEDDINGS = np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)
CODES = [code.tobytes() for code in ENCODER.encode(EMBEDDINGS)]


@pytest.fixture(autouse=True)
def _quick_switches():
    """Threads take turns every 10 us instead of every 5 ms, so that they meet far more often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run(*jobs) -> list:
    """Starts all jobs together; their results, or the first error."""
    start = threading.Barrier(len(jobs))

    def together(job):
        start.wait(30)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(120) for future in [pool.submit(together, job) for job in jobs]]


def putting(cache, numbers):
    def job():
        return [cache.put(EMBEDDINGS[number], CODES[number]) for number in numbers]

    return job


def getting(cache, numbers, threshold):
    """Gets whose hits must carry the response of the code they carry, at the similarity they claim."""

    def job():
        hits = 0
        for number in numbers:
            entry = cache.get(EMBEDDINGS[number])
            if entry is not None:
                assert entry.response == entry.code.tobytes()
                asked, got = int.from_bytes(CODES[number], "little"), int.from_bytes(entry.response, "little")
                assert entry.similarity == 1 - (asked ^ got).bit_count() / 256
                assert entry.similarity >= threshold
                hits += 1
        return hits

    return job


@pytest.mark.parametrize("threshold", [0.6, 1.0])
@pytest.mark.parametrize("max_entries", [1, 50, 1500])
def test_a_hit_is_never_of_another_code_while_others_put_at_capacity(max_entries, threshold):
    cache = BinarySemanticCache(ENCODER, max_entries=max_entries, similarity_threshold=threshold)
    rng = np.random.default_rng(max_entries)
    *_, hits_a, hits_b = run(
        putting(cache, range(N)),
        putting(cache, reversed(range(N))),
        getting(cache, rng.integers(0, N, N), threshold),
        getting(cache, rng.integers(0, N, N), threshold),
    )
    stats = cache.stats()
    assert (stats.hits, stats.hits + stats.misses) == (hits_a + hits_b, 2 * N)
    assert stats.size == max_entries
    assert all(entry.response == entry.code.tobytes() for entry in cache.get_all_entries())


def test_gets_stay_true_while_others_delete_clear_and_load(tmp_path):
    cache = BinarySemanticCache(ENCODER, max_entries=300, similarity_threshold=0.6)
    putting(cache, range(100))()
    cache.save(tmp_path / "cache.npz")

    def churning():
        for number in range(1500):
            cache.delete(cache.put(EMBEDDINGS[number], CODES[number]))
            if number % 100 == 0:
                cache.clear()
            if number % 100 == 50:
                cache.load(tmp_path / "cache.npz", mmap=number % 200 == 50)

    numbers = np.random.default_rng(0).integers(0, 2000, 2000)
    run(churning, putting(cache, range(2000)), getting(cache, numbers, 0.6), getting(cache, numbers, 0.6))
    assert all(entry.response == entry.code.tobytes() for entry in cache.get_all_entries())


def test_a_put_that_returned_is_seen_by_the_next_get_of_any_thread():
    cache = BinarySemanticCache(ENCODER, max_entries=N, similarity_threshold=1.0)

    def own(numbers):
        def job():
            for number in numbers:
                entry_id = cache.put(EMBEDDINGS[number], CODES[number])
                assert cache.get(EMBEDDINGS[number]).id == entry_id

        return job

    run(*(own(range(part, N, 4)) for part in range(4)))
    assert len(cache) == N


def test_ids_given_to_several_threads_are_all_different():
    cache = BinarySemanticCache(ENCODER, max_entries=20)
    lists = run(*(putting(cache, range(part, N, 4)) for part in range(4)))
    assert len({entry_id for ids in lists for entry_id in ids}) == N


def test_equal_puts_of_several_threads_make_one_entry():
    cache = BinarySemanticCache(ENCODER, max_entries=N)
    lists = run(*(putting(cache, range(500)) for _ in range(4)))
    assert all(ids == lists[0] for ids in lists)
    assert len(cache) == 500


def test_saving_while_others_put_writes_a_cache_of_one_moment(tmp_path):
    cache = BinarySemanticCache(ENCODER, max_entries=100)
    putting(cache, range(100))()

    def saving():
        for _ in range(10):
            cache.save(tmp_path / "cache.npz")
            other = BinarySemanticCache(ENCODER)
            other.load(tmp_path / "cache.npz")
            assert len(other) == 100
            assert all(entry.response == entry.code.tobytes() for entry in other.get_all_entries())

    run(saving, putting(cache, range(N)))
    assert len(cache) == 100


def test_batches_run_beside_puts():
    cache = BinarySemanticCache(ENCODER, max_entries=50, similarity_threshold=0.6)

    def batches():
        for first in range(0, N, 100):
            for entry in cache.get_many(EMBEDDINGS[first : first + 100]):
                assert entry is None or entry.response == entry.code.tobytes()

    run(batches, batches, putting(cache, range(N)))
    assert cache.stats().hits + cache.stats().misses == 2 * N
