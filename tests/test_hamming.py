"""HammingSimilarity: search and distances against the oracle, borrowed arrays, bad input."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache import HammingSimilarity, RustBinaryEncoder, errors
from binary_semantic_cache.binary_semantic_cache_rs import available_isas, crc32
from oracles import similarity as oracle


def random_codes(n, n_words=4, seed=0, spread=0.5):
    """Codes around one centre; a small `spread` makes ties common."""
    random = np.random.default_rng(seed)
    bits = random.random((n, n_words * 64)) < spread
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)


@pytest.mark.parametrize("code_bits", [64, 128, 256, 320, 512, 1024, 4096])
def test_searches_equal_the_oracle(code_bits, isa):
    hamming = HammingSimilarity(code_bits, isa=isa)
    codes = random_codes(300, hamming.n_words, spread=0.02)
    for query in random_codes(20, hamming.n_words, seed=1, spread=0.02):
        for threshold in (0.0, 0.9, 0.97, 1.0):
            nearest = oracle.find_nearest(query, codes, threshold, code_bits)
            assert hamming.find_nearest(query, codes, threshold) == nearest
            indices, distances = hamming.find_within(query, codes, threshold, 10)
            expected = oracle.find_within(query, codes, threshold, 10, code_bits)
            assert np.array_equal(indices, expected[0])
            assert np.array_equal(distances, expected[1])


def test_nearest_breaks_ties_by_lowest_index(isa):
    codes = np.repeat(random_codes(1), 100, axis=0)
    hamming = HammingSimilarity(isa=isa)
    assert hamming.find_nearest(codes[0], codes, 0.5) == (0, 1.0)
    rows = np.array([70, 30, 50], np.int32)
    assert hamming.find_nearest(codes[0], codes, 0.5, rows=rows) == (30, 1.0)
    assert hamming.find_within(codes[0], codes, 0.5, 2, rows=rows)[0].tolist() == [30, 50]


@given(distance=st.integers(0, 256))
def test_a_row_exactly_at_the_threshold_is_a_hit_and_just_above_a_miss(distance):
    code = np.packbits(np.arange(256) < distance, bitorder="little").view(np.uint64)[None]
    query = np.zeros(4, np.uint64)
    threshold = 1.0 - distance / 256
    assert HammingSimilarity().find_nearest(query, code, threshold) == (0, threshold)
    above = np.nextafter(threshold, 2.0)
    if above <= 1.0:
        assert HammingSimilarity().find_nearest(query, code, above) is None


def test_dead_rows_and_rows_outside_the_scope_are_never_found(isa):
    hamming = HammingSimilarity(isa=isa)
    codes = random_codes(200, spread=0.02)
    random = np.random.default_rng(2)
    for query in random_codes(50, seed=3, spread=0.02):
        alive = random.random(200) < 0.5
        rows = np.flatnonzero(random.random(200) < 0.3).astype(np.int32)[::-1].copy()
        live = np.packbits(alive, bitorder="little")
        masked = np.where(alive, oracle.hamming_distance(query, codes), 999)
        assert hamming.find_nearest(query, codes, 0.0, live=live)[0] == masked.argmin()
        indices, _ = hamming.find_within(query, codes, 0.0, 500, live=live, rows=rows)
        assert set(indices) == {row for row in rows.tolist() if alive[row]}
        scopes = np.full(200, -1, np.int32)
        scopes[rows] = 3
        in_scope = hamming.find_within(query, codes, 0.0, 500, live=live, scope=(scopes, 3))[0]
        assert np.array_equal(in_scope, indices)
        nearest = hamming.find_nearest(query, codes, 0.0, live=live, rows=rows)
        assert hamming.find_nearest(query, codes, 0.0, live=live, scope=(scopes, 3)) == nearest
        batch = hamming.find_nearest_batch(query[None], codes, 0.0, live=live, scope=(scopes, 3))
        assert (batch[0][0], batch[1][0]) == nearest


def test_a_batch_gives_what_single_searches_give(isa):
    hamming = HammingSimilarity(isa=isa)
    codes, queries = random_codes(1_300, spread=0.05), random_codes(30, seed=4, spread=0.05)
    indices, similarities = hamming.find_nearest_batch(queries, codes, 0.93)
    for query, index, similarity in zip(queries, indices, similarities, strict=True):
        single = hamming.find_nearest(query, codes, 0.93)
        assert single == (None if index == -1 else (index, similarity))
        assert np.isnan(similarity) == (single is None)
    assert 0 < (indices == -1).sum() < 30


def test_batch_similarity_is_that_of_all_pairs(isa):
    a, b = random_codes(7), random_codes(600, seed=5)
    got = HammingSimilarity(isa=isa).batch_similarity(a, b)
    assert got.dtype == np.float32
    assert np.array_equal(got, oracle.hamming_similarity(a[:, None], b[None], 256).astype(np.float32))


def test_distance_and_similarity_count_differing_bits(isa):
    hamming = HammingSimilarity(isa=isa)
    a, b = random_codes(2)
    assert hamming.distance(a, b) == oracle.hamming_distance(a, b)
    assert hamming.similarity(a, b) == oracle.hamming_similarity(a, b, 256)
    assert hamming.similarity(a, a) == 1.0
    assert hamming.similarity(a, ~a) == 0.0


def test_nothing_is_found_among_no_codes(isa):
    hamming, query, none = HammingSimilarity(isa=isa), random_codes(1)[0], np.empty((0, 4), np.uint64)
    assert hamming.find_nearest(query, none, 0.0) is None
    assert hamming.find_within(query, none, 0.0, 5)[0].shape == (0,)
    assert hamming.find_nearest_batch(none, none, 0.0)[0].shape == (0,)
    assert hamming.batch_similarity(none, random_codes(3)).shape == (0, 3)
    assert hamming.find_nearest(query, random_codes(3), 0.0, rows=np.empty(0, np.int32)) is None


def test_read_only_codes_are_borrowed_and_the_interpreter_is_let_go():
    # With this switch interval nobody is made to give the interpreter up, so the other thread can only run
    # while the search has let it go, and then runs to its end.
    codes = np.zeros((1_000_000, 4), np.uint64)
    codes.flags.writeable = False
    query = np.full(4, 2**64 - 1, np.uint64)
    hamming, order, go = HammingSimilarity(isa="scalar"), [], threading.Event()

    def other():
        go.wait()
        order.append("other thread")

    thread = threading.Thread(target=other)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        go.set()
        # A busy machine may need longer than one search to wake the other thread.
        for _ in range(1_000):
            assert hamming.find_nearest(query, codes, 0.9) is None
            if order:
                break
        order.append("search")
    finally:
        sys.setswitchinterval(interval)
    thread.join()
    assert order == ["other thread", "search"]


@pytest.mark.parametrize("threshold", [-0.001, 1.001, float("nan"), float("inf")])
def test_a_threshold_outside_0_to_1_is_a_value_error(threshold):
    with pytest.raises(errors.InvalidValueError, match="threshold"):
        HammingSimilarity().find_nearest(random_codes(1)[0], random_codes(3), threshold)


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.float64, ">u8", np.object_])
def test_codes_of_another_dtype_are_a_type_error(dtype):
    codes = np.zeros((3, 4), dtype)
    with pytest.raises(errors.InvalidTypeError, match="uint64"):
        HammingSimilarity().find_nearest(random_codes(1)[0], codes, 0.5)


@pytest.mark.parametrize("bad", [[1, 2, 3, 4], None, 7])
def test_a_query_that_is_no_array_is_a_type_error(bad):
    with pytest.raises(TypeError, match="query as a NumPy array"):
        HammingSimilarity().find_nearest(bad, random_codes(3), 0.5)


def test_wrong_shapes_are_dimension_errors():
    hamming, query, codes = HammingSimilarity(), random_codes(1)[0], random_codes(3)
    for args in [(query[:3], codes), (query, codes[:, :3].copy()), (query, codes[0]), (codes, codes)]:
        with pytest.raises(errors.DimensionError):
            hamming.find_nearest(*args, 0.5)
    with pytest.raises(errors.DimensionError):
        hamming.distance(query, query[:2])
    with pytest.raises(errors.DimensionError, match="live"):
        hamming.find_nearest(query, random_codes(9), 0.5, live=np.zeros(1, np.uint8))


def test_codes_that_are_not_contiguous_are_a_value_error():
    with pytest.raises(errors.InvalidValueError, match="contiguous"):
        HammingSimilarity().find_nearest(random_codes(1)[0], random_codes(6)[::2], 0.5)


@pytest.mark.parametrize("row", [-1, 3, 2**31 - 1])
def test_a_row_that_is_not_there_is_a_value_error(row):
    with pytest.raises(errors.InvalidValueError, match="rows from 0 to below 3"):
        HammingSimilarity().find_nearest(
            random_codes(1)[0], random_codes(3), 0.5, rows=np.array([row], np.int32)
        )


def test_bits_beyond_the_width_are_a_value_error():
    with pytest.raises(errors.InvalidValueError, match="beyond bit 100"):
        HammingSimilarity(100).find_nearest(np.array([0, 2**36], np.uint64), np.zeros((1, 2), np.uint64), 0.5)


@pytest.mark.parametrize("code_bits", [0, 2**40])
def test_an_absurd_width_is_a_value_error(code_bits):
    with pytest.raises(ValueError, match="code_bits"):
        HammingSimilarity(code_bits)


def test_a_result_that_cannot_be_allocated_is_a_value_error():
    codes = np.zeros((3_000_000, 4), np.uint64)
    with pytest.raises(errors.InvalidValueError, match="3000000 x 3000000"):
        HammingSimilarity().batch_similarity(codes, codes)


def in_a_process(program, **environment):
    command = [sys.executable, "-c", "from binary_semantic_cache import *\n" + program]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def test_the_environment_forces_a_kernel(isa):
    program = "print(HammingSimilarity().isa, RustBinaryEncoder(8).isa)"
    assert in_a_process(program, BSC_ISA=isa).stdout.split() == [isa, isa]


def test_without_the_environment_the_fastest_kernel_is_taken():
    assert in_a_process("print(HammingSimilarity().isa)", BSC_ISA="").stdout.strip() == available_isas()[-1]


def test_an_unavailable_kernel_is_an_error_that_lists_the_available():
    result = in_a_process("HammingSimilarity()", BSC_ISA="mmx")
    assert "UnsupportedIsaError" in result.stderr
    assert ", ".join(available_isas()) in result.stderr
    with pytest.raises(errors.UnsupportedIsaError, match="scalar"):
        HammingSimilarity(isa="mmx")


def many_codes():
    """Enough for several threads, with one code in parts of two of them."""
    codes = np.random.default_rng(1).integers(0, 2**64, (700_000, 4), np.uint64)
    codes[600_000] = codes[5]
    return codes


def test_any_number_of_threads_finds_the_same(isa):
    codes = many_codes()
    queries = np.concatenate([codes[[5, 600_001]], random_codes(6, seed=9)])
    one = HammingSimilarity(isa=isa, threads=1)
    batch = one.find_nearest_batch(queries, codes, 0.6)
    for threads in (2, 3):
        many = HammingSimilarity(isa=isa, threads=threads)
        assert many.threads == threads
        assert many.find_nearest(codes[5], codes, 0.6) == (5, 1.0)
        for ours, theirs in zip(many.find_nearest_batch(queries, codes, 0.6), batch, strict=True):
            assert np.array_equal(ours, theirs, equal_nan=True)
        similar = many.batch_similarity(queries, codes[:100_000])
        assert np.array_equal(similar, one.batch_similarity(queries, codes[:100_000]))


def test_the_environment_sets_the_number_of_threads():
    made = ("HammingSimilarity()", "RustBinaryEncoder(8)", "HammingSimilarity(threads=2)")
    program = f"print({', '.join(f'{thing}.threads' for thing in made)})"
    assert in_a_process(program, BSC_THREADS="3").stdout.split() == ["3", "3", "2"]
    assert in_a_process(program, BSC_THREADS=" ").stdout.split() == ["1", "1", "2"]
    for wrong in ("0", "many", "-1"):
        result = in_a_process("print('imported'); HammingSimilarity()", BSC_THREADS=wrong)
        assert result.stdout.strip() == "imported"
        assert "InvalidValueError: expected BSC_THREADS" in result.stderr


@pytest.mark.parametrize("threads", [0, 1025, -1, 2**70])
def test_an_absurd_number_of_threads_is_refused(threads):
    with pytest.raises(errors.InvalidValueError):
        HammingSimilarity(threads=threads)


def test_no_thread_is_left_by_an_import_or_a_search():
    program = """
