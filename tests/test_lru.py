"""The list of rows in order of use, against `OrderedDict`."""

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache.vector.lru import LruList

ROWS = 8


def filled(rows: list[int], capacity: int = ROWS) -> LruList:
    lru = LruList()
    lru.reserve(capacity)
    for row in rows:
        lru.push(row)
    return lru


def backwards(lru: LruList) -> list[int]:
    rows, row = [], lru.newest
    while row >= 0:
        rows.append(row)
        row = lru._previous[row]
    return rows


@given(st.lists(st.tuples(st.sampled_from(["push", "touch", "remove", "pop"]), st.integers(0, ROWS - 1))))
def test_the_list_keeps_the_order_of_an_ordered_dict(steps):
    lru, model = filled([]), OrderedDict()
    for step, row in steps:
        if step == "pop":
            assert lru.pop() == (model.popitem(last=False)[0] if model else -1)
        elif step == "push" and row not in model:
            lru.push(row)
            model[row] = None
        elif step == "touch" and row in model:
            lru.touch(row)
            model.move_to_end(row)
        elif step == "remove" and row in model:
            lru.remove(row)
            del model[row]
        assert lru.order(len(model)).tolist() == list(model)
        assert backwards(lru) == list(reversed(model))


def test_an_empty_list_has_no_oldest_and_no_newest_row():
    lru = filled([])
    assert (lru.oldest, lru.newest, lru.pop(), lru.order(0).size) == (-1, -1, -1, 0)


def test_growing_keeps_the_order():
    lru = filled([2, 0, 1])
    lru.reserve(100)
    lru.push(99)
    assert lru.order(4).tolist() == [2, 0, 1, 99]
    assert lru.capacity == 100


def test_reserving_less_than_there_is_changes_nothing():
    lru = filled([2, 0])
    lru.reserve(1)
    assert lru.capacity == ROWS
    assert lru.order(2).tolist() == [2, 0]


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_fill_lists_the_rows_in_ascending_order(size):
    lru = filled([3, 1])
    lru.fill(size)
    assert lru.order(size).tolist() == list(range(size))
    assert backwards(lru) == list(reversed(range(size)))


def test_a_filled_list_can_be_changed():
    lru = filled([])
    lru.fill(3)
    lru.touch(0)
    lru.remove(1)
    assert lru.order(2).tolist() == [2, 0]
