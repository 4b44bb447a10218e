"""Files that were damaged: an error of the tree, a miss, or the right answer, never another one's."""

import faulthandler
import logging
import random
import shutil
import sqlite3
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from binary_semantic_cache.errors import CorruptFileError, FingerprintError, StoreError
from binary_semantic_cache.stores import sqlite, sqlite_packing
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text import deadline
from torture import FINGERPRINT, FOLDER, LIVE, TIMES, Words, apart, make_cache, raw_entry

PAGE, WAL_HEADER, FRAME = 4096, 32, 24 + 4096
SCOPES = ("left", "right")
PROMPTS = [f"which colour has the {thing} of the house" for thing in ("door", "roof", "fence", "wall")]
NEAR = [f"{prompt} please" for prompt in PROMPTS]
EMBEDDED = dict(zip(PROMPTS + NEAR, Words().embed(PROMPTS + NEAR), strict=True))
THRESHOLD = 0.85
HANGS_AFTER_SECONDS = 20.0
N_MUTATIONS = 2_500 if TIMES <= 1 else round(5_000 * TIMES)
LONG = "and so on " * 40


def answer(prompt: str, scope: str) -> str:
    return f"{scope} | {prompt} | {LONG}{prompt}"


def cosine(a: str, b: str) -> float:
    x, y = EMBEDDED[a], EMBEDDED[b]
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def make_whole(folder: Path) -> dict[str, bytes]:
    """A sound file, part of it still in the write-ahead log: the bytes of both, by name."""
    cache = make_cache(folder / "c.db")
    for at, (prompt, scope) in enumerate((prompt, scope) for prompt in PROMPTS for scope in SCOPES):
        cache.put(
            prompt, answer(prompt, scope), scope=scope, tags=[scope], ttl_seconds=3600 if at % 2 else None
        )
        if at == 4:
            cache.store.compact()
    cache.report(cache.lookup(NEAR[0], scope="left"))
    cache.put(PROMPTS[0], answer(PROMPTS[0], "left"), scope="left")
    whole = {name: (folder / name).read_bytes() for name in ("c.db", "c.db-wal")}
    cache.close()
    return whole


def make_checkpointed(folder: Path) -> dict[str, bytes]:
    """The same without a log beside it, after the last process closed the file."""
    make_whole(folder)
    return {"c.db": (folder / "c.db").read_bytes()}


def flip(rng, data: bytearray, at: int) -> None:
    data[at] ^= 1 << rng.randrange(8)


def where_text_is(rng, data: bytes) -> int:
    """A place inside a prompt, an answer or what stands beside it."""
    word = rng.choice([prompt.encode() for prompt in PROMPTS] + [b"left", b"right", b"and so on"])
    places, at = [], data.find(word)
    while at >= 0:
        places.append(at)
        at = data.find(word, at + 1)
    return min(len(data) - 1, rng.choice(places or [0]) + rng.randrange(-120, len(word) + 20))


