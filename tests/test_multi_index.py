"""MultiIndex gives what the scan gives: random, clustered and real codes, threads, forks, bad input."""

import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from binary_semantic_cache import HammingSimilarity, RustBinaryEncoder, errors
from binary_semantic_cache.binary_semantic_cache_rs import MultiIndex
from binary_semantic_cache.embedders.local import LocalEmbedder

QUESTIONS = Path(__file__).parent.parent / "benches" / "quality" / "pairs.jsonl"
N = 30_000


def uniform(n, n_words=4, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, (n, n_words), dtype=np.uint64)


def flipped(codes, share, seed):
    bits = np.random.default_rng(seed).random((len(codes), codes.shape[1] * 64)) < share
    return codes ^ np.packbits(bits, axis=1).view(np.uint64)


def clustered(n, n_words=4, seed=0):
    """A thousand centres, 15 % of the bits flipped."""
    picked = np.random.default_rng(seed + 1).integers(0, 1000, n)
    return flipped(uniform(1000, n_words, seed=99)[picked], 0.15, seed + 2)


def filled(codes, **given):
    index = MultiIndex(codes.shape[1] * 64, len(codes), **given)
    index.insert(np.arange(len(codes), dtype=np.int32), codes)
    return index


def assert_equal_to_the_scan(index, codes, queries, thresholds, live=None):
    hamming = HammingSimilarity(index.code_bits)
    for query in queries:
        for threshold in thresholds:
            expected = hamming.find_nearest(query, codes, threshold, live=live)
            assert index.find_nearest(query, codes, threshold, live=live) == expected


@pytest.mark.parametrize("make", [uniform, clustered])
@pytest.mark.parametrize("n_words", [1, 2, 4, 8])
def test_searches_equal_the_scan(make, n_words):
    codes = make(N, n_words)
    index = filled(codes)
    queries = np.concatenate(
        [codes[:10], flipped(codes[:20], 0.05, 5), flipped(codes[:10], 0.14, 6), make(10, n_words, seed=7)]
    )
    assert_equal_to_the_scan(index, codes, queries, (0.0, 0.85, 0.95, 1.0))
    answered, scanned = index.searches
    assert answered > 50
    assert answered + scanned == 200


def test_every_instruction_set_finds_the_same(isa):
    codes = clustered(5000)
    assert_equal_to_the_scan(filled(codes, isa=isa), codes, flipped(codes[:20], 0.06, 1), (0.9, 0.95))


def test_codes_of_real_embeddings_are_found_as_by_the_scan(int8_model):
    pairs = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    embedder = LocalEmbedder(int8_model)
    encoder = RustBinaryEncoder(embedder.dimension)
    stored = encoder.encode(embedder.embed([pair["a"] for pair in pairs]))
    asked = encoder.encode(embedder.embed([pair["b"] for pair in pairs]))
    # Many wordings of each question, and thousands that are the same to a bit or two.
    wordings = flipped(np.repeat(stored, 400, axis=0), 0.06, 2)
    codes = np.concatenate([stored, wordings, flipped(np.repeat(stored[:1], 5000, axis=0), 0.004, 3)])
    index = filled(codes)
    assert_equal_to_the_scan(index, codes, np.concatenate([stored, asked]), (0.8, 0.85, 0.9, 0.95, 1.0))
    assert index.searches[0] > 50


def test_ties_go_to_the_lowest_row():
    codes = uniform(N)
    codes[[29_000, 700, 15_000]] = codes[3] ^ np.array([0, 0, 1, 0], np.uint64)
    query = codes[3] ^ np.array([0, 0, 3, 0], np.uint64)
    codes[3] = codes[4]
    assert filled(codes).find_nearest(query, codes, 0.95) == (700, 1 - 1 / 256)


