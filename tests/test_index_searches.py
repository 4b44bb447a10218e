"""What a running search may see of an index that others change meanwhile."""

import os
import signal
import sys
import threading

import numpy as np
import pytest

from binary_semantic_cache import HammingSimilarity
from binary_semantic_cache.vector.columns import Columns
from binary_semantic_cache.vector.index import Index
from small_indexes import SLACK, code_of, make, nearest, put, row_found


class PausingHamming:
    """The kernel, with a stop before each scan: `entered` counts scans that wait for `go`."""

    n_words = 4

    def __init__(self):
        self.hamming = HammingSimilarity(256)
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.pausing = False

    def find_nearest(self, *args, **kwargs):
        if self.pausing:
            self.entered.release()
            assert self.go.acquire(timeout=30)
        return self.hamming.find_nearest(*args, **kwargs)


class WritingHamming:
    """The kernel, with a write of somebody else at the end of each of the first batches."""

    n_words = 4

    def __init__(self):
        self.hamming = HammingSimilarity(256)
        self.writes = []
        self.asked = []

    def find_nearest_batch(self, queries, *args, **kwargs):
        found = self.hamming.find_nearest_batch(queries, *args, **kwargs)
        self.asked.append(queries.tolist())
        if self.writes:
            write = threading.Thread(target=self.writes.pop(0))
            write.start()
            write.join(30)
        return found


class Search(threading.Thread):
    """One `nearest` in a thread of its own."""

    def __init__(self, index, code):
        super().__init__(daemon=True)
        self.index, self.code, self.found = index, code, "nothing yet"
        self.start()

    def run(self):
        self.found = row_found(self.index, self.code)

    def result(self):
        self.join(30)
        assert not self.is_alive()
        return self.found


@pytest.fixture
def paused():
    """A full index of three entries, its kernel, and a search for entry 1 under way."""
    hamming = PausingHamming()
    index = make(3, hamming=hamming)
    for number in range(3):
        put(index, code_of(number))
    hamming.pausing = True
    search = Search(index, code_of(1))
    assert hamming.entered.acquire(timeout=30)
    hamming.pausing = False
    yield index, hamming, search
    hamming.go.release(10)
    search.join(30)


def test_two_searches_run_at_once(paused):
    index, hamming, search = paused
    hamming.pausing = True
    other = Search(index, code_of(2))
    assert hamming.entered.acquire(timeout=30)
    hamming.go.release(2)
    assert (search.result(), other.result()) == (1, 2)


def test_a_put_during_a_search_writes_no_row_the_search_reads(paused):
    index, hamming, search = paused
    array, before = index.columns.codes, index.columns.codes[:3].copy()
    rows = [put(index, code_of(number)) for number in range(10, 40)]
    assert rows == list(range(3, 33))
    assert np.array_equal(array[:3], before)
    hamming.go.release()
    assert search.result() is None


def test_a_put_that_returned_during_a_search_is_seen_by_the_next(paused):
    index, _, _ = paused
    row = put(index, code_of(50))
    assert row_found(index, code_of(50)) == row


def test_a_row_removed_during_a_search_is_searched_for_again(paused):
    index, hamming, search = paused
    index.remove(1)
    row = put(index, code_of(1))
    hamming.go.release()
    assert search.result() == row == 3


def test_a_search_over_a_cleared_index_finds_nothing_of_what_was_there(paused):
    index, hamming, search = paused
    with index.lock:
        index.clear()
    for number in range(20, 23):
        put(index, code_of(number))
    hamming.go.release()
    assert search.result() is None


def test_rows_freed_during_a_search_are_used_again_after_it(paused):
    index, hamming, search = paused
    index.remove(0)
    assert put(index, code_of(5)) == 3
    hamming.go.release()
    assert search.result() == 1
    assert put(index, code_of(6)) == 1
    index.remove(2)
    assert put(index, code_of(7)) == 2
    assert index._space.n == 4


def test_the_bitmap_a_search_holds_is_not_changed(paused):
    index, _, _ = paused
    index.remove(0)
    with index.lock:
        index._space.readers += 1
        index._space.searches += 1
        seen = index._space.view_live()
        before = seen.copy()
        index.remove(2)
        index._space.readers -= 1
        index._space.searches -= 1
    assert np.array_equal(seen, before)
    assert not index._space.is_live(2)


def test_the_row_list_a_search_holds_is_not_changed():
    index = make(unique=False, scoped=True)
    for number in range(4):
        put(index, code_of(number), scope=1)
    with index.lock:
        index._space.readers += 1
        index._space.searches += 1
        seen = index._scopes.view(1)
        index.remove(0)
        put(index, code_of(9), scope=1)
        index._space.readers -= 1
        index._space.searches -= 1
    assert seen.tolist() == [0, 1, 2, 3]
    assert sorted(index._scopes.view(1).tolist()) == [1, 2, 3, 4]


def test_the_scopes_of_rows_a_search_holds_are_not_changed_when_puts_go_on_over_another_array():
    index = make(2, unique=False, scoped=True)
    with index.lock:
        index._space.readers += 1
        index._space.searches += 1
    n = 2 + SLACK
    for number in range(n):
        put(index, code_of(number), scope=1)
    with index.lock:
        seen = index._scopes.of_rows(n)
        before = index._space.array
        for number in range(n, n + 10):
            put(index, code_of(number), scope=2)
        index._space.searches -= 1
    assert index._space.array > before
    assert set(seen.tolist()) == {1}
    assert set(index._scopes.of_rows(n).tolist()) == {1, 2}