def damage(rng, whole: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """One mutation of one file, and its name."""
    name = rng.choice(sorted(whole))
    data = bytearray(whole[name])
    start, unit = (WAL_HEADER, FRAME) if name.endswith("wal") else (0, PAGE)
    units = (len(data) - start) // unit
    kind = rng.choice(
        ["flip", "flip in text", "flip in text", "bytes", "zeros", "cut", "swap", "copy", "head", "lost"]
    )
    if kind == "flip":
        for _ in range(rng.choice([1, 1, 2, 8])):
            flip(rng, data, rng.randrange(len(data)))
    elif kind == "flip in text":
        flip(rng, data, where_text_is(rng, data))
    elif kind == "bytes":
        at, n = rng.randrange(len(data)), rng.choice([1, 2, 4, 64])
        data[at : at + n] = rng.randbytes(min(n, len(data) - at))
    elif kind == "zeros":
        at = rng.randrange(0, len(data), 512)
        data[at : at + 512] = bytes(min(512, len(data) - at))
    elif kind == "cut":
        edge = start + unit * rng.randrange(units + 1) + rng.choice([-1, 0, 0, 1, 24, 512])
        del data[rng.choice([max(0, edge), rng.randrange(len(data))]) :]
    elif kind in ("swap", "copy"):
        a, b = (start + unit * rng.randrange(units) for _ in range(2))
        one, other = bytes(data[a : a + unit]), bytes(data[b : b + unit])
        data[a : a + unit] = other
        if kind == "swap":
            data[b : b + unit] = one
    elif kind == "head":
        # The headers of file, pages, cells and frames are a small part of all bytes, and the one that counts.
        flip(rng, data, min(len(data) - 1, start + unit * rng.randrange(units) + rng.randrange(120)))
    else:
        return f"{name} lost", {other: content for other, content in whole.items() if other != name}
    return f"{name} {kind}", whole | {name: bytes(data)}


def wrong_answers(path: Path) -> int:
    """Opens and asks as a program would; returns how many answers were not those that were put."""
    try:
        cache = make_cache(path, threshold=THRESHOLD)
    except (StoreError, FingerprintError):
        return 0
    wrong = 0
    for scope in SCOPES:
        for asked in PROMPTS + NEAR:
            hit = cache.lookup(asked, scope=scope)
            if hit:
                right = hit.prompt in PROMPTS and hit.response == answer(hit.prompt, scope)
                near = hit.prompt == asked or (
                    hit.kind == "semantic" and right and cosine(asked, hit.prompt) > THRESHOLD - 0.01
                )
                wrong += not (right and near)
    for use in (
        cache.stats,
        lambda: cache.put(PROMPTS[1], answer(PROMPTS[1], "left"), scope="left"),
        lambda: cache.invalidate(tag="right"),
        lambda: cache.store.sweep(time.time() + 7200, 100),
        cache.store.compact,
        lambda: cache.clear(scope="left"),
    ):
        with suppress(StoreError):
            use()
    cache.close()
    return wrong


def campaign(kind: str, n: int, seed: int) -> dict:
    logging.disable()
    deadline._FAILURES_TO_OPEN = 10**9  # each lookup is to read the file
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=FOLDER) as base:
        (Path(base) / "whole").mkdir()
        whole = {"log": make_whole, "checkpointed": make_checkpointed}[kind](Path(base) / "whole")
        for number in range(n):
            rng = random.Random(f"{kind} {seed} {number}")
            folder = Path(base) / "damaged"
            folder.mkdir()
            name, files = damage(rng, whole)
            for file, content in files.items():
                (folder / file).write_bytes(content)
            print(f"seed {kind} {seed} {number}: {name}", flush=True)  # what is shown last is what failed
            faulthandler.dump_traceback_later(HANGS_AFTER_SECONDS, exit=True)
            wrong = wrong_answers(folder / "c.db")
            if wrong:
                found[name] = found.get(name, 0) + 1
            shutil.rmtree(folder)
    faulthandler.cancel_dump_traceback_later()
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["log", "checkpointed"])
def test_no_damage_leads_to_a_wrong_answer_a_crash_or_an_untyped_error(kind):
    seed, n = random.randrange(10**9), N_MUTATIONS
    wrong = apart("test_torture_damage", "campaign", kind, n, seed, timeout=60 + n / 5)
    assert wrong == {}, f"seed {seed}"


def test_without_damage_everything_is_found(tmp_path):
    make_whole(tmp_path)
    with make_cache(tmp_path / "c.db", threshold=THRESHOLD) as cache:
        for prompt, near in zip(PROMPTS, NEAR, strict=True):
            assert cache.lookup(prompt, scope="right").response == answer(prompt, "right")
            assert cache.lookup(near, scope="right").response == answer(prompt, "right")
    assert wrong_answers(tmp_path / "c.db") == 0
    db = sqlite3.connect(tmp_path / "c.db")
    assert db.execute("PRAGMA page_size").fetchone() == (PAGE,)
    db.close()


CHANGED = {
    "entry": {
        "key": b"k" * 16,
        "scope": b"s" * 16,
        "owner": b"x" * 16,
        "code": b"c" * 32,
        "created_at": 1.0,
        "expires_at": None,
        "ttl_seconds": 9.0,
        "checksum": b"c" * 8,
    },
    "body": {
        "vector": b"\x01",
        "prompt": "another",
        "kind": "bytes",
        "payload": "a text",
        "tags": b"\x90",
        "saving": b"\x94\x01\x02\x03\x04",
    },
}


