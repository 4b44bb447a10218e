"""Sliced codes: how they are laid out, what searches find in them, and how an index keeps its rows so."""

import sys

import numpy as np
import pytest

from binary_semantic_cache import BinarySemanticCache, HammingSimilarity, RustBinaryEncoder, errors
from binary_semantic_cache.binary_semantic_cache_rs import slice_codes, unslice_code, unslice_codes
from binary_semantic_cache.vector.codes import CodeRows
from binary_semantic_cache.vector.columns import Columns
from binary_semantic_cache.vector.index import Index
from oracles import similarity as oracle
from oracles import slices
from test_cache_interrupts import Interrupter

N = 300
SEARCHES_BEFORE_SLICING = 128


def random_codes(n, seed=0, spread=0.5):
    """Codes around one centre; a small `spread` makes ties common."""
    bits = np.random.default_rng(seed).random((n, 256)) < spread
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)


def split(codes, n_groups):
    """The arguments of a search over `codes`, the first groups of which are sliced."""
    heads, tails = slices.sliced(codes, n_groups)
    return codes[32 * n_groups :], {"heads": heads, "tails": tails}


# The layout


def test_codes_are_sliced_as_defined():
    codes = random_codes(96)
    heads, tails = np.empty((3, 9, 32), np.uint16), np.empty((3, 7, 32), np.uint16)
    slice_codes(codes, heads, tails)
    expected = slices.sliced(codes, 3)
    assert np.array_equal(heads, expected[0])
    assert np.array_equal(tails, expected[1])


def test_sliced_codes_read_back_in_any_order_of_rows():
    codes, rows = random_codes(96), np.array([95, 0, 33, 33, 31], np.int32)
    assert np.array_equal(unslice_codes(*slices.sliced(codes, 3), rows), codes[rows])
    assert unslice_codes(*slices.sliced(codes, 3), rows[:0]).shape == (0, 4)
    for row in (-1, 96):
        with pytest.raises(errors.InvalidValueError, match="rows from 0 to below 96"):
            unslice_codes(*slices.sliced(codes, 3), np.array([row], np.int32))
        with pytest.raises(errors.InvalidValueError, match="rows from 0 to below 96"):
            unslice_code(*slices.sliced(codes, 3), row)


def test_arrays_of_other_shapes_are_dimension_errors():
    heads, tails = slices.sliced(random_codes(64), 2)
    for args in [(63, heads, tails), (96, heads, tails), (64, tails, heads), (64, heads[:1], tails)]:
        with pytest.raises(errors.DimensionError):
            slice_codes(random_codes(args[0]), *args[1:])
    query, none = random_codes(1)[0], random_codes(0)
    for wrong in [(heads, heads), (heads, tails[:1]), (heads.reshape(-1, 32), tails)]:
        with pytest.raises(errors.DimensionError):
            HammingSimilarity().find_nearest(query, none, 0.5, heads=wrong[0], tails=wrong[1])
    with pytest.raises(errors.InvalidTypeError, match="heads and tails"):
        HammingSimilarity().find_nearest(query, none, 0.5, heads=heads)
    narrow = np.zeros((1, 2), np.uint64)
    with pytest.raises(errors.DimensionError, match="words in a code 2, got 4"):
        HammingSimilarity(128).find_nearest(narrow[0], narrow, 0.5, heads=heads, tails=tails)


def test_arrays_that_may_not_be_written_are_an_error():
    heads, tails = slices.sliced(random_codes(32), 1)
    heads.flags.writeable = False
    with pytest.raises(errors.InvalidValueError, match="heads"):
        slice_codes(random_codes(32), heads, tails)


# Searches


@pytest.mark.parametrize("n_groups", [0, 1, 5, 9])
def test_searches_over_sliced_codes_equal_the_oracle(n_groups, isa):
    hamming, codes = HammingSimilarity(isa=isa), random_codes(N, spread=0.02)
    rest, sliced = split(codes, n_groups)
    queries = random_codes(20, seed=1, spread=0.02)
    for threshold in (0.0, 0.9, 0.97, 1.0):
        batch = hamming.find_nearest_batch(queries, rest, threshold, **sliced)[0].tolist()
        for query, in_batch in zip(queries, batch, strict=True):
            nearest = oracle.find_nearest(query, codes, threshold, 256)
            assert hamming.find_nearest(query, rest, threshold, **sliced) == nearest
            assert in_batch == (-1 if nearest is None else nearest[0])
            found = hamming.find_within(query, rest, threshold, 10, **sliced)
            expected = oracle.find_within(query, codes, threshold, 10, 256)
            assert np.array_equal(found[0], expected[0])
            assert np.array_equal(found[1], expected[1])


