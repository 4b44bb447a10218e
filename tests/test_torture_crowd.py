"""Many threads and processes on one file: nobody loses a put, nobody is given a wrong answer."""

import ast
import os
import random
import sqlite3
import tempfile
import threading
import time
import traceback
from pathlib import Path

import pytest

from binary_semantic_cache.errors import StoreError
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.stores.sqlite_lease import UpkeepTakenError
from binary_semantic_cache.text.semantic import SemanticCache
from torture import FINGERPRINT, FOLDER, LIVE, TIMES, apart, check_file, make_cache, raw_entry, raw_key

NUMBERS = 20
SECONDS = 4.0 * TIMES


class Worker:
    """Writes entries of its own and reads those of all, until told to stop; keeps what was acknowledged."""

    def __init__(self, store: SQLiteStore, cache: SemanticCache, name: str, seed: str):
        self.store, self.cache, self.name = store, cache, name
        self.random = random.Random(seed)
        self.acknowledged: dict[int, str] = {}
        self.busy = self.taken = self.hits = 0
        self.wrong = ""

    def work(self, until: float) -> None:
        version = 0
        try:
            while time.monotonic() < until and not self.wrong:
                version += 1
                self.act(version)
        except BaseException:
            self.wrong = traceback.format_exc()

    def act(self, version: int) -> None:
        rng, number = self.random, self.random.randrange(NUMBERS)
        chance = rng.random()
        try:
            if chance < 0.3:
                self.store.put_many([raw_entry(self.name, number, version)])
                self.acknowledged[number] = f"raw {self.name} {number} | {version}"
            elif chance < 0.32:
                self.store.delete([i for i, _ in self.store.select(key=raw_key(self.name, number))])
                self.acknowledged.pop(number, None)
            elif chance < 0.33:
                self.store.compact()
            elif chance < 0.34:
                self.store.sweep(LIVE, 100)
            elif chance < 0.5:
                self.look_raw(number)
            elif chance < 0.7:
                asked = f"what says thread {self.name} of matter {number}"
                self.cache.put(asked, f"{asked} | {version}", scope=number % 3)
            else:
                of = rng.choice([self.name, "0", "1"])
                asked = f"what says thread {of} of matter {number}"
                verdict = self.cache.lookup(asked, scope=number % 3)
                if verdict:
                    self.hits += 1
                    assert verdict.response.startswith(f"{verdict.prompt} | "), verdict
                    assert int(verdict.prompt.split()[-1]) % 3 == number % 3, verdict
        except UpkeepTakenError:
            self.taken += 1
        except StoreError:
            self.busy += 1

    def look_raw(self, number: int) -> None:
        stored = self.store.find(raw_key(self.name, number), LIVE)
        found = None if stored is None else stored.entry.payload.decode()
        if found != self.acknowledged.get(number):
            # A put that failed as the file was busy may not have had an effect, so this is a loss.
            raise AssertionError(f"{self.name} {number}: {found} instead of {self.acknowledged.get(number)}")


def in_threads(path, names: list[str], seconds: float, seed: str) -> dict:
    """Works in threads of this process, all on one store and one cache."""
    store = SQLiteStore(path, busy_timeout_seconds=30.0)
    cache = make_cache(store)
    workers = [Worker(store, cache, name, f"{seed} {name}") for name in names]
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=worker.work, args=(until,)) for worker in workers]
    for thread in threads:
        thread.start()
    forked = 0
    while time.monotonic() < until:
        time.sleep(min(0.5, seconds / 4))
        forked += fork(store, cache, names[0])
    for thread in threads:
        thread.join(120)
    store.close()
    wrong = [worker.wrong for worker in workers if worker.wrong]
    assert not wrong, wrong[0]
    return {
        "acknowledged": {worker.name: worker.acknowledged for worker in workers},
        "busy": sum(worker.busy for worker in workers),
        "taken": sum(worker.taken for worker in workers),
        "hits": sum(worker.hits for worker in workers),
        "forked": forked,
    }


