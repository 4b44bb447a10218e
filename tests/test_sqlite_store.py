"""What a SQLite store promises beyond `Store`: its file, its locks, its commits, its forks."""

import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.stores import StoreStats
from binary_semantic_cache.stores.sqlite import SQLiteStore
from stored_entries import FINGERPRINT, NOW, entry, state


def test_a_file_keeps_entries_pairs_and_its_secret(tmp_path):
    first = SQLiteStore(tmp_path / "new folder" / "c.db")
    opened = first.open(FINGERPRINT)
    first.put_many([entry(1)])
    first.forbid(b"p" * 16)
    first.close()
    second = SQLiteStore(tmp_path / "new folder" / "c.db")
    assert second.open(FINGERPRINT) == opened
    assert second.find(entry(1).key, NOW).entry == entry(1)
    assert len(list(second.snapshot()[1])) == 2
    second.close()


def test_the_file_and_what_lies_beside_it_are_its_owners_alone(tmp_path):
    store = SQLiteStore(tmp_path / "made" / "c.db")
    store.open(FINGERPRINT)
    store.put_many([entry(1)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "made").iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3  # with the write-ahead log and its index
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700
    store.close()


def test_two_stores_of_one_file_see_each_others_changes(tmp_path):
    one, other = SQLiteStore(tmp_path / "c.db"), SQLiteStore(tmp_path / "c.db")
    one.open(FINGERPRINT)
    other.open(FINGERPRINT)
    cursor, _ = other.snapshot()
    one.put_many([entry(1)])
    assert other.moved_past(cursor)
    assert other.find(entry(1).key, NOW).entry == entry(1)
    other.delete([other.find(entry(1).key, NOW).id])
    assert one.find(entry(1).key, NOW) is None
    one.close()
    other.close()


@pytest.mark.parametrize(("durability", "synchronous"), [("os", 1), ("disk", 2)])
def test_durability_is_sqlites_synchronous(tmp_path, durability, synchronous):
    store = SQLiteStore(tmp_path / "c.db", durability=durability)
    store.open(FINGERPRINT)
    with store.lock, store._file.reading() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert db.execute("PRAGMA fullfsync").fetchone() == (synchronous - 1,)
        assert db.execute("PRAGMA checkpoint_fullfsync").fetchone() == (1,)
    store.close()
    with pytest.raises(errors.InvalidValueError, match="durability"):
        SQLiteStore(tmp_path / "c.db", durability="none")


def test_puts_that_wait_for_each_other_are_committed_together(tmp_path, monkeypatch):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    sizes, whole = [], SQLiteStore._insert_all
    monkeypatch.setattr(
        SQLiteStore, "_insert_all", lambda self, batches: (sizes.append(len(batches)), whole(self, batches))
    )
    with store.lock, ThreadPoolExecutor(8) as pool:
        puts = [pool.submit(store.put_many, [entry(number)]) for number in range(8)]
        while len(store._waiting) < 8:
            pass
        store.lock.release()
        ids = [put.result(30) for put in puts]
        store.lock.acquire()
    assert sizes == [8]
    assert len({entry_id for (entry_id,) in ids}) == 8
    for number, (entry_id,) in enumerate(ids):
        assert store.find(entry(number).key, NOW).id == entry_id
    store.close()


def test_an_entry_that_is_refused_does_not_take_others_with_it(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)

    def put(number):
        try:
            return store.put_many([entry(number, owner=None if number == 3 else b"o" * 16)])
        except errors.StoreError:
            return None

    with store.lock, ThreadPoolExecutor(8) as pool:
        puts = [pool.submit(put, number) for number in range(8)]
        while len(store._waiting) < 8:
            pass
        store.lock.release()
        done = [put.result(30) for put in puts]
        store.lock.acquire()
    assert [number for number, ids in enumerate(done) if ids is None] == [3]
    assert store.stats().entries == 7
    store.close()


@pytest.mark.parametrize("content", [b"", b"not a database, but a text long enough to be taken for one" * 20])
def test_a_file_that_is_no_database(tmp_path, content):
    path = tmp_path / "c.db"
    path.write_bytes(content)
    store = SQLiteStore(path)
    if content:
        with pytest.raises(errors.CorruptFileError, match=r"c\.db"):
            store.open(FINGERPRINT)
        assert path.read_bytes() == content
    else:
        store.open(FINGERPRINT)
    store.close()


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "c.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    before = path.read_bytes()
    store = SQLiteStore(path)
    with pytest.raises(errors.CorruptFileError, match="another program"):
        store.open(FINGERPRINT)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    store.close()
    db = sqlite3.connect(tmp_path / "c.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(errors.FormatVersionError, match="99"):
        SQLiteStore(tmp_path / "c.db").open(FINGERPRINT)


def test_a_locked_file_is_an_error_after_the_time_it_may_take(tmp_path):
    store = SQLiteStore(tmp_path / "c.db", busy_timeout_seconds=0.05)
    store.open(FINGERPRINT)
    other = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(errors.StoreError, match="locked"):
        store.put_many([entry(1)])
    other.execute("ROLLBACK")
    other.close()
    assert store.put_many([entry(1)])
    store.close()


def test_a_put_that_fails_leaves_nothing(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    with pytest.raises(errors.StoreError):
        store.put_many([entry(1), entry(2, owner=None)])
    assert state(store) == {}
    assert store.stats() == StoreStats(0, 0)
    store.close()


def test_a_closed_store_says_so(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    store.close()
    with pytest.raises(errors.ClosedError):
        store.find(entry(1).key, NOW)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    store.put_many([entry(1)])
    child = os.fork()
    if child == 0:
        try:
            assert store.find(entry(1).key, NOW) is not None
            store.put_many([entry(2)])
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert store.find(entry(2).key, NOW).entry == entry(2)
    store.close()


def test_deleted_text_is_not_left_in_the_file(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    store.put_many([entry(1, prompt="the secret prompt", payload=b"the secret answer")])
    store.compact()
    assert b"the secret answer" in (tmp_path / "c.db").read_bytes()
    store.clear(None)
    store.compact()
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"the secret" not in left
    store.close()


def test_new_codes_come_all_at_once_and_lose_every_cursor(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    store.open(FINGERPRINT)
    ids = store.put_many([entry(1), entry(2)])
    cursor, _ = store.snapshot()
    assert [row for chunk in store.prompts() for row in chunk] == [
        (ids[0], entry(1).prompt, entry(1).code),
        (ids[1], entry(2).prompt, entry(2).code),
    ]
    assert store.reembed("model B", [[(ids[0], b"c" * 32, b"v")]]) == 1
    assert store.get(ids[0], entry(1).scope, b"c" * 32, NOW).entry.vector == b"v"
    assert store.find(entry(2).key, NOW).entry.code == b""
    sizes = [store.find(entry(number).key, NOW).entry.n_bytes for number in (1, 2)]
    assert [n_bytes for _, n_bytes in store.weights(ids)] == sizes
    assert store.stats() == StoreStats(2, sum(sizes))
    assert store.moved_past(cursor)
    with pytest.raises(errors.CursorLostError):
        store.changes(cursor, 10)
    assert store.fingerprint() == "model B"
    store.close()