def test_removed_rows_and_rows_that_are_not_live_are_not_found():
    codes = uniform(N)
    index = filled(codes)
    assert index.remove(5, codes)
    assert not index.remove(5, codes)
    assert index.find_nearest(codes[5], codes, 0.95) is None
    live = np.full(N // 8, 0xFF, np.uint8)
    live[0] = 0b1011_1111
    assert index.find_nearest(codes[6], codes, 0.95, live=live) is None
    assert index.find_nearest(codes[6], codes, 0.95) == (6, 1.0)
    assert len(index) == N - 1


def test_rows_that_a_query_does_not_know_of_are_not_found():
    codes = uniform(N)
    index = filled(codes)
    assert index.find_nearest(codes[20_000], codes[:20_000], 0.95) is None


def test_rows_may_be_used_again_after_a_removal():
    codes = uniform(N)
    index = filled(codes)
    rows = np.arange(0, N, 3, dtype=np.int32)
    for row in rows.tolist():
        assert index.remove(row, codes)
    codes[rows] = uniform(len(rows), seed=8)
    index.insert(rows, codes)
    assert_equal_to_the_scan(index, codes, flipped(codes[:60], 0.05, 9), (0.9,))
    assert len(index) == N


def test_the_memory_of_a_row_is_stated_and_near_what_groups_half_full_take():
    index = filled(uniform(200_000))
    # A line of 64 bytes for 5.25 to 10.5 rows in each table, and some for extents.
    full = 64 / 10.5 * index.n_substrings
    assert full < index.nbytes / len(index) < 2.5 * full


def test_growth_beyond_what_was_expected_keeps_searches_exact():
    codes = uniform(N)
    index = MultiIndex(256, 200)
    for first in range(0, N, 1000):
        index.insert(np.arange(first, first + 1000, dtype=np.int32), codes)
        present = codes[: first + 1000]
        assert_equal_to_the_scan(index, present, flipped(present[-3:], 0.05, first), (0.9, 0.95))


def test_searches_run_while_another_thread_inserts_and_removes():
    codes = uniform(60_000)
    index, hamming = MultiIndex(256, 1000), HammingSimilarity()
    index.insert(np.arange(2000, dtype=np.int32), codes)
    queries = flipped(codes[:2000], 0.04, 3)
    done, errors_seen, n_searches = threading.Event(), [], [0, 0]

    def search(number):
        rng = np.random.default_rng(number)
        try:
            while not done.is_set() or n_searches[number] < 50:
                row = int(rng.integers(2000))
                expected = row, hamming.similarity(queries[row], codes[row])
                assert index.find_nearest(queries[row], codes, 0.85) == expected
                n_searches[number] += 1
        except BaseException as exc:
            errors_seen.append(exc)

    threads = [threading.Thread(target=search, args=(number,)) for number in (0, 1)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for row in range(2000, 60_000):
            index.insert(np.array([row], np.int32), codes)
            if row % 3 == 0 and row > 2000:
                assert index.remove(row - 1, codes)
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
        sys.setswitchinterval(before)
    assert not errors_seen
    assert min(n_searches) >= 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_others_search_and_insert_can_do_both():
    codes = uniform(N)
    index = filled(codes[: N // 2])
    done = threading.Event()

    def search():
        while not done.is_set():
            index.find_nearest(codes[7], codes[: N // 2], 0.0)

    def insert():
        for row in range(N // 2, N - 1000):
            index.insert(np.array([row], np.int32), codes)
            if done.is_set():
                break

    threads = [
        threading.Thread(target=search),
        threading.Thread(target=search),
        threading.Thread(target=insert),
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if not child:
                # An alarm ends a child that waits for a thread that it does not have.
                import signal

                signal.alarm(20)
                index.insert(np.arange(N - 1000, N, dtype=np.int32), codes)
                found = index.find_nearest(codes[N - 1], codes, 0.95)
                os._exit(0 if found == (N - 1, 1.0) and index.remove(N - 1, codes) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        done.set()
        for thread in threads:
            thread.join(60)


def test_wrong_input_is_refused_by_name():
    codes = uniform(10)
    index = filled(codes)
    for code_bits in (0, 63, 1025):
        with pytest.raises(errors.InvalidValueError, match="code_bits of an index from 64 to 1024"):
            MultiIndex(code_bits)
    with pytest.raises(errors.InvalidValueError, match="expected_rows"):
        MultiIndex(256, 2**27 + 1)
    with pytest.raises(errors.UnsupportedIsaError):
        MultiIndex(isa="mmx")
    for row in (-1, 10):
        with pytest.raises(errors.InvalidValueError, match="rows from 0 to below 10"):
            index.insert(np.array([row], np.int32), codes)
        with pytest.raises(errors.InvalidValueError, match="rows from 0 to below 10"):
            index.remove(row, codes)
    with pytest.raises(errors.DimensionError):
        index.insert(np.array([0], np.int32), codes[:, :3].copy())
    with pytest.raises(errors.InvalidTypeError):
        index.insert([0], codes)
    with pytest.raises(errors.InvalidValueError, match="threshold"):
        index.find_nearest(codes[0], codes, 1.5)
    with pytest.raises(errors.DimensionError):
        index.find_nearest(codes[0][:3].copy(), codes, 0.9)
    with pytest.raises(errors.DimensionError):
        index.find_nearest(codes[0], codes, 0.9, live=np.zeros(1, np.uint8))


def test_unused_bits_in_a_query_are_refused():
    codes = uniform(10, 2) & np.array([2**64 - 1, 2**36 - 1], np.uint64)
    index = MultiIndex(100, 10)
    index.insert(np.arange(10, dtype=np.int32), codes)
    assert index.find_nearest(codes[4], codes, 0.95) == (4, 1.0)
    with pytest.raises(errors.InvalidValueError, match="beyond bit 100"):
        index.find_nearest(codes[4] | np.uint64(1 << 63), codes, 0.95)
