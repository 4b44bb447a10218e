"""The index: rows and their reuse, ids, scopes."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from binary_semantic_cache.vector.columns import Columns
from binary_semantic_cache.vector.memory import room
from oracles import similarity as oracle
from small_indexes import SLACK, code_of, make, nearest, put, row_found


def test_first_rows_and_ids_count_from_zero():
    index = make()
    assert [put(index, code_of(number)) for number in range(3)] == [0, 1, 2]
    assert [index.id_of(row) for row in range(3)] == [0, 1, 2]


def test_a_full_index_reuses_the_row_of_the_least_recently_used_entry():
    index = make(3)
    for number in range(3):
        put(index, code_of(number))
    index.touch(0, 2.0)
    with index.lock:
        index.prepare()
        assert index.add(code_of(3), 1.0) == (1, 1)
        index.publish(1)
    assert row_found(index, code_of(1)) is None
    assert row_found(index, code_of(3)) == 1
    assert index.order().tolist() == [2, 0, 1]


def test_steady_puts_at_capacity_use_no_row_beyond_it():
    index = make(5)
    for number in range(50):
        put(index, code_of(number))
    assert len(index) == 5
    assert index._space.n == 5
    assert index._space.view_live() is None


def test_ids_are_not_used_again_over_removal_clear_and_adoption():
    index, seen = make(3), set()
    for number in range(60):
        entry_id = index.id_of(put(index, code_of(number)))
        assert entry_id not in seen
        seen.add(entry_id)
        if number % 4 == 3:
            index.remove(index.row_of(entry_id))
            assert index.row_of(entry_id) == -1
        if number % 20 == 19:
            index.clear()
        if number % 20 == 9:
            times = np.zeros(2)
            codes = np.stack([code_of(-number % 1000), code_of(1000)])
            index.adopt(Columns(codes, times, times.copy(), np.zeros(2, np.int32)))
            seen.update(index.id_of(row) for row in range(2))
    assert len(seen) == 66


def test_an_id_never_given_out_names_no_row():
    index = make()
    row = put(index, code_of(0))
    index.remove(row)
    for entry_id in (-1, 1, 2**32, 2**32 + 1, 2**200, -(2**200)):
        assert index.row_of(entry_id) == -1


def test_ids_of_gives_the_ids_of_many_rows():
    index = make(3)
    for number in range(7):
        put(index, code_of(number))
    assert index.ids_of(index.order()) == [index.id_of(row) for row in index.order().tolist()]


def test_a_row_whose_generations_are_used_up_is_never_handed_out_again():
    index = make(2)
    put(index, code_of(0))
    put(index, code_of(1))
    index.columns.generation[0] = 2**32 - 2
    rows = [put(index, code_of(number)) for number in range(2, 12)]
    assert 0 not in rows
    assert len(index) == 2
    assert row_found(index, code_of(0)) is None
    assert index.id_of(rows[-1]) > index._first_id


def test_a_removed_row_is_not_found_and_is_used_next():
    index = make()
    for number in range(5):
        put(index, code_of(number))
    index.remove(1)
    index.remove(3)
    assert row_found(index, code_of(1)) is None
    assert row_found(index, code_of(4)) == 4
    assert {put(index, code_of(10)), put(index, code_of(11))} == {1, 3}
    assert index._space.view_live() is None
    assert put(index, code_of(12)) == 5


def test_an_index_emptied_by_removals_starts_at_row_zero():
    index = make()
    for number in range(3):
        put(index, code_of(number))
    for row in (1, 0, 2):
        index.remove(row)
    assert put(index, code_of(3)) == 0


def test_live_rows_are_found_past_the_end_of_an_older_bitmap():
    index = make(1000)
    for number in range(3):
        put(index, code_of(number))
    index.remove(0)
    with index.lock:
        index._space.readers += 1
        index._space.searches += 1
    rows = [put(index, code_of(number)) for number in range(100, 400)]
    with index.lock:
        index._space.readers -= 1
        index._space.searches -= 1
    assert rows == list(range(3, 303))
    assert all(row_found(index, code_of(97 + row)) == row for row in rows)
    assert row_found(index, code_of(0)) is None


def test_absurd_capacity_takes_no_memory_beforehand():
    index = make(2**31 - 2**20)
    put(index, code_of(0))
    assert index.columns.capacity == 64
    assert index.nbytes < 1000


def test_columns_grow_by_half_and_never_past_capacity_and_slack():
    index, capacities = make(2000), []
    for number in range(2000):
        put(index, np.full(4, number, np.uint64))
        if index.columns.capacity not in capacities:
            capacities.append(index.columns.capacity)
    assert len(capacities) == 10
    assert capacities[-1] <= 2000 + SLACK
    assert all(after <= 1.5 * before for before, after in pairwise(capacities))


def test_an_entry_takes_at_most_72_bytes():
    n = 20_000
    index = make(n)
    codes = np.random.default_rng(0).integers(0, 2**64, (n, 4), np.uint64)
    for code in codes:
        put(index, code)
    assert index.nbytes <= 72 * n


def test_finding_a_code_does_not_scan():
    index = make(hamming=SimpleNamespace(n_words=4, find_nearest=None))
    put(index, code_of(0))
    put(index, code_of(1))
    assert index.find(code_of(1)) == 1
    assert index.find(code_of(2)) == -1


def test_after_adoption_the_later_of_two_rows_with_one_code_stays():
    index = make()
    codes = np.stack([code_of(0), code_of(1), code_of(0)])
    index.adopt(Columns(codes, np.zeros(3), np.zeros(3), np.zeros(3, np.int32)))
    with index.lock:
        assert index.prepare() == [0]
        assert index.prepare() == ()
        assert index.find(code_of(0)) == 2
    assert len(index) == 2


def test_within_gives_rows_nearest_first():
    index = make()
    codes = [np.array([2**bits - 1, 0, 0, 0], np.uint64) for bits in (5, 1, 3, 60)]
    for code in codes:
        put(index, code)
    with index.lock:
        rows, distances = index.within(np.zeros(4, np.uint64), 0.9, 10)
    assert rows.tolist() == [1, 2, 0]
    assert distances.tolist() == [1, 3, 5]


def test_large_room_is_zeroed_writable_and_private():
    array = room(2**19, np.int32)
    array[-1] = 7
    assert array.sum() == 7
    assert array.flags.c_contiguous


# Scopes


def test_one_code_may_stand_in_two_scopes():
    index = make(unique=False, scoped=True)
    rows = [put(index, code_of(0), scope) for scope in (1, 2)]
    assert [row_found(index, code_of(0), scope) for scope in (1, 2)] == rows
    assert row_found(index, code_of(0), 3) is None
    assert row_found(index, code_of(0)) == 0


def test_scopes_follow_their_rows_through_removal_eviction_and_reuse():
    index = make(40, unique=False, scoped=True)
    rng, model = np.random.default_rng(0), {}
    for number in range(400):
        scope = int(rng.integers(0, 5))
        with index.lock:
            index.prepare()
            row, evicted = index.add(code_of(number), 1.0, scope)
            index.publish(row)
        if evicted >= 0:
            del model[evicted]
        model[row] = scope
        if number % 3 == 0:
            row = int(rng.choice(list(model)))
            index.remove(row)
            del model[row]
        for wanted in range(5):
            rows = [row for row, scope in model.items() if scope == wanted]
            assert sorted(index._scopes.view(wanted).tolist()) == sorted(rows)


def test_a_search_in_a_scope_reads_the_rows_of_that_scope_alone():
    looked_at = []
    hamming = SimpleNamespace(
        n_words=4, find_nearest=lambda query, codes, threshold, *, rows: looked_at.append(len(rows))
    )
    index = make(1000, hamming=hamming, unique=False, scoped=True)
    for number in range(500):
        put(index, code_of(number), scope=number == 7)
    nearest(index, code_of(7), 1)
    assert looked_at == [1]


@pytest.mark.parametrize("share", [0.02, 0.2, 0.24, 0.26, 0.5, 0.99, 1.0])
def test_a_search_in_a_scope_finds_the_same_whatever_share_of_the_rows_it_has(share):
    index, rng = make(1000, unique=False, scoped=True), np.random.default_rng(5)
    codes = np.packbits(rng.random((300, 256)) < 0.03, axis=1, bitorder="little").view(np.uint64)
    scopes = np.where(np.arange(300) < 300 * share, 1, rng.integers(2, 5, 300))
    rng.shuffle(scopes)
    for code, scope in zip(codes, scopes.tolist(), strict=True):
        put(index, code, scope)
    # Removed rows keep their scope; some are handed out again under another one, and some stay free.
    gone = rng.choice(300, 40, replace=False).tolist()
    for row in gone:
        index.remove(row)
    for _ in range(20):
        row = put(index, codes[0], 2)
        codes[row], scopes[row] = codes[0], 2
        gone.remove(row)
    scopes[gone] = -1
    for query in codes[:20]:
        for scope in range(1, 5):
            rows = np.flatnonzero(scopes == scope)
            expected, distances = oracle.find_within(query, codes[rows], 0.9, 25, 256)
            with index.lock:
                found = index.within(query, 0.9, 25, scope)
                of_batch = index.nearest_batch(query[None], 0.9, scope)[0].tolist()
            assert found[0].tolist() == rows[expected].tolist()
            assert found[1].tolist() == distances.tolist()
            assert of_batch == (rows[expected[:1]].tolist() or [-1])
            near = nearest(index, query, scope, 0.9)
            assert (-1 if near is None else near[0]) == of_batch[0]


def test_dropping_a_scope_removes_its_entries_and_no_others():
    index = make(unique=False, scoped=True)
    for number in range(6):
        put(index, code_of(number), scope=number % 2)
    with index.lock:
        assert sorted(index.drop_scope(1)) == [1, 3, 5]
        assert index.drop_scope(1) == []
    assert len(index) == 3
    assert [row_found(index, code_of(number)) for number in range(6)] == [0, None, 2, None, 4, None]


def test_rows_of_several_scopes_can_be_adopted():
    codes = np.array([code_of(number) for number in range(6)])
    times = np.ones(6)
    index = make(20, unique=False, scoped=True)
    index.adopt(
        Columns(codes, times, times.copy(), np.zeros(6, np.int32)), np.array([0, 1, 0, 1, 2, 0], np.int32)
    )
    assert sorted(index._scopes.view(0).tolist()) == [0, 2, 5]
    index.remove(2)
    put(index, code_of(9), scope=2)
    assert row_found(index, code_of(5), scope=0) == 5
    assert row_found(index, code_of(2), scope=0) is None
    assert row_found(index, code_of(9), scope=2) == 2


def test_a_mended_scoped_index_keeps_what_counts():
    index = make(20, unique=False, scoped=True)
    for number in range(6):
        put(index, code_of(number), scope=number % 2)
    index.remove(1)
    ids = [index.id_of(row) for row in (0, 2, 3)]
    with index.lock:
        index.prepare()
        index.add(code_of(7), 2.0, scope=1)  # and never published
        index.mend()
    assert len(index) == 5
    assert row_found(index, code_of(7), scope=1) is None
    assert [row_found(index, code_of(number), scope=number % 2) for number in (0, 2, 3)] == [0, 2, 3]
    assert [index.row_of(entry_id) for entry_id in ids] == [0, 2, 3]
    assert put(index, code_of(8), scope=0) == 1
