"""Every write, sync, truncation and open of the store fails once, and for ever, at every place it happens."""

import ctypes
import json
import os
import shutil
import subprocess
import tempfile
import traceback
from pathlib import Path

import pytest

from binary_semantic_cache.errors import StoreError
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.verdict import MissReason
from torture import FOLDER, LIVE, TIMES, apart, check_file, make_cache, raw_entry, raw_key

KINDS = {"ENOSPC": 0, "EIO": 1, "EMFILE": 2, "short write": 3}
N = 6


def prompt_of(number: int) -> str:
    return f"which colour has the house number {number}"


class Script:
    """Puts, deletes and lookups; what each came to is noted as soon as it returned or raised."""

    def __init__(self, path):
        self.path = path
        self.may: dict[str, list[str | None]] = {}
        """By name, the answers that may be found later; `None` for none."""
        self.failures = self.version = 0

    def run(self, rounds: int) -> None:
        self.attempt({}, self.open)
        for _ in range(rounds):
            self.version += 1
            if not hasattr(self, "cache"):
                self.attempt({}, self.open)
                continue
            self.operate()
        for thing in ("store", "other"):
            if hasattr(self, thing):
                getattr(self, thing).close()

    def open(self) -> None:
        self.store = SQLiteStore(self.path, busy_timeout_seconds=0.1)
        self.cache = make_cache(self.store)
        # A second connection: the first one's files are not closed and checkpointed by it alone.
        self.other = SQLiteStore(self.path, busy_timeout_seconds=0.1)

    def operate(self) -> None:
        v, store, cache = self.version, self.store, self.cache
        raw = {f"raw w {n}": f"raw w {n} | {v}" for n in range(N)}
        self.attempt(raw, lambda: store.put_many([raw_entry("w", n, v) for n in range(N)]))
        asked = prompt_of(v % N)
        answer = f"{asked} | {v}"
        self.attempt({asked: answer}, lambda: cache.put(asked, answer, scope="w"))
        asked_2 = prompt_of((v + 1) % N)
        answer_2 = f"{asked_2} | {v}"
        got = cache.get_or_compute(asked_2, lambda: answer_2, scope="w")
        assert got == answer_2 or any(got in answers for answers in self.may.values())
        # Whether it was kept is not said.
        self.may[asked_2] = [*self.may.get(asked_2, [None]), answer_2]
        self.attempt(
            {"raw w 1": None}, lambda: store.delete([i for i, _ in store.select(key=raw_key("w", 1))])
        )
        gone = prompt_of((v + 2) % N)
        self.attempt({gone: None}, lambda: cache.invalidate(prompt=gone, scope="w"))
        self.look(gone)
        self.look(asked)
        self.attempt({}, lambda: self.other.put_many([raw_entry("other", v % N, v)]))
        self.may[f"raw other {v % N}"] = [None, *(f"raw other {v % N} | {old}" for old in range(v + 1))]
        if v % 2 == 0:
            self.attempt({}, store.compact)

    def look(self, asked: str) -> None:
        verdict = self.cache.lookup(asked, scope="w")
        if verdict:
            assert verdict.response in self.may.get(verdict.prompt, ()), (asked, verdict)
        else:
            assert isinstance(verdict.reason, MissReason)

    def attempt(self, changes: dict[str, str | None], work) -> None:
        try:
            work()
        except StoreError:
            self.failures += 1
            for name, answer in changes.items():
                self.may[name] = [*self.may.get(name, [None]), answer]
        else:
            self.may |= {name: [answer] for name, answer in changes.items()}


def check(path, may: dict[str, list[str | None]]) -> None:
    """A process that comes after the fault finds what was acknowledged, and nothing wrong."""
    store = SQLiteStore(path)
    cache = make_cache(store)
    for name, answers in may.items():
        if name.startswith("raw "):
            writer, number = name.removeprefix("raw ").split()
            stored = store.find(raw_key(writer, int(number)), LIVE)
            found = None if stored is None else stored.entry.payload.decode()
        else:
            hit = cache.lookup(name, scope="w", exact_only=True)
            found = hit.response if hit else None
        assert found in answers, f"{name}: {found!r} is not one of {answers}"
        near = cache.lookup(f"{name} now", scope="w")
        assert not near or near.response in may[near.prompt]
    cache.put("a new question", "a new answer")
    store.close()
    check_file(path)


def attempt(shim, folder: Path, kind: str, k: int, stays: bool, rounds: int) -> tuple[int, int]:
    """Runs the script in a child with the k-th call failing; returns how many calls and failures it saw."""
    mine, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            script = Script(folder / "c.db")
            shim.fault_arm(f"{folder}/".encode(), k, KINDS[kind], int(stays))
            script.run(rounds)
            calls = shim.fault_disarm()
            said = json.dumps([script.may, calls, script.failures])
        except BaseException:
            shim.fault_disarm()
            said = traceback.format_exc()
        with os.fdopen(theirs, "w") as pipe:
            pipe.write(said)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(mine) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"{kind} at call {k}: ended with {status}"
    assert said.startswith("["), f"{kind} at call {k}: {said}"
    may, calls, failures = json.loads(said)
    check(folder / "c.db", may)
    return calls, failures


def campaign(library: str, kind: str, stays: bool, rounds: int) -> dict:
    shim = ctypes.CDLL(library)
    shim.fault_disarm.restype = ctypes.c_long
    shim.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    total = {"places": 0, "failures": 0}
    with tempfile.TemporaryDirectory(dir=FOLDER) as base:
        k, calls = 1, 1
        while k <= calls:
            folder = Path(base) / str(k)
            folder.mkdir()
            try:
                seen, failures = attempt(shim, folder, kind, k, stays, rounds)
            except BaseException:
                print(f"{kind}, {'from call' if stays else 'call'} {k}")
                raise
            shutil.rmtree(folder)
            # A fault that stays ends many calls before they are made.
            calls = max(calls, seen)
            total["places"] += 1
            total["failures"] += failures
            k += 1
    return total


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The shim, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None, "these tests need a C compiler, as the Rust toolchain does to link"
    path = tmp_path_factory.mktemp("shim") / "failing_calls.so"
    source = Path(__file__).parent / "failing_calls.c"
    command = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", path, source, "-ldl"]
    subprocess.run(command, check=True)
    return str(path)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_fails_is_a_store_error_and_loses_nothing_acknowledged(library, kind, stays):
    rounds = round(2 * TIMES**0.5)  # as many places, and as many calls in front of each
    done = apart(
        "test_torture_io",
        "campaign",
        library,
        kind,
        stays,
        rounds,
        timeout=1200,
        environment={"LD_PRELOAD": library},
    )
    # There is a fault at each of these places, and it is felt: else the calls do not go through the shim.
    assert done["places"] >= (3 if kind == "EMFILE" else 20), done
    assert done["failures"] > 0 or (kind == "short write" and not stays), done
