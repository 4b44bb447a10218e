"""The power goes at any moment: what was promised to be on the disk is, and nothing else is served."""

import ctypes
import random
import shutil
import sqlite3
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from binary_semantic_cache.cli.main import main
from binary_semantic_cache.stores import sqlite_lease
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.semantic import SemanticCache
from disk import Call, Disk, calls_of
from stored_entries import packed_state
from torture import (
    FINGERPRINT,
    FOLDER,
    GONE,
    LIVE,
    TIMES,
    apart,
    check_file,
    make_cache,
    raw_entry,
    raw_key,
    state,
)

NUMBERS = 12
OPERATIONS = 30
WEIGHTS = {
    "put_many": 8,
    "put_large": 1,
    "put": 5,
    "delete": 3,
    "clear": 0.3,
    "sweep": 1,
    "prolong": 1,
    "forbid": 1,
    "checkpoint": 1.5,
    "compact": 2,
    "reopen": 1,
    "hold": 1,
    "reembed": 0.4,
}


BLANK: tuple = ([], [], [])
"""What is in a file that was made and never opened by a cache."""


def content(store) -> tuple:
    """All that a program can read in the file, in an order of its own."""
    with store.lock, store._file.reading() as db:
        rows = db.execute(
            "SELECT e.id, e.key, e.scope, e.code, e.expires_at, b.vector, b.prompt, b.payload, b.tags "
            "FROM entry e JOIN body b ON b.id = e.id ORDER BY e.id"
        ).fetchall()
        pairs = db.execute("SELECT pair FROM pair ORDER BY pair").fetchall()
        meta = db.execute(
            "SELECT * FROM meta WHERE name NOT IN ('upkeep', 'snapped') ORDER BY name"
        ).fetchall()
    return rows, pairs, meta


