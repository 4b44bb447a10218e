"""Packing and sweeping of one file by several processes: one at a time, whatever happens to that one."""

import json
import os
import signal
import sqlite3
import threading
import time
from itertools import pairwise

import msgpack
import pytest

from binary_semantic_cache.errors import CorruptFileError, StoreError
from binary_semantic_cache.stores import sqlite, sqlite_lease, sqlite_packing
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.stores.sqlite_lease import LEASE_SECONDS, Lease, UpkeepTakenError
from binary_semantic_cache.stores.verify import verify
from binary_semantic_cache.text.soundness import entry_checks
from stored_entries import packed_state
from torture import FINGERPRINT, GONE, apart, raw_entry, raw_key, state

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "c.db"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(sqlite_packing, "_PACKED", 16)
    monkeypatch.setattr(sqlite_packing, "_LOG_LINES", 40)


def make_store(path, *, n=100, timeout=0.05) -> SQLiteStore:
    store = SQLiteStore(path, busy_timeout_seconds=timeout)
    store.open(FINGERPRINT)
    store.put_many([raw_entry("w", number, 1, expires=number % 4 == 0) for number in range(n)])
    return store


def check(path, store) -> None:
    assert packed_state(store) == state(store)
    assert verify(path, entry_checks).findings == ()


def lease_row(path) -> list | None:
    db = sqlite3.connect(path)
    row = db.execute("SELECT value FROM meta WHERE name = 'upkeep'").fetchone()
    db.close()
    return None if row is None else msgpack.unpackb(row[0])


def write_lease(path, value: bytes) -> None:
    db = sqlite3.connect(path)
    db.execute("INSERT OR REPLACE INTO meta VALUES ('upkeep', ?)", (value,))
    db.commit()
    db.close()