def fork(store, cache, name: str) -> int:
    """A child in the middle of all this uses what it inherited."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child = Worker(store, cache, f"{name} child {os.getpid()}", "child")
            child.work(time.monotonic() + 0.05)
            for number in child.acknowledged:
                child.look_raw(number)
            status = 2 if child.wrong else 0
            if child.wrong:
                os.write(2, child.wrong.encode())
        except StoreError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    return 1


def check(path, acknowledged: dict[str, dict[int, str]]) -> None:
    store = SQLiteStore(path)
    store.open(FINGERPRINT)
    for name, answers in acknowledged.items():
        for number, answer in answers.items():
            assert store.find(raw_key(name, number), LIVE).entry.payload.decode() == answer
    store.close()
    check_file(path)


def hold_read(path) -> sqlite3.Connection:
    """A connection in the middle of a read: the write-ahead log cannot be emptied."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM entry").fetchone()
    return db


def campaign(n_processes: int, n_threads: int, seconds: float, seed: int) -> dict:
    total = {"puts": 0, "busy": 0, "taken": 0, "hits": 0, "forked": 0}
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        path = Path(folder) / "c.db"
        store = SQLiteStore(path)
        store.open(FINGERPRINT)
        store.close()
        reader = None
        running = []
        for process in range(n_processes):
            mine, theirs = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(mine)
                names = [str(process * n_threads + thread) for thread in range(n_threads)]
                try:
                    said = repr(in_threads(path, names, seconds, str(seed)))
                except BaseException:
                    said = traceback.format_exc()
                with os.fdopen(theirs, "w") as pipe:
                    pipe.write(said)
                os._exit(0)
            os.close(theirs)
            running.append((pid, mine))
        time.sleep(seconds / 4)
        reader = hold_read(path)
        time.sleep(seconds / 4)
        reader.close()
        acknowledged: dict[str, dict[int, str]] = {}
        for pid, pipe in running:
            with os.fdopen(pipe) as end:
                said = end.read()
            assert os.waitpid(pid, 0)[1] == 0
            assert said.startswith("{"), f"seed {seed}: {said}"
            result = ast.literal_eval(said)
            acknowledged |= result["acknowledged"]
            for name in ("busy", "taken", "hits", "forked"):
                total[name] += result[name]
        total["puts"] = sum(len(answers) for answers in acknowledged.values())
        check(path, acknowledged)
    return total


def makers(n_processes: int, n_files: int) -> dict:
    """Processes that make one file at the same moment; all of them must come to use it."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        for number in range(n_files):
            path = Path(folder) / "new" / f"{number}.db"
            start, begin = os.pipe()
            pids = []
            for process in range(n_processes):
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        os.close(begin)
                        os.read(start, 1)
                        store = SQLiteStore(path, busy_timeout_seconds=30.0)
                        store.open(FINGERPRINT)
                        store.put_many([raw_entry("w", process, 0)])
                        status = 0
                    except BaseException:
                        traceback.print_exc()
                    finally:
                        os._exit(status)
                pids.append(pid)
            os.close(start)
            os.close(begin)
            failed = [pid for pid in pids if os.waitpid(pid, 0)[1]]
            assert not failed, f"file {number}"
            store = SQLiteStore(path)
            assert store.stats().entries == n_processes
            store.close()
    return {}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("n_processes", "n_threads"), [(1, 100), (16, 6)])
def test_a_crowd_on_one_file_loses_no_put_and_serves_no_wrong_answer(n_processes, n_threads):
    seed = random.randrange(10**9)
    done = apart(
        "test_torture_crowd", "campaign", n_processes, n_threads, SECONDS, seed, timeout=120 + 5 * SECONDS
    )
    assert done["puts"] > 20
    assert done["hits"] > 0
    assert done["forked"] >= n_processes


def test_processes_that_make_one_file_at_the_same_moment_all_use_it():
    apart("test_torture_crowd", "makers", 4, round(60 * TIMES), timeout=250)