def test_puts_go_on_over_another_array_when_the_slack_is_used_up(paused):
    index, hamming, search = paused
    held = index.columns.codes
    before = held[:3].copy()
    for number in range(3 * SLACK):
        put(index, code_of(100 + number))
    assert index._space.n <= 3 + SLACK
    assert index.columns.codes is not held
    assert np.array_equal(held[:3], before)
    hamming.go.release()
    # Its row was handed out again meanwhile, over the other array: the search is made again.
    assert search.result() is None
    assert row_found(index, code_of(100 + 3 * SLACK - 1)) is not None
    assert (index._space.readers, index._space.searches) == (0, 0)


def test_a_search_that_keeps_losing_its_row_ends_with_the_lock_held():
    hamming = HammingSimilarity(256)
    index, scans = make(50), []

    class Meddling:
        n_words = 4

        def find_nearest(self, *args, **kwargs):
            found = hamming.find_nearest(*args, **kwargs)
            if index._space.readers:
                scans.append(found)
                with index.lock:
                    index.remove(found[0])
                    index.publish(index.add(code_of(0), 1.0)[0])
            return found

    index = Index(Meddling(), 50, unique=True, scoped=False)
    put(index, code_of(0))
    row = row_found(index, code_of(0))
    assert len(scans) == 3
    assert index._space.is_live(row)


def test_a_search_that_fails_leaves_no_reader_behind():
    class Failing:
        n_words = 4

        def find_nearest(self, *args, **kwargs):
            raise MemoryError

    index = Index(Failing(), 10, unique=True, scoped=False)
    put(index, code_of(0))
    with pytest.raises(MemoryError):
        nearest(index, code_of(0))
    assert index._space.readers == 0
    assert put(index, code_of(1)) == 1


def batch_index(n=4):
    """An index of `n` entries and its kernel."""
    hamming = WritingHamming()
    index = make(100, hamming=hamming)
    for number in range(n):
        put(index, code_of(number))
    return index, hamming


def batch(index, numbers):
    """The rows that a batch finds, -1 for a miss."""
    with index.lock:
        rows, similarities = index.nearest_batch(np.stack([code_of(number) for number in numbers]), 1.0)
    assert np.array_equal(np.isnan(similarities), rows < 0)
    return rows.tolist()


def remove(index, row):
    with index.lock:
        index.mend()
        index.remove(row)


def test_a_batch_searches_again_only_for_the_entries_that_left_meanwhile():
    index, hamming = batch_index()
    hamming.writes = [lambda: remove(index, 1), lambda: remove(index, 2)]
    assert batch(index, [0, 1, 2, 3, 9, 1]) == [0, -1, -1, 3, -1, -1]
    codes = [code_of(number).tolist() for number in range(3)]
    assert hamming.asked[1:] == [[codes[1], codes[1]], [codes[2]]]


def test_a_batch_does_not_take_an_entry_in_a_used_row_for_the_one_it_found():
    index, hamming = batch_index()

    def replaced():
        remove(index, 3)
        put(index, code_of(7))

    def moved():
        remove(index, 0)
        replaced()
        put(index, code_of(8))

    hamming.writes = [lambda: remove(index, 2), moved]
    assert batch(index, [0, 2, 3, 1]) == [-1, -1, -1, 1]
    assert batch(index, [7, 8]) == [row_of_code(index, 7), row_of_code(index, 8)]


def row_of_code(index, number):
    with index.lock:
        index.prepare()
        return index.find(code_of(number))


def test_a_batch_beside_removals_without_end_comes_to_an_end_with_the_lock_held():
    index, hamming = batch_index(60)
    kept_out = []

    def remove_if_let(row):
        if not index.lock.acquire(timeout=1):
            kept_out.append(row)
            return
        index.remove(row)
        index.lock.release()

    hamming.writes = [lambda row=row: remove_if_let(row) for row in range(50)]
    assert batch(index, range(60)) == [-1, -1, -1, *range(3, 60)]
    assert kept_out == [3]
    assert len(hamming.asked) == 4


@pytest.mark.parametrize("replace", ["clear", "adopt"])
def test_a_batch_finds_nothing_of_what_was_replaced_meanwhile(replace):
    index, hamming = batch_index()

    def write():
        with index.lock:
            index.clear() if replace == "clear" else index.adopt(Columns.empty(4))

    hamming.writes = [write]
    assert batch(index, [0, 1, 9]) == [-1, -1, -1]


def child_does(work) -> bool:
    """Whether a forked child does `work` within ten seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            work()
        except BaseException:  # the child must never return into the test runner
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_during_a_search_does_not_wait_for_it(paused):
    index, hamming, search = paused

    def work():
        # More puts than there is slack: with the parent's search counted they would wait for its end.
        for number in range(3, SLACK + 10):
            put(index, code_of(number))
        assert row_found(index, code_of(SLACK + 9)) is not None

    assert child_does(work)
    hamming.go.release()
    assert search.result() == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_others_change_the_index_finds_it_whole():
    index = make(50)
    stop = threading.Event()

    def change():
        number = 0
        while not stop.is_set():
            put(index, code_of(number := number + 1))

    threads = [threading.Thread(target=change) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads meet inside a change
    for thread in threads:
        thread.start()
    try:
        done = [child_does(lambda: put(index, code_of(0))) for _ in range(20)]
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for thread in threads:
            thread.join(30)
    assert all(done)