@pytest.mark.parametrize(("table", "column"), [(table, name) for table in CHANGED for name in CHANGED[table]])
def test_an_entry_of_which_anything_was_changed_is_not_there(tmp_path, table, column, caplog):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    put = raw_entry("w", 1, 1, expires=True)
    (entry_id,) = store.put_many([put])
    store.prolong(entry_id, 60.0)
    assert store.find(put.key, LIVE).entry == replace(put, expires_at=60.0)
    db = sqlite3.connect(tmp_path / "c.db")
    db.execute(f"UPDATE {table} SET {column} = ?", (CHANGED[table][column],))
    db.commit()
    now = {name: db.execute(f"SELECT {name} FROM entry").fetchone()[0] for name in ("key", "scope", "code")}
    db.close()
    assert store.find(now["key"], LIVE) is None
    assert store.get(entry_id, now["scope"], now["code"], LIVE) is None
    assert caplog.messages == ["an entry is damaged and is not served"] * 2
    # Neither a moved expiry nor another embedder makes it look sound again.
    store.prolong(entry_id, 70.0)
    assert store.find(now["key"], LIVE) is None
    store.reembed("another", [[(entry_id, b"n" * 32, b"\x01")]])
    assert store.find(now["key"], LIVE) is None
    store.close()


def test_an_entry_stays_sound_when_its_code_and_expiry_change(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    put = raw_entry("w", 1, 1, expires=True)
    (entry_id,) = store.put_many([put])
    store.reembed("another", [[(entry_id, b"n" * 32, b"\x01v")]])
    store.prolong(entry_id, 70.0)
    assert store.find(put.key, LIVE).entry == replace(put, code=b"n" * 32, vector=b"\x01v", expires_at=70.0)
    store.reembed("a third", [])
    assert store.find(put.key, LIVE).entry == replace(put, code=b"", vector=b"", expires_at=70.0)
    store.close()


def leaves_of(data: bytes, root: int) -> list[int]:
    """The numbers of the leaf pages below an interior page of a table.

    Source: sqlite.org/fileformat2.html, section 1.6.
    """
    page = data[(root - 1) * PAGE : root * PAGE]
    assert page[0] == 5
    cells = [int.from_bytes(page[12 + 2 * i : 14 + 2 * i]) for i in range(int.from_bytes(page[3:5]))]
    return [int.from_bytes(page[at : at + 4]) for at in cells] + [int.from_bytes(page[8:12])]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("places", [(0, -1), (0, 1), (1, -1)])
def test_pages_in_the_wrong_order_do_not_make_a_fold_run_for_ever(tmp_path, places, monkeypatch):
    monkeypatch.setattr(sqlite, "ROWS_AT_ONCE", 16)
    monkeypatch.setattr(sqlite_packing, "ROWS_AT_ONCE", 16)
    path = tmp_path / "c.db"
    store = SQLiteStore(path)
    store.open(FINGERPRINT)
    store.put_many([raw_entry("w", number, 1) for number in range(200)])
    store.close()
    db = sqlite3.connect(path)
    (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entry'").fetchone()
    db.close()
    data = bytearray(path.read_bytes())
    leaves = leaves_of(data, root)
    assert len(leaves) > 3
    one, other = ((leaves[place] - 1) * PAGE for place in places)
    data[one : one + PAGE], data[other : other + PAGE] = data[other : other + PAGE], data[one : one + PAGE]
    path.write_bytes(data)
    for read in (lambda store: list(store.snapshot()[1]), lambda store: list(store.prompts())):
        store = SQLiteStore(path)
        # Where a search by id leads past the wrong page, its entries are missed and nothing is noticed.
        with suppress(CorruptFileError):
            read(store)
        store.close()


@pytest.mark.parametrize(("column", "value"), [("scope", b"nine bytes"), ("scope", b""), ("code", b"c" * 31)])
def test_a_scope_or_code_of_another_length_is_an_error_of_the_tree(tmp_path, column, value):
    with make_cache(tmp_path / "c.db") as cache:
        for number in range(3):
            cache.put(PROMPTS[number], "answer")
    db = sqlite3.connect(tmp_path / "c.db")
    db.execute(f"UPDATE entry SET {column} = ? WHERE id = 2", (value,))
    db.commit()
    db.close()
    with pytest.raises(CorruptFileError, match="16 bytes and codes of one length"):
        make_cache(tmp_path / "c.db")
    store = SQLiteStore(tmp_path / "c.db")
    with pytest.raises(CorruptFileError, match="16 bytes and codes of one length"):
        store.compact()
    store.close()
