"""What the fault tests of stores share: their size, a process apart, answers that name their question."""

import json
import os
import sqlite3
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.stores import ChangeKind, Entry
from binary_semantic_cache.stores.verify import verify
from binary_semantic_cache.text.identity import identity
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache
from words import NoGuards, WordEmbedder

TIMES = float(os.environ.get("TORTURE_TIMES", "1"))
"""How many times as much is done as in the ordinary suite; `make torture` sets it to 10."""

FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where files are damaged by the thousand; `None` for the default."""

LIVE = 10.0
"""A time at which no raw entry has expired; at `GONE` those that can expire have."""
GONE = 100.0


class Words(WordEmbedder):
    """Remembers the direction of each word: most of the time of a short test would go into them."""

    _word = lru_cache(maxsize=4096)(WordEmbedder._word)


@lru_cache
def fingerprint_of(embedder_fingerprint: str) -> str:
    return identity(embedder_fingerprint, RustBinaryEncoder(64, 256, 42))


FINGERPRINT = fingerprint_of(Words().fingerprint)


def make_cache(store, **changes) -> SemanticCache:
    settings = {
        "embedder": Words(),
        "guards": NoGuards(),
        "policy": Policy(exact_only=()),
        "threshold": 0.8,
        "timeout_seconds": 60.0,
    }
    return SemanticCache(store, **(settings | changes))


def raw_entry(writer: str, number: int, version: int, *, expires: bool = False) -> Entry:
    """An entry as a store takes it, below all caches."""
    name = f"raw {writer} {number}"
    return Entry(
        key=raw_key(writer, number),
        scope=b"raw scope".ljust(16),
        owner=writer.encode().ljust(16),
        code=number.to_bytes(8) * 4,
        vector=b"",
        prompt=name,
        kind="text",
        payload=f"{name} | {version}".encode(),
        created_at=0.0,
        expires_at=50.0 if expires else None,
        tags=(writer,),
    )


def raw_key(writer: str, number: int) -> bytes:
    return f"{writer} {number}".encode().ljust(16)


def state(store) -> dict[int, tuple[bytes, bytes]]:
    """What a fold over a snapshot gives."""
    _, chunks = store.snapshot()
    return {line.id: (line.scope, line.code) for chunk in chunks for line in chunk if not line.pair}


def fold(store, cursor: int, rows: dict[int, tuple[bytes, bytes]]) -> None:
    """Brings `rows` from the state at `cursor` to that of now, by the log alone."""
    while store.moved_past(cursor):
        changes, cursor = store.changes(cursor, 100)
        for line in changes:
            if line.kind is ChangeKind.PUT:
                rows[line.id] = line.scope, line.code
            elif line.kind is ChangeKind.DELETE:
                rows.pop(line.id, None)


def check_file(path) -> None:
    """The file is sound by its own account and SQLite's, and each entry has exactly one body."""
    findings = verify(Path(path), lambda line: lambda entry: None).findings
    assert not findings, findings
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        alone = "SELECT count(*) FROM {} WHERE id NOT IN (SELECT id FROM {})"
        for one, other in (("entry", "body"), ("body", "entry"), ("tag", "entry")):
            assert db.execute(alone.format(one, other)).fetchone() == (0,), f"{one} without {other}"
        counted = db.execute("SELECT count(*), coalesce(sum(n_bytes), 0) FROM entry").fetchone()
        assert db.execute("SELECT entries, n_bytes FROM total").fetchone() == counted
    finally:
        db.close()


def apart(module: str, function: str, *arguments, timeout: float, environment=None) -> dict:
    """What a function of a test module returns, called in a process of its own; its crash fails the test.

    A process of one thread, so that it may fork; whatever it printed is shown when it fails.
    """
    program = (
        "import importlib, json, sys\n"
        "module, function, arguments = json.loads(sys.argv[1])\n"
        "result = getattr(importlib.import_module(module), function)(*arguments)\n"
        "print(json.dumps(result))\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        **(environment or {}),
    }
    command = [sys.executable, "-X", "faulthandler", "-c", program, json.dumps([module, function, arguments])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment, check=False
        )
    except subprocess.TimeoutExpired as exc:
        pytest.fail(f"{function}{arguments} did not end in {timeout} s\n{(exc.stdout or b'')[-2000:]!r}")
    said = done.stdout[-2000:]
    if done.returncode != 0:
        pytest.fail(f"{function}{arguments} ended with {done.returncode}\n{said}\n{done.stderr}")
    print(said.splitlines()[-1])
    return json.loads(said.splitlines()[-1])
