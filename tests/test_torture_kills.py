"""A writer killed at any moment: what it was told is kept is kept, and nothing else is there."""

import os
import random
import signal
import tempfile
import time
import traceback
from pathlib import Path

import pytest

from binary_semantic_cache.errors import CursorLostError
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.reembed import reembed
from torture import (
    FOLDER,
    GONE,
    LIVE,
    TIMES,
    Words,
    apart,
    check_file,
    fingerprint_of,
    fold,
    make_cache,
    raw_entry,
    raw_key,
    state,
)

NUMBERS = 12
FILE_ROUNDS = 40
"""Kills that one file has to bear before the next begins."""

WEIGHTS = {
    "writes": {"put_many": 5, "put": 5, "delete": 1, "invalidate": 1},
    "compact": {"put_many": 5, "put": 2, "delete": 2, "compact": 4},
    "sweep": {"put_many": 6, "put": 2, "sweep": 3},
    "clear": {"put_many": 6, "put": 4, "clear": 1, "clear_scope": 1},
    "clear_all": {"put_many": 6, "put": 4, "clear_all": 1},
    "reembed": {"put_many": 3, "put": 6, "reembed": 3},
}


def prompt_of(writer: str, number: int) -> str:
    return f"what does writer {writer} say of the matter number {number}"


def operations(variant: str, seed: str):
    """What a writer does, for ever; the same for everybody who knows the seed."""
    rng, version = random.Random(seed), 0
    kinds, weights = zip(*WEIGHTS[variant].items(), strict=True)
    while True:
        (kind,) = rng.choices(kinds, weights)
        version += 1
        if kind == "put_many":
            numbers = rng.sample(range(NUMBERS), rng.choice([1, 1, 3, NUMBERS]))
            yield kind, numbers, version, variant == "sweep" and rng.random() < 0.5
        else:
            yield kind, [rng.randrange(NUMBERS)], version, False


def after(held: dict, writer: str, seed: str, operation) -> dict:
    """The answers of a writer after an operation, by prompt: `(answer, whether it can expire)`."""
    kind, numbers, version, expires = operation
    raw = {f"raw {writer} {number}" for number in numbers}
    asked = prompt_of(writer, numbers[0])
    if kind == "put_many":
        return held | {name: (f"{name} | {seed} {version}", expires) for name in raw}
    if kind == "put":
        return held | {asked: (f"{asked} | {seed} {version}", False)}
    gone = {
        "delete": lambda name: name in raw,
        "invalidate": lambda name: name == asked,
        "sweep": lambda name: held[name][1],
        "clear": lambda name: name.startswith("raw "),
        "clear_scope": lambda name: not name.startswith("raw "),
        "clear_all": lambda name: True,
        "compact": lambda name: False,
        "reembed": lambda name: False,
    }[kind]
    return {name: answer for name, answer in held.items() if not gone(name)}


class Writer:
    """Does operations in a process that is going to be killed."""

    def __init__(self, path, name: str, seed: str):
        self.path, self.name, self.seed = path, name, seed
        self.open()

    def open(self) -> None:
        self.store = SQLiteStore(self.path, busy_timeout_seconds=60.0)
        self.cache = make_cache(self.store, embedder=embedder_of(self.path))

    def act(self, operation) -> None:
        kind, numbers, version, expires = operation
        mark = f"{self.seed} {version}"
        if kind == "put_many":
            self.store.put_many([raw_entry(self.name, n, mark, expires=expires) for n in numbers])
        elif kind == "put":
            asked = prompt_of(self.name, numbers[0])
            self.cache.put(asked, f"{asked} | {mark}", scope=self.name)
        elif kind == "delete":
            found = self.store.select(key=raw_key(self.name, numbers[0]))
            self.store.delete([entry_id for entry_id, _ in found])
        elif kind == "invalidate":
            self.cache.invalidate(prompt=prompt_of(self.name, numbers[0]), scope=self.name)
        elif kind == "sweep":
            self.store.sweep(GONE, 1000)
        elif kind == "clear":
            self.store.clear(self.name.encode().ljust(16))
        elif kind == "clear_scope":
            self.cache.clear(scope=self.name)
        elif kind == "clear_all":
            self.store.clear(None)
        elif kind == "compact":
            self.store.compact()
        else:
            self.store.close()
            mover = SQLiteStore(self.path)
            other = "new" if embedder_of(self.path).fingerprint.startswith("words") else "words"
            reembed(mover, Words(name=other))
            mover.close()
            self.open()


def embedder_of(path) -> Words:
    """The embedder that the file was filled with last."""
    store = SQLiteStore(path)
    written = store.fingerprint()
    store.close()
    return Words(name="new") if written == fingerprint_of("new-64") else Words()


def live(path, name: str, variant: str, seed: str, pipe: int) -> None:
    try:
        writer = Writer(path, name, seed)
        os.write(pipe, b"o")
        for operation in operations(variant, seed):
            writer.act(operation)
            os.write(pipe, b".")
    except BaseException:
        os.write(pipe, traceback.format_exc().encode())
    finally:
        os._exit(3)