def in_child(work) -> int:
    """Runs `work` in a forked child; returns its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def pack_in_turns(path: str, n_processes: int, seconds: float) -> dict:
    """Processes that put, delete and pack as often as they can; when each of their runs began and ended."""
    sqlite_packing._PACKED = 16
    whole, runs = sqlite_packing.Packing._pack, []

    def noted(self, holding):
        began = time.monotonic()
        whole(self, holding)
        runs.append((began, time.monotonic()))

    sqlite_packing.Packing._pack = noted
    pipes = {}
    until = time.monotonic() + seconds
    for process in range(n_processes):
        mine, theirs = os.pipe()
        if os.fork() == 0:
            refused = version = 0
            store = SQLiteStore(path, busy_timeout_seconds=30.0)
            while time.monotonic() < until:
                version += 1
                store.put_many([raw_entry(str(process), version % 50, version)])
                store.delete([i for i, _ in store.select(key=raw_key(str(process), 3))])
                try:
                    store._packing.update(wait_seconds=0.0)
                except UpkeepTakenError:
                    refused += 1
            with os.fdopen(theirs, "w") as pipe:
                json.dump([runs, refused], pipe)
            os._exit(0)
        os.close(theirs)
        pipes[process] = mine
    all_runs, refused = [], 0
    for mine in pipes.values():
        with os.fdopen(mine) as pipe:
            its_runs, its_refused = json.load(pipe)
        all_runs += its_runs
        refused += its_refused
    all_runs.sort()
    together = [(one, other) for one, other in pairwise(all_runs) if one[1] > other[0]]
    return {"runs": len(all_runs), "refused": refused, "together": together}


def test_at_most_one_process_packs_at_a_time(path):
    store = make_store(path)
    done = apart("test_upkeep", "pack_in_turns", str(path), 6, 2.0, timeout=60)
    assert done["together"] == []
    assert done["runs"] > 2
    assert done["refused"] > 0  # else nobody ever met another
    check(path, store)
    store.close()


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_killed_process_holds_nobody_up(path, step, monkeypatch):
    store, whole = make_store(path), sqlite_packing._pack_range
    steps = []

    def die(*arguments):
        whole(*arguments)
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as changed:
        changed.setattr(sqlite_packing, "_pack_range", die)
        pid = in_child(store.compact)
    # Dead, but not waited for yet: its number is still taken.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert lease_row(path)[3] == pid
    store.compact()
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    check(path, store)
    store.close()


@pytest.mark.parametrize("elsewhere", ["another container", "", None])
def test_a_process_that_cannot_be_seen_holds_others_up_until_its_time_is_over(path, elsewhere, monkeypatch):
    store = make_store(path)
    with Lease(store._file).held(0.0):
        token, until, _, pid, began = lease_row(path)
    assert lease_row(path) is None
    if elsewhere is None:  # of a system that does not tell
        monkeypatch.setattr(sqlite_lease, "_place", lambda: "")
        elsewhere = ""
    else:
        began = "1"  # no process of this number began then
    write_lease(path, msgpack.packb((token, until, elsewhere, pid, began)))
    monkeypatch.setattr(sqlite_lease, "time", lambda: until - 0.5)
    with pytest.raises(StoreError, match="being packed by another process"):
        store.compact()
    monkeypatch.setattr(sqlite_lease, "time", lambda: until)
    store.compact()
    check(path, store)
    store.close()


@pytest.mark.parametrize("process_of", ["a later one", "one that ended"])
def test_a_number_of_a_process_that_was_given_again_is_not_believed(path, process_of):
    store = make_store(path)
    with Lease(store._file).held(0.0):
        token, until, place, pid, began = lease_row(path)
    gone = in_child(lambda: None)
    os.waitpid(gone, 0)
    pid, began = (pid, "1") if process_of == "a later one" else (gone, began)
    write_lease(path, msgpack.packb((token, until, place, pid, began)))
    store.compact()
    store.close()


@pytest.mark.parametrize("jump", [-365 * 86400.0, -3600.0, LEASE_SECONDS + 1, 365 * 86400.0])
def test_a_clock_that_was_set_lets_another_take_over_and_nothing_is_lost(path, jump, monkeypatch):
    store, whole, packed = make_store(path), sqlite_packing._pack_range, []
    other = SQLiteStore(path, busy_timeout_seconds=0.05)

    def interrupted(*arguments):
        whole(*arguments)
        packed.append(1)

    real_step = Lease.Holding.step

    def step(self):
        if len(packed) == 2:
            packed.append(1)
            monkeypatch.setattr(Lease.Holding, "step", real_step)
            monkeypatch.setattr(sqlite_lease, "time", lambda: time.time() + jump)
            store.delete([7, 20])
            other.compact()
        return real_step(self)

    monkeypatch.setattr(sqlite_packing, "_pack_range", interrupted)
    monkeypatch.setattr(Lease.Holding, "step", step)
    with pytest.raises(StoreError, match="by another process meanwhile"):
        store.compact()
    assert lease_row(path) is None
    check(path, store)
    store.close()
    other.close()


def test_a_clock_that_goes_back_a_little_frees_nothing(path, monkeypatch):
    store = make_store(path)
    with Lease(store._file).held(0.0):
        now = time.time()
        monkeypatch.setattr(sqlite_lease, "time", lambda: now - 0.5)
        with pytest.raises(StoreError, match="being packed"):
            store.compact()
    store.close()


def test_a_child_forked_in_the_middle_does_not_go_on_with_the_run(path):
    store = make_store(path)
    with Lease(store._file).held(0.0) as holding:

        def go_on():
            with pytest.raises(StoreError), store.lock, holding.step():
                pass
            holding.release()
            with pytest.raises(StoreError):
                store.compact()

        assert os.waitpid(in_child(go_on), 0)[1] == 0
        with store.lock, holding.step():
            pass
    store.compact()
    store.close()


@pytest.mark.parametrize(
    "value", [b"", b"\x00", b"\xc1", msgpack.packb([b"t", float("nan"), "", 1, None]), msgpack.packb([1] * 5)]
)
def test_a_damaged_lease_holds_nobody_up(path, value):
    store = make_store(path)
    write_lease(path, value)
    store.compact()
    check(path, store)
    store.close()


def test_a_compaction_waits_for_another(path, monkeypatch):
    store = make_store(path, timeout=60.0)
    taken, waited, done = threading.Event(), threading.Event(), []

    def hold():
        with Lease(store._file).held(0.0):
            taken.set()
            if waited.wait(30.0):
                done.append("held")

    real = sqlite_lease.sleep
    monkeypatch.setattr(sqlite_lease, "sleep", lambda seconds: (waited.set(), real(seconds)))
    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        store.compact()
    finally:
        thread.join()
    assert done == ["held"]
    check(path, store)
    store.close()


def test_packing_by_itself_leaves_it_to_who_is_at_it(path, monkeypatch, caplog):
    monkeypatch.setattr(sqlite, "_LOOK_EVERY", 10)
    monkeypatch.setattr(sqlite_packing, "_SNAP_EVERY", 30)
    store = make_store(path, n=1)

    def chunks():
        with store.lock, store._file.reading() as db:
            return db.execute("SELECT count(*) FROM packed").fetchone()[0]

    with Lease(store._file).held(0.0):
        for number in range(100):
            store.put_many([raw_entry("w", number, 2)])
        assert chunks() == 0
    for number in range(20):
        store.put_many([raw_entry("w", number, 3)])
    assert chunks() > 0
    assert caplog.messages == []
    check(path, store)
    store.close()


def test_a_put_is_done_though_the_packing_after_it_failed(path, monkeypatch, caplog):
    monkeypatch.setattr(sqlite, "_LOOK_EVERY", 10)
    monkeypatch.setattr(sqlite_packing, "_SNAP_EVERY", 5)

    def fail(*_):
        raise CorruptFileError("a disk went away")

    monkeypatch.setattr(sqlite_packing, "_pack_range", fail)
    store = make_store(path, n=20)
    assert store.stats().entries == 20
    assert caplog.messages == ["a cache file could not be packed: a disk went away"]
    assert lease_row(path) is None
    store.close()


def test_a_sweep_leaves_it_to_who_is_at_the_upkeep(path):
    store = make_store(path, n=40)
    with Lease(store._file).held(0.0):
        assert store.sweep(GONE, 100) == 0
    assert store.sweep(GONE, 4) == 4
    assert store.sweep(GONE, 100) == 6
    assert store.sweep(GONE, 100) == 0
    check(path, store)
    store.close()


def sweep_together(path: str, n_processes: int) -> list[int]:
    """How many entries each of some processes removed that sweep at the same moment."""
    pipes = []
    start, begin = os.pipe()
    for _ in range(n_processes):
        mine, theirs = os.pipe()
        if os.fork() == 0:
            os.close(begin)
            store, n = SQLiteStore(path, busy_timeout_seconds=30.0), 0
            store.stats()
            os.write(theirs, b" ")
            os.read(start, 1)
            while swept := store.sweep(GONE, 7):
                n += swept
            os.write(theirs, str(n).encode())
            os._exit(0)
        os.close(theirs)
        pipes.append(mine)
    for mine in pipes:
        os.read(mine, 1)
    os.close(begin)
    counts = []
    for mine in pipes:
        with os.fdopen(mine) as pipe:
            counts.append(int(pipe.read()))
    return counts


def test_processes_that_sweep_together_remove_each_entry_once(path):
    store = make_store(path, n=2000)
    counts = apart("test_upkeep", "sweep_together", str(path), 6, timeout=60)
    assert sum(counts) == 500
    assert store.stats().entries == 1500
    check(path, store)
    store.close()


def hold_read(path, ready: int, stop: int, tell: int) -> None:
    """Reads one moment of the file until the other end of `stop` is closed; fails if that moment changed."""
    os.close(tell)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN")
    before = db.execute("SELECT id, checksum FROM entry").fetchall()
    os.write(ready, b"!")
    os.read(stop, 1)
    assert db.execute("SELECT id, checksum FROM entry").fetchall() == before


def write_on(path, done: threading.Event, wrong: list) -> None:
    """Writes until `done`; notes if it had to wait too long."""
    writer, version = SQLiteStore(path, busy_timeout_seconds=2.0), 0
    try:
        while not done.is_set():
            version += 1
            writer.put_many([raw_entry("other", version % 30, version)])
    except StoreError as exc:
        wrong.append(exc)
    writer.close()


def test_a_read_held_open_by_another_process_keeps_the_log_and_holds_nobody_up(path):
    store = make_store(path, timeout=5.0)  # far longer than the other writer waits
    (heard, ready), (stop, tell) = os.pipe(), os.pipe()
    pid = in_child(lambda: hold_read(path, ready, stop, tell))
    done, wrong = threading.Event(), []
    thread = threading.Thread(target=write_on, args=(path, done, wrong))
    try:
        os.read(heard, 1)
        thread.start()
        for number in range(3):
            store.put_many([raw_entry("w", number, 2)])
            store.compact()
        log = path.with_name("c.db-wal")
        assert log.stat().st_size > 0
    finally:
        done.set()
        thread.join()
        os.close(tell)
    assert os.waitpid(pid, 0)[1] == 0
    assert wrong == []
    store.compact()
    assert log.stat().st_size == 0
    check(path, store)
    store.close()