import os
import numpy as np
count = lambda: len(os.listdir("/proc/self/task"))
hamming, codes = HammingSimilarity(threads=2), np.zeros((700_000, 4), np.uint64)
before = count()
hamming.find_nearest(np.full(4, 2**64 - 1, np.uint64), codes, 0.9)
print(before, count())
"""
    assert in_a_process(program, OPENBLAS_NUM_THREADS="1").stdout.split() == ["1", "1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_threads_search_can_search_with_as_many():
    codes, hamming = many_codes(), HammingSimilarity(threads=2)
    query, encoder = random_codes(1, seed=9)[0], RustBinaryEncoder(64, threads=2)
    expected, embeddings = hamming.find_nearest(query, codes, 0.5), np.ones((2000, 64), np.float32)
    searched, end = threading.Semaphore(0), threading.Event()

    def searching():
        while not end.is_set():
            assert hamming.find_nearest(query, codes, 0.5) == expected
            searched.release()

    search = threading.Thread(target=searching)
    search.start()
    try:
        for _ in range(5):
            assert searched.acquire(timeout=30)
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                try:
                    assert hamming.find_nearest(query, codes, 0.5) == expected
                    assert len(encoder.encode(embeddings)) == 2000
                except BaseException:  # the child must never return into the test runner
                    os._exit(1)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        end.set()
        search.join(30)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_crc32_is_that_of_zip(a, b):
    import zlib

    first = crc32(np.frombuffer(a, np.uint8))
    assert first == zlib.crc32(a)
    assert crc32(np.frombuffer(b, np.uint8), first) == zlib.crc32(a + b)