def kill_round(path, variant: str, writers: list[str], seed: str) -> dict[str, int]:
    """Starts writers, kills each at a moment of its own; returns how many operations each acknowledged."""
    rng, running = random.Random(f"moment {seed}"), {}
    for name in writers:
        mine, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(mine)
            live(path, name, variant, f"{seed} {name}", theirs)
        os.close(theirs)
        running[name] = pid, mine
    acknowledged = {}
    # Most often in the middle of writing, now and then while the file is opened or made.
    opened = rng.random() < 0.85
    for name, (pid, pipe) in running.items():
        heard = os.read(pipe, 1) if opened else b""
        if opened and rng.random() < 0.5:
            # Also where the machine is too busy for an operation within the moment that follows.
            heard += os.read(pipe, 1)
        time.sleep(rng.random() ** 2 * 0.016)
        os.kill(pid, signal.SIGKILL)
        while part := os.read(pipe, 65536):
            heard += part
        os.close(pipe)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), f"{seed} {name}: {heard.lstrip(b'o.').decode()}"
        acknowledged[name] = heard.count(b".")
    return acknowledged


def held_by(store, cache, writers: list[str]) -> dict[str, dict]:
    """The answers of each writer as a process that comes later finds them."""
    found: dict[str, dict] = {}
    for writer in writers:
        held = found[writer] = {}
        for number in range(NUMBERS):
            stored = store.find(raw_key(writer, number), LIVE)
            if stored is not None:
                entry = stored.entry
                assert store.get(stored.id, entry.scope, entry.code, LIVE) == stored
                held[entry.prompt] = entry.payload.decode(), entry.expires_at is not None
            hit = cache.lookup(prompt_of(writer, number), scope=writer, exact_only=True)
            if hit:
                held[hit.prompt] = hit.response, False
            near = cache.lookup(prompt_of(writer, number) + " now", scope=writer)
            assert bool(near) or not hit, near
            assert not near or near.response == cache.lookup(near.prompt, scope=writer).response
    return found


class File:
    """One file over many kills, and what has to be in it."""

    def __init__(self, path: Path, writers: list[str]):
        self.path, self.writers = path, writers
        self.held: dict[str, dict] = {writer: {} for writer in writers}
        self.cursor, self.rows = 0, {}

    def check(self, variant: str, seed: str, acknowledged: dict[str, int]) -> None:
        check_file_or_empty(self.path)
        store = SQLiteStore(self.path)
        cache = make_cache(store, embedder=embedder_of(self.path))
        found = held_by(store, cache, self.writers)
        for writer, n in acknowledged.items():
            does = operations(variant, f"{seed} {writer}")
            sure = self.held[writer]
            for _, operation in zip(range(n), does, strict=False):
                sure = after(sure, writer, f"{seed} {writer}", operation)
            # The operation that was under way is there in full or not at all.
            perhaps = after(sure, writer, f"{seed} {writer}", next(does))
            assert found[writer] in (sure, perhaps), f"{seed} {writer}: {n} acknowledged"
        everything = sorted(name for held in found.values() for name in held)
        assert sorted(prompt for _, prompt in store.select()) == everything
        self.check_log(store, variant)
        self.held = found
        store.close()

    def check_log(self, store, variant: str) -> None:
        """The log brings a reader who stopped at the last check to where a snapshot brings a new one."""
        rows = state(store)
        try:
            fold(store, self.cursor, self.rows)
        except CursorLostError:
            assert variant == "reembed"
        else:
            assert self.rows == rows
        self.cursor, self.rows = store.snapshot()[0], rows


def check_file_or_empty(path) -> None:
    """A file may be killed before its tables are there; the next to open it makes them."""
    store = SQLiteStore(path)
    store.stats()
    store.close()
    check_file(path)


def campaign(variant: str, n_writers: int, n_rounds: int, seed: int) -> dict:
    writers = [f"w{i}" for i in range(n_writers)]
    total = {"rounds": 0, "acknowledged": 0}
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        for number in range(n_rounds):
            if number % FILE_ROUNDS == 0:
                file = File(Path(folder) / f"{number}.db", writers)
            name = f"{variant} {n_writers} {seed} {number}"
            try:
                acknowledged = kill_round(file.path, variant, writers, name)
                file.check(variant, name, acknowledged)
            except BaseException:
                print(f"seed {name}")
                raise
            total["rounds"] += 1
            total["acknowledged"] += sum(acknowledged.values())
    return total


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("variant", "n_writers", "n_rounds"),
    [
        ("writes", 1, 300),
        ("writes", 2, 100),
        ("writes", 3, 100),
        ("compact", 1, 120),
        ("compact", 2, 80),
        ("sweep", 1, 100),
        ("clear", 1, 80),
        ("clear", 2, 40),
        ("clear_all", 1, 40),
        ("reembed", 1, 40),
    ],
)
def test_what_was_acknowledged_before_a_kill_is_there_and_nothing_else(variant, n_writers, n_rounds):
    seed, rounds = random.randrange(10**9), round(n_rounds * TIMES)
    done = apart("test_torture_kills", "campaign", variant, n_writers, rounds, seed, timeout=60 + 2 * rounds)
    assert done["rounds"] == rounds
    assert done["acknowledged"] > rounds / 4
