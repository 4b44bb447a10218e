"""How a SQLite store packs its codes into columns and trims its log."""

import random
import sqlite3

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.stores import sqlite, sqlite_packing
from binary_semantic_cache.stores.sqlite import SQLiteStore
from stored_entries import FINGERPRINT, entry, packed_state, state


def test_packed_chunks_follow_any_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_packing, "_PACKED", 16)
    monkeypatch.setattr(sqlite_packing, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(sqlite, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(sqlite_packing, "_LOG_LINES", 40)
    rng, store = random.Random(3), SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    for step in range(400):
        chance, number = rng.random(), rng.randrange(90)
        if chance < 0.6:
            code = b"" if number % 5 == 0 else entry(number).code
            store.put_many([entry(number, code=code, scope=bytes([number % 3]) * 16)])
        elif chance < 0.9:
            store.delete(rng.sample(sorted(state(store)) or [0], k=1))
        elif chance < 0.98:
            store.compact()
        elif step % 7 == 0:
            store.clear(None)
        if step % 10 == 0:
            assert packed_state(store) == state(store)
    store.compact()
    assert packed_state(store) == state(store)
    assert state(store)
    store.close()


@pytest.mark.parametrize("left", [0, 3, 16, 17, 19])
def test_the_newest_entries_are_not_in_any_chunk_after_they_left(tmp_path, monkeypatch, left):
    monkeypatch.setattr(sqlite_packing, "_PACKED", 16)
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    ids = store.put_many([entry(number) for number in range(20)])
    store.compact()
    store.delete(ids[left:])
    store.compact()
    assert packed_state(store) == state(store)
    assert sum(len(chunk.ids) for chunk in store.packed()[2]) == 8 * left
    store.close()


def test_a_store_packs_by_itself_when_the_log_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_LOOK_EVERY", 10)
    monkeypatch.setattr(sqlite_packing, "_SNAP_EVERY", 30)
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    for number in range(100):
        store.put_many([entry(number)])
    with store.lock, store._file.reading() as db:
        assert db.execute("SELECT count(*) FROM packed").fetchone()[0] > 0
    assert packed_state(store) == state(store)
    store.close()


def test_a_file_of_the_first_schema_is_brought_up_to_date(tmp_path):
    path = tmp_path / "c.db"
    store = SQLiteStore(path)
    store.open(FINGERPRINT)
    store.put_many([entry(number) for number in range(20)])
    store.compact()
    before = state(store)
    store.close()
    db = sqlite3.connect(path)
    db.executescript("ALTER TABLE packed DROP COLUMN checksum; PRAGMA user_version = 1")
    db.close()
    store = SQLiteStore(path)
    store.open(FINGERPRINT)
    assert packed_state(store) == state(store) == before
    store.put_many([entry(99)])
    store.compact()
    assert packed_state(store) == state(store)
    with store.lock, store._file.reading() as db:
        assert db.execute("SELECT sum(length(ids)) / 8 FROM packed").fetchone() == (21,)
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    store.close()


def test_a_log_that_was_trimmed_loses_old_cursors(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_packing, "_LOG_LINES", 10)
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    cursor, _ = store.snapshot()
    store.put_many([entry(number) for number in range(40)])
    store.compact()
    with pytest.raises(errors.CursorLostError):
        store.changes(cursor, 10)
    assert len(state(store)) == 40
    store.close()