def test_dead_rows_and_rows_outside_the_scope_are_never_found_among_sliced_ones(isa):
    hamming, codes = HammingSimilarity(isa=isa), random_codes(N, spread=0.02)
    rest, sliced = split(codes, 4)
    random = np.random.default_rng(2)
    for query in random_codes(30, seed=3, spread=0.02):
        alive = random.random(N) < 0.5
        rows = np.flatnonzero(random.random(N) < 0.3).astype(np.int32)[::-1].copy()
        live = np.packbits(alive, bitorder="little")
        masked = np.where(alive, oracle.hamming_distance(query, codes), 999)
        assert hamming.find_nearest(query, rest, 0.0, live=live, **sliced)[0] == masked.argmin()
        indices, _ = hamming.find_within(query, rest, 0.0, 500, live=live, rows=rows, **sliced)
        assert set(indices) == {row for row in rows.tolist() if alive[row]}


# Rows


def read(rows: CodeRows, n: int) -> np.ndarray:
    """What a search over rows 0 to `n - 1` would read."""
    rest, sliced = rows.view(n)
    if not sliced:
        return rest.copy()
    n_sliced = 32 * len(sliced["heads"])
    return np.concatenate((unslice_codes(**sliced, rows=np.arange(n_sliced, dtype=np.int32)), rest))


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_those_of_a_plain_array_whatever_happens_to_them(seed):
    random, n = np.random.default_rng(seed), 0
    model = np.zeros((600, 4), np.uint64)
    rows = CodeRows(np.empty((0, 4), np.uint64), to_be_sliced=True).moved(0, 600)
    for _ in range(1_500):
        code = random.integers(0, 2**64, 4, np.uint64)
        step = random.random()
        if step < 0.7 and n < 600:
            rows[n] = model[n] = code
            n += 1
        elif step < 0.8 and n:
            row = int(random.integers(n))
            rows[row] = model[row] = code
        elif step < 0.9:
            n -= min(n, int(random.integers(1, 12) if random.random() < 0.9 else random.integers(1, 100)))
            if random.random() < 0.5:
                rows.view(n)
        elif step < 0.95:
            rows = rows.moved(n, 600)
        else:
            some = random.integers(0, max(n, 1), min(n, 20)).astype(np.int32)
            assert np.array_equal(rows[some], model[some])
            assert all(np.array_equal(rows[row], model[row]) for row in some.tolist())
            assert all(np.array_equal(rows.copy(row), model[row]) for row in some.tolist())
            assert np.array_equal(rows[0:n:7], model[:n:7])
            assert np.array_equal(read(rows, n), model[:n])
    assert np.array_equal(read(rows, n), model[:n])


def test_codes_of_one_array_are_sliced_once_they_were_searched_often():
    codes = random_codes(N)
    rows = CodeRows(codes.copy(), to_be_sliced=True)
    for _ in range(SEARCHES_BEFORE_SLICING):
        assert not rows.view(N)[1]
    assert len(rows.view(N)[1]["heads"]) == N // 32
    assert np.array_equal(read(rows, N), codes)


def test_a_row_that_was_taken_but_not_written_is_in_nobodys_way():
    codes = random_codes(128)
    codes[32] = 0
    rows = CodeRows(np.empty((0, 4), np.uint64), to_be_sliced=True).moved(0, 128)
    for row in range(32):
        rows[row] = codes[row]
    # As after a put that an interrupt broke off between taking the row and writing it.
    for _ in range(2 * SEARCHES_BEFORE_SLICING):
        assert np.array_equal(read(rows, 33), codes[:33])
    for row in range(33, 128):
        rows[row] = codes[row]
    assert np.array_equal(read(rows, 128), codes)


def test_codes_that_are_not_to_be_sliced_stay_one_array():
    codes = random_codes(N)
    rows = CodeRows(codes)
    for _ in range(3 * SEARCHES_BEFORE_SLICING):
        assert np.shares_memory(rows.view(N)[0], codes)
        assert not rows.view(N)[1]


# The index


def put(index: Index, code: np.ndarray) -> int:
    with index.lock:
        index.prepare()
        row = index.find(code)
        if row < 0:
            row, _ = index.add(code, 1.0)
            index.publish(row)
        return row


def make(max_entries: int) -> Index:
    return Index(HammingSimilarity(), max_entries, unique=True, scoped=False, sliced=True)