class Script:
    """Operations of one process; the content before them and after each."""

    def __init__(self, path: Path, durability: str, rng: random.Random, before: tuple):
        self.path, self.durability, self.rng = path, durability, rng
        self.reader: sqlite3.Connection | None = None
        self.contents = [before]
        self.version = 0
        self.embedder = dict(before[2]).get("fingerprint", FINGERPRINT.encode()).decode()

    def run(self, mark) -> None:
        for kind in ("begin", *self.rng.choices(*zip(*WEIGHTS.items(), strict=True), k=OPERATIONS), "end"):
            self.version += 1
            getattr(self, kind)()
            mark(len(self.contents))
            self.contents.append(content(self.store) if kind != "end" else self.contents[-1])

    def begin(self) -> None:
        self.store = SQLiteStore(self.path, durability=self.durability)
        self.store.open(self.embedder)
        if self.embedder == FINGERPRINT:
            self.cache = make_cache(self.store)
        with self.store.lock, self.store._file.reading() as db:
            # Otherwise a short script would never come to a checkpoint by itself.
            db.execute(f"PRAGMA wal_autocheckpoint = {self.rng.choice([10, 40, 1000])}")

    def end(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        self.store.close()

    def reopen(self) -> None:
        self.end()
        self.begin()

    def put_many(self) -> None:
        numbers = self.rng.sample(range(NUMBERS), self.rng.choice([1, 3, NUMBERS]))
        expires = self.rng.random() < 0.3
        self.store.put_many([raw_entry("w", number, self.version, expires=expires) for number in numbers])

    def put_large(self) -> None:
        large = raw_entry("large", self.rng.randrange(3), self.version)
        self.store.put_many([large.__class__(**{**fields_of(large), "payload": self.rng.randbytes(30_000)})])

    def put(self) -> None:
        if self.embedder == FINGERPRINT:
            asked = prompt_of(self.rng.randrange(NUMBERS))
            self.cache.put(asked, f"{asked} | {self.version}")

    def delete(self) -> None:
        numbers = self.rng.sample(range(NUMBERS), 3)
        self.store.delete([i for number in numbers for i, _ in self.store.select(key=raw_key("w", number))])

    def clear(self) -> None:
        self.store.clear(None)

    def sweep(self) -> None:
        self.store.sweep(GONE, 100)

    def prolong(self) -> None:
        for entry_id, _ in self.store.select(key=raw_key("w", self.rng.randrange(NUMBERS))):
            self.store.prolong(entry_id, 1000.0 + self.version)

    def forbid(self) -> None:
        self.store.forbid(self.rng.randbytes(16))

    def checkpoint(self) -> None:
        kind = self.rng.choice(["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
        with self.store.lock, self.store._file.reading() as db:
            db.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()

    def compact(self) -> None:
        self.store.compact()

    def hold(self) -> None:
        """Begins or ends a read that keeps the log from beginning anew."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None
            return
        self.reader = sqlite3.connect(self.path, isolation_level=None)
        self.reader.execute("BEGIN")
        self.reader.execute("SELECT count(*) FROM entry").fetchone()

    def reembed(self) -> None:
        ids = list(state(self.store))
        self.embedder = f"another {self.version}"
        fresh = [(entry_id, self.rng.randbytes(32), b"v" * 20) for entry_id in ids[::2]]
        self.store.reembed(self.embedder, [fresh])


def fields_of(entry) -> dict:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}


def prompt_of(number: int) -> str:
    return f"what is to be said of the matter number {number}"


def record(shim, path: Path, durability: str, seed: str, files: dict, before: tuple) -> tuple[list, list]:
    """The calls of a script that begins with `files`, and the content before and after each operation."""
    folder, log = path.parents[1], path.parents[2] / "record"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(data)
    # The process that had the lease at a power cut is this one, which must not look alive.
    sqlite_lease._began = lambda process: seed
    script = Script(path, durability, random.Random(seed), before)
    assert shim.record_start(str(folder).encode(), str(log).encode()) >= 0
    try:
        script.run(shim.record_mark)
    finally:
        shim.record_stop()
    calls = list(calls_of(log.read_bytes()))
    # With all calls done, the disk of the model is the folder: none went past the recorder.
    disk = Disk(files)
    for call in calls:
        disk.apply(call)
    there = {str(file): file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".db-shm"}
    assert {name: file.whole() for name, file in disk.names.items()} == there
    return calls, script.contents


def check_state(files: dict[str, bytes], allowed: list[tuple], durability: str, into: Path) -> tuple:
    """Opens what a power cut left; returns its content."""
    into.mkdir()
    for path, data in files.items():
        (into / Path(path).name).write_bytes(data)
    path = into / "c.db"
    store = SQLiteStore(path, durability=durability)
    found = content(store)
    assert found in allowed, differences(found, allowed)
    assert packed_state(store) == state(store)
    if dict(found[2]).get("fingerprint") == FINGERPRINT.encode():
        check_answers(store)
    store.close()
    check_file(path)
    shutil.rmtree(into)
    return found


def check_answers(store) -> None:
    cache = make_cache(store)
    for number in range(NUMBERS):
        for asked in (prompt_of(number), f"{prompt_of(number)} now"):
            hit = cache.lookup(asked)
            assert not hit or hit.response.startswith(f"{hit.prompt} | "), hit
            assert not hit or hit.prompt in (asked, prompt_of(number)) or hit.kind == "semantic", hit
    ids = store.put_many([raw_entry("after", 1, 1)])
    assert store.find(raw_key("after", 1), LIVE).id == ids[0]


def differences(found: tuple, allowed: list[tuple]) -> str:
    nearest = allowed[-1]
    rows = [set(map(repr, side[0])) for side in (found, nearest)]
    return (
        f"{len(allowed)} allowed; there and not allowed: {sorted(rows[0] - rows[1])[:3]}, "
        f"missing: {sorted(rows[1] - rows[0])[:3]}, pairs {len(found[1])} and {len(nearest[1])}, "
        f"meta {found[2]} and {nearest[2]}"
    )


class Recording:
    """A script, and how far it has been followed."""

    def __init__(self, calls: list[Call], contents: list[tuple], files: dict[str, bytes], durability: str):
        self.calls, self.contents, self.durability = calls, contents, durability
        self.disk, self.at, self.marks, self.synced = Disk(files), 0, 0, 0

    def go_on(self, moment: int) -> None:
        for call in self.calls[self.at : moment]:
            self.disk.apply(call)
            if call.operation == "M":
                self.marks = call.number
            elif call.operation == "S" and call.path.endswith("-wal"):
                self.synced = self.marks
        self.at = moment

    def allowed(self) -> list[tuple]:
        """What may be there: the last is that of the operation under way.

        What returned before the last sync of the log is on the disk, whatever was promised.
        """
        least = self.marks if self.durability == "disk" else self.synced
        return self.contents[least : self.marks + 2]


def campaign(library: str, durability: str, n_scripts: int, n_states: int, seed: int) -> dict:
    """Scripts, each of which begins with what a power cut left of the one before, as often as not."""
    shim = ctypes.CDLL(library)
    shim.record_start.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    shim.record_mark.argtypes = [ctypes.c_long]
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=FOLDER) as base:
        path = Path(base) / "recorded" / "made" / "c.db"
        files: dict[str, bytes] = {}
        found = BLANK
        for number in range(n_scripts):
            name = f"{durability} {seed} {number}"
            rng = random.Random(f"{name} states")
            if rng.random() < 0.5:
                files, found = {}, BLANK
            calls, contents = record(shim, path, durability, name, files, found)
            recording = Recording(calls, contents, files, durability)
            done["calls"] += len(calls)
            for moment in sorted(rng.choices(range(len(calls) + 1), k=n_states)):
                recording.go_on(moment)
                files, allowed = recording.disk.after_power_cut(rng), recording.allowed()
                try:
                    found = check_state(files, allowed, durability, Path(base) / "state")
                except BaseException:
                    print(f"seed {name}: after {moment} of {len(calls)} calls", flush=True)
                    raise
                done["states"] += 1
                done["lost"] += found not in contents[recording.marks : recording.marks + 2]
                done["partial"] += any(file.pending for file in recording.disk.names.values())
    return done


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The shim, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None, "these tests need a C compiler, as the Rust toolchain does to link"
    path = tmp_path_factory.mktemp("shim") / "recorded_calls.so"
    source = Path(__file__).parent / "recorded_calls.c"
    command = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", path, source, "-ldl"]
    subprocess.run(command, check=True)
    return str(path)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("durability", ["disk", "os"])
def test_a_power_cut_loses_nothing_that_was_promised_and_damages_nothing(library, durability):
    seed, n_scripts, n_states = random.randrange(10**9), round(8 * TIMES), 40
    done = apart(
        "test_torture_power",
        "campaign",
        library,
        durability,
        n_scripts,
        n_states,
        seed,
        timeout=60 + 20 * n_scripts,
        environment={"LD_PRELOAD": library},
    )
    assert done["states"] == n_scripts * n_states
    # Else the cuts came where nothing was under way.
    assert done["partial"] > done["states"] / 10
    assert (done["lost"] > 0) == (durability == "os")


class Swapped:
    """A store in whose place another one can be put under a cache that goes on."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


def ask_all(cache, answers: dict[str, str]) -> int:
    """Asks for each prompt and one near it; whatever is served must be the answer of its own prompt."""
    hits = 0
    for prompt in answers:
        for asked in (prompt, f"{prompt} now"):
            hit = cache.lookup(asked)
            if hit:
                hits += 1
                assert hit.response == answers[hit.prompt], (asked, hit)
                assert hit.prompt == prompt, (asked, hit)
    return hits


def lose_the_log(tmp_path) -> tuple[dict, SemanticCache, Swapped]:
    """A cache of `kept` and `lost` answers, whose file then is as if the power had gone: without `lost`."""
    store = Swapped(SQLiteStore(tmp_path / "c.db"))
    cache = make_cache(store)
    answers = {f"{thing} {thing}s {thing}ing": f"kept {thing}" for thing in ("door", "roof", "fence")}
    for prompt, answer in answers.items():
        cache.put(prompt, answer)
    cache.invalidate(prompt="door doors dooring")
    del answers["door doors dooring"]
    with store.lock, store._file.reading() as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    kept = (tmp_path / "c.db").read_bytes()
    for thing in ("wall", "lamp", "table"):
        answers[f"{thing} {thing}s {thing}ing"] = f"lost {thing}"
        cache.put(f"{thing} {thing}s {thing}ing", f"lost {thing}")
    assert ask_all(cache, answers) == 10
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "c.db").write_bytes(kept)
    return answers, cache, store


@pytest.mark.parametrize("n_new", [1, 3, 5])
def test_an_index_of_before_a_power_cut_serves_nothing_wrong_when_ids_are_given_again(tmp_path, n_new):
    """As a process elsewhere might hold it: it knows ids that were lost, and that others have now."""
    answers, cache, store = lose_the_log(tmp_path)
    lost = {i for i, prompt in store.select() if answers[prompt].startswith("lost")}
    before = store.inner
    after = SQLiteStore(tmp_path / "cut" / "c.db")
    newer = make_cache(after)
    given = set()
    for thing in ("garden", "window", "carpet", "ceiling", "chimney")[:n_new]:
        prompt = f"{thing} {thing}s {thing}ing"
        answers[prompt] = f"new {thing}"
        given.add(newer.put(prompt, answers[prompt]))
    assert given & lost
    store.inner = after
    # What was put since is found by its prompt; by meaning only where the old index can tell of it.
    assert ask_all(cache, answers) >= 2 * 2 + n_new
    assert ask_all(newer, answers) == 2 * (2 + n_new)
    for prompt in answers:
        assert bool(cache.lookup(prompt)) == (not answers[prompt].startswith("lost"))
    for one in (before, after):
        one.close()
    check_file(tmp_path / "cut" / "c.db")


def test_an_export_of_before_a_power_cut_brings_back_what_was_lost_and_takes_nothing(tmp_path):
    answers, cache, _ = lose_the_log(tmp_path)
    assert main(["export", str(tmp_path / "c.db"), str(tmp_path / "all.jsonl")]) == 0
    cache.close()
    path = tmp_path / "cut" / "c.db"
    with make_cache(path) as newer:
        for thing in ("garden", "window", "carpet", "wall"):
            prompt = f"{thing} {thing}s {thing}ing"
            answers[prompt] = f"new {thing}"
            newer.put(prompt, answers[prompt])
    assert main(["import", str(tmp_path / "all.jsonl"), str(path)]) == 0
    with make_cache(path) as newer:
        # The wall was put anew: what is there stays.
        assert ask_all(newer, answers) == 2 * len(answers) == 2 * 8
        assert not newer.lookup("door doors dooring")
    check_file(path)
