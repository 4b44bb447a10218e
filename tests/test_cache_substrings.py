"""A cache that searches by substrings is a cache that scans, whatever happens to it."""

import threading

import numpy as np
import pytest

import binary_semantic_cache.vector.cache as cache_module
from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder, errors
from test_cache_interrupts import WORK, X, check, interrupted
from test_cache_threads import EMBEDDINGS, ENCODER, getting, putting, run

INTERRUPTED = RustBinaryEncoder(16)
CAPACITY = 6
THRESHOLD = 0.95


def make(search, max_entries=3000, threshold=THRESHOLD):
    return BinarySemanticCache(ENCODER, max_entries, threshold, search=search)


def answered(cache) -> int:
    """Searches that the substrings alone have answered."""
    substrings = cache._index._substrings
    index = None if substrings is None else substrings._index
    return 0 if index is None else index.searches[0]


def noisy(embeddings, seed):
    noise = np.random.default_rng(seed).standard_normal(embeddings.shape).astype(np.float32)
    return embeddings + np.float32(0.1) * noise


def same(found, expected):
    assert (found is None) == (expected is None)
    if found is not None:
        assert (found.id, found.response, found.similarity, found.access_count) == (
            expected.id,
            expected.response,
            expected.similarity,
            expected.access_count,
        )


@pytest.mark.parametrize("threshold", [0.0, 0.85, THRESHOLD, 1.0])
@pytest.mark.parametrize("max_entries", [1, 1500, 3000])
def test_gets_are_those_of_a_scan_under_puts_evictions_deletes_and_loads(tmp_path, max_entries, threshold):
    caches = [make(search, max_entries, threshold) for search in ("multi-index", "scan")]
    rng = np.random.default_rng(1)
    asked = noisy(EMBEDDINGS, 2)
    for step in range(6000):
        number, action = int(rng.integers(len(EMBEDDINGS))), rng.random()
        if action < 0.7:
            ids = {cache.put(EMBEDDINGS[number], step) for cache in caches}
            assert len(ids) == 1
        elif action < 0.95:
            embedding = (EMBEDDINGS, asked)[step % 2][number]
            same(*[cache.get(embedding) for cache in caches])
        elif action < 0.9995:
            entry = caches[1].get(EMBEDDINGS[number])
            same(caches[0].get(EMBEDDINGS[number]), entry)
            if entry is not None:
                assert [cache.delete(entry.id) for cache in caches] == [True, True]
        else:
            for cache in caches:
                cache.save(tmp_path / "c.npz")
                cache.load(tmp_path / "c.npz", mmap=bool(step % 2))
    if max_entries > 1000 and threshold >= THRESHOLD:
        assert answered(caches[0]) > 100


@pytest.mark.parametrize("name", WORK)
def test_an_interrupt_at_any_moment_of(name):
    work, n_certain = WORK[name]
    for n in range(1, 10_000):
        cache = BinarySemanticCache(INTERRUPTED, CAPACITY, 1.0, search="multi-index")
        for i in range(CAPACITY):
            cache.put(X[i], i)
        # Every second time the rows are entered beforehand, else it is the work that does it.
        if n % 2:
            cache.get(X[0])
        reached = interrupted(lambda cache=cache: work(cache), (n + 1) // 2)
        check(cache, n_certain if reached else 0)
        if not reached and not n % 2:
            break
    assert 3 < n < 9_999


def test_threads_that_put_and_get_at_capacity_get_whole_entries():
    cache = make("multi-index", 1500)
    rng = np.random.default_rng(3)
    n = len(EMBEDDINGS)
    *_, hits_a, hits_b = run(
        putting(cache, range(n)),
        putting(cache, reversed(range(n))),
        getting(cache, rng.integers(0, n, n), THRESHOLD),
        getting(cache, rng.integers(0, n, n), THRESHOLD),
    )
    stats = cache.stats()
    assert (stats.hits, stats.hits + stats.misses) == (hits_a + hits_b, 2 * n)
    assert answered(cache) > 0
    assert all(entry.response == entry.code.tobytes() for entry in cache.get_all_entries())


def test_what_was_put_is_found_at_once_while_others_put():
    cache = make("multi-index", 10_000)
    cache.put_many(EMBEDDINGS[:2000], list(range(2000)))
    missing = []

    def putting_and_getting(numbers):
        for number in numbers:
            cache.put(EMBEDDINGS[number], number)
            entry = cache.get(EMBEDDINGS[number])
            if entry is None or entry.similarity != 1.0:
                missing.append(number)

    threads = [
        threading.Thread(target=putting_and_getting, args=(range(first, 4000, 2),)) for first in (2000, 2001)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not missing
    assert answered(cache) > 0


def test_rows_are_entered_by_gets_and_scans_answer_until_then():
    cache = make("multi-index", 10_000)
    cache.put_many(EMBEDDINGS, list(range(4000)))
    before = cache.stats().memory_bytes
    assert answered(cache) == 0
    assert cache.get(EMBEDDINGS[7]).response == 7
    assert answered(cache) == 0
    # How many steps it takes depends on the machine: each enters a row at least.
    for number in range(4010):
        assert cache.get(EMBEDDINGS[number % 4000]).response == number % 4000
    assert answered(cache) >= 9
    assert cache.stats().memory_bytes > before + 50 * 4000


def test_auto_builds_from_a_size_and_a_threshold_on(monkeypatch):
    monkeypatch.setattr(cache_module, "AUTO_ROWS", 2000)
    for threshold, most, n, builds in [
        (0.95, 10_000, 2000, True),
        (0.95, 10_000, 1999, False),
        (0.95, 1999, 1999, False),
        (0.84, 10_000, 2000, False),
    ]:
        cache = make("auto", most, threshold)
        cache.put_many(EMBEDDINGS[:n], list(range(n)))
        for number in range(n + 5):
            assert cache.get(EMBEDDINGS[number % n]).response == number % n
        assert (answered(cache) > 0) is builds


def test_a_cache_of_a_width_that_is_not_indexed_scans_unless_told_otherwise():
    narrow = RustBinaryEncoder(16, code_bits=63)
    assert BinarySemanticCache(narrow).get(X[0]) is None
    with pytest.raises(errors.InvalidValueError, match="64 to 1024 bits for a multi-index, got 63"):
        BinarySemanticCache(narrow, search="multi-index")


def test_an_unknown_search_is_refused():
    with pytest.raises(errors.InvalidValueError, match="auto, scan or multi-index, got 'hnsw'"):
        make("hnsw")