def test_an_index_finds_what_a_dictionary_of_its_rows_holds():
    random, index = np.random.default_rng(4), make(200)
    pool, held = random_codes(400, seed=5), {}
    for _ in range(3_000):
        code = pool[int(random.integers(400))]
        if random.random() < 0.6:
            row = put(index, code)
            held = {r: c for r, c in held.items() if index._space.is_live(r) and r != row} | {row: code}
        elif held and random.random() < 0.5:
            # From the end more often than not, so that rows are given up and taken again.
            row = max(held) if random.random() < 0.7 else next(iter(held))
            with index.lock:
                index.remove(row)
            del held[row]
        with index.lock:
            found = index.nearest(code, 1.0)
            assert index.find(code) == (-1 if found is None else found[0])
            rows = index.nearest_batch(pool[:50], 1.0)[0].tolist()
        expected = {c.tobytes(): r for r, c in held.items()}
        assert (None if found is None else found[0]) == expected.get(code.tobytes())
        assert rows == [expected.get(c.tobytes(), -1) for c in pool[:50]]
    assert len(index) == len(held) > 100


def test_puts_during_a_search_write_nothing_that_it_reads():
    index = make(1_000)
    codes = random_codes(500)
    for code in codes[:100]:
        put(index, code)
    with index.lock:
        index.remove(99)
        index.remove(7)
        rest, others = index._view(None)
        index._space.readers += 1
        index._space.searches += 1
    assert others.keys() == {"heads", "tails", "live"}
    seen = (rest, *others.values())
    before = [array.copy() for array in seen]
    for code in codes[100:]:
        put(index, code)
    for array, as_it_was in zip(seen, before, strict=True):
        assert np.array_equal(array, as_it_was)
    with index.lock:
        index._space.readers -= 1
        index._space.searches -= 1
        assert all(index.nearest(code, 1.0) for code in codes[100:])


def test_adopted_codes_are_found_before_and_after_they_are_sliced():
    codes, index = random_codes(N), make(N)
    given = codes.copy()
    index.adopt(Columns(given, np.zeros(N), np.zeros(N), np.zeros(N, np.int32)))
    for turn in range(2 * SEARCHES_BEFORE_SLICING):
        with index.lock:
            assert index.nearest(codes[turn], 1.0) == (turn, 1.0)
    assert len(index.columns.codes.view(N)[1]["heads"]) == N // 32
    # A put that evicts row 0 goes to the slices, no longer to the array that was given.
    assert put(index, random_codes(1, seed=9)[0]) == 0
    assert np.array_equal(given, codes)


# The cache

ENCODER = RustBinaryEncoder(16)
X = np.random.default_rng(0).standard_normal((130, 16)).astype(np.float32)


def filled(n: int) -> BinarySemanticCache:
    cache = BinarySemanticCache(ENCODER, 128, 1.0)
    for i in range(n):
        cache.put(X[i], i)
    return cache


# Row 32 is the first behind a group that is full; row 64 finds no more room; then row 0 is written anew.
@pytest.mark.parametrize("n", [32, 64, 128])
def test_an_interrupt_at_any_moment_of_a_put_harms_no_sliced_row(n):
    for place in range(1, 10_000):
        cache = filled(n)
        sys.setprofile(Interrupter(place))
        reached = False
        try:
            cache.put(X[129], 129)
        except KeyboardInterrupt:
            reached = True
        finally:
            sys.setprofile(None)
        served = [cache.get(x) for x in X]
        assert all(entry is None or entry.response == i for i, entry in enumerate(served))
        assert sum(entry is not None for entry in served[:n]) >= n - (n == 128)
        cache.put(X[129], "again")
        assert cache.get(X[129]).response == "again"
        if not reached:
            break
    assert 3 < place < 9_999


def test_a_cache_serves_the_same_after_saving_loading_and_slicing(tmp_path):
    cache = filled(100)
    cache.save(tmp_path / "c.npz")
    for mmap in (False, True):
        loaded = BinarySemanticCache(ENCODER, 128, 1.0)
        loaded.load(tmp_path / "c.npz", mmap=mmap)
        for _ in range(2):
            entries = [loaded.get(x) for x in X[:100]]
            assert [entry.response for entry in entries] == list(range(100))
            assert all(
                np.array_equal(entry.code, ENCODER.encode(x))
                for entry, x in zip(entries, X[:100], strict=True)
            )
        loaded.save(tmp_path / "again.npz")
        again = BinarySemanticCache(ENCODER, 128, 1.0)
        again.load(tmp_path / "again.npz")
        assert [again.get(x).response for x in X[:100]] == list(range(100))
        assert again.get(X[110]) is None
