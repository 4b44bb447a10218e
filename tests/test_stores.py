"""The promises of `Store`, asked of every store."""

import os
import random
import sqlite3
import stat
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.stores import Change, ChangeKind, Entry, Saving, StoreStats, sqlite, sqlite_packing
from binary_semantic_cache.stores.memory import MemoryStore
from binary_semantic_cache.stores.sqlite import SQLiteStore

NOW = 1_000_000.0
FINGERPRINT = "model A"


def entry(number: int, **changes) -> Entry:
    made = Entry(
        key=number.to_bytes(16),
        scope=b"s" * 16,
        owner=b"o" * 16,
        code=number.to_bytes(8) * 4,
        vector=b"\x01" + bytes([number % 256]) * 8,
        prompt=f"question {number} für 😀",
        kind="str",
        payload=f"answer {number}".encode(),
        created_at=NOW,
        expires_at=None,
    )
    return replace(made, **changes)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "c.db")
    made.open(FINGERPRINT)
    yield made
    made.close()


def state(store) -> dict[int, tuple[bytes, bytes]]:
    """What a fold over a snapshot gives."""
    _, chunks = store.snapshot()
    return {line.id: (line.scope, line.code) for chunk in chunks for line in chunk if not line.pair}


def folded(store, cursor: int) -> dict[int, tuple[bytes, bytes]]:
    """What a fold over the log since `cursor` gives."""
    rows: dict[int, tuple[bytes, bytes]] = {}
    while store.moved_past(cursor):
        changes, cursor = store.changes(cursor, 3)
        for line in changes:
            if line.kind is ChangeKind.PUT:
                rows[line.id] = line.scope, line.code
            elif line.kind is ChangeKind.DELETE:
                rows.pop(line.id, None)
            elif line.kind is ChangeKind.CLEAR:
                rows = {i: row for i, row in rows.items() if i > line.id}
    return rows


def test_an_entry_comes_back_as_it_was_put(store):
    whole = entry(
        1,
        expires_at=NOW + 5,
        ttl_seconds=5.0,
        tags=("a", "ü"),
        saving=Saving(3, 4, 0.25, 1.5),
        payload=bytes(range(256)),
    )
    (entry_id,) = store.put_many([whole])
    assert store.find(whole.key, NOW) == (entry_id, whole)
    assert store.get(entry_id, whole.scope, whole.code, NOW) == (entry_id, whole)


def test_ids_grow_and_are_not_used_again(store):
    first = store.put_many([entry(1), entry(2)])
    store.delete(first)
    store.clear(None)
    (third,) = store.put_many([entry(3)])
    assert first == sorted(first)
    assert third > first[-1]


def test_the_same_key_replaces(store):
    (old,) = store.put_many([entry(1)])
    (new,) = store.put_many([entry(1, payload=b"newer")])
    assert store.find(entry(1).key, NOW).entry.payload == b"newer"
    assert store.get(old, entry(1).scope, entry(1).code, NOW) is None
    assert store.stats().entries == 1
    assert new > old


def test_a_body_is_given_for_its_own_scope_and_code_alone(store):
    (entry_id,) = store.put_many([entry(1)])
    assert store.get(entry_id, b"x" * 16, entry(1).code, NOW) is None
    assert store.get(entry_id, entry(1).scope, entry(2).code, NOW) is None
    assert store.get(entry_id + 1, entry(1).scope, entry(1).code, NOW) is None


@pytest.mark.parametrize("now", [NOW + 5, NOW + 6, NOW - 3600])
def test_nothing_is_served_from_its_expiry_on_or_from_a_future(store, now):
    (entry_id,) = store.put_many([entry(1, expires_at=NOW + 5)])
    assert store.find(entry(1).key, now) is None
    assert store.get(entry_id, entry(1).scope, entry(1).code, now) is None


def test_expiry_can_be_moved(store):
    (entry_id,) = store.put_many([entry(1, expires_at=NOW + 5)])
    store.prolong(entry_id, NOW + 50)
    assert store.find(entry(1).key, NOW + 49).entry.expires_at == NOW + 50
    assert store.sweep(NOW + 49, 10) == 0
    assert store.sweep(NOW + 50, 10) == 1


def test_a_sweep_removes_what_has_expired_and_no_more_than_asked(store):
    store.put_many([entry(number, expires_at=NOW + number) for number in range(1, 6)])
    store.put_many([entry(9)])
    assert store.sweep(NOW + 3, 2) == 2
    assert store.sweep(NOW + 3, 2) == 1
    assert store.stats().entries == 3


def test_vectors_come_in_the_order_asked_and_empty_where_there_is_none(store):
    first, second = store.put_many([entry(1), entry(2)])
    assert store.vectors([second, 999, first]) == [entry(2).vector, b"", entry(1).vector]


def test_weights_tell_what_entries_save_and_take(store):
    saving = Saving(3, 4, 0.25, 1.5)
    first, second = store.put_many([entry(1, saving=saving), entry(2)])
    assert store.weights([second, 999, first]) == [
        (Saving(), entry(2).n_bytes),
        (Saving(), 0),
        (saving, entry(1).n_bytes),
    ]


def test_delete_says_how_many_were_there(store):
    ids = store.put_many([entry(number) for number in range(1_200)])
    assert store.delete([*ids[:1_100], 10**9]) == 1_100
    assert store.find(entry(0).key, NOW) is None
    assert store.find(entry(1_150).key, NOW) is not None


def test_clear_removes_one_owner_or_all(store):
    store.put_many([entry(1), entry(2, owner=b"p" * 16), entry(3)])
    assert store.clear(b"o" * 16) == 2
    assert store.find(entry(2).key, NOW) is not None
    assert store.clear(None) == 1
    assert store.stats() == StoreStats(0, 0)
    assert state(store) == {}


def test_entries_are_selected_by_tag_owner_and_key_together(store):
    ids = store.put_many(
        [entry(1, tags=("a",)), entry(2, tags=("a", "b")), entry(3, tags=("a",), owner=b"p" * 16)]
    )
    assert [i for i, _ in store.select(tag="a")] == ids
    assert store.select(tag="b") == [(ids[1], entry(2).prompt)]
    assert [i for i, _ in store.select(tag="a", owner=b"o" * 16)] == ids[:2]
    assert [i for i, _ in store.select(owner=b"p" * 16)] == ids[2:]
    assert [i for i, _ in store.select(key=entry(2).key)] == ids[1:2]
    assert store.select(key=entry(2).key, tag="c") == []
    store.delete(ids[:1])
    assert [i for i, _ in store.select(tag="a")] == ids[1:]


def test_stats_count_entries_and_their_bytes(store):
    store.put_many([entry(1), entry(2)])
    store.delete([store.find(entry(1).key, NOW).id])
    assert store.stats() == StoreStats(1, entry(2).n_bytes)


def test_the_log_tells_what_a_snapshot_tells(store):
    cursor, chunks = store.snapshot()
    assert list(chunks) == []
    store.put_many([entry(number) for number in range(7)])
    store.delete([store.find(entry(3).key, NOW).id])
    store.put_many([entry(5)])
    store.clear(b"p" * 16)
    assert folded(store, cursor) == state(store)
    assert len(state(store)) == 6
    store.clear(None)
    store.put_many([entry(1)])
    assert folded(store, cursor) == state(store)
    assert len(state(store)) == 1


def test_pairs_that_must_not_match_are_in_the_log_and_in_the_snapshot(store):
    cursor, _ = store.snapshot()
    store.forbid(b"p" * 16)
    store.forbid(b"p" * 16)
    assert Change(ChangeKind.FORBID, pair=b"p" * 16) in store.changes(cursor, 10)[0]
    _, chunks = store.snapshot()
    assert [line.pair for chunk in chunks for line in chunk] == [b"p" * 16]


def test_a_cursor_at_the_end_has_not_been_moved_past(store):
    store.put_many([entry(1)])
    cursor, _ = store.snapshot()
    assert not store.moved_past(cursor)
    assert store.changes(cursor, 10) == ([], cursor)
    store.put_many([entry(2)])
    assert store.moved_past(cursor)


@pytest.mark.parametrize("cursor", [-5, 10**6])
def test_a_cursor_that_the_log_does_not_know_is_lost(store, cursor):
    store.put_many([entry(1)])
    with pytest.raises(errors.CursorLostError):
        store.changes(cursor, 10)


def test_a_store_is_refused_to_another_embedder(store):
    with pytest.raises(errors.FingerprintError, match="model A"):
        store.open("model B")
    assert store.open(FINGERPRINT) == store.open(FINGERPRINT)


def test_puts_and_deletes_of_many_threads_leave_log_and_state_alike(store):
    cursor, _ = store.snapshot()

    def work(worker: int) -> None:
        for number in range(40):
            (entry_id,) = store.put_many([entry(number % 11 + 100 * (worker % 2))])
            if number % 3 == 0:
                store.delete([entry_id])

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert folded(store, cursor) == state(store)
    assert store.stats().entries == len(state(store))


# SQLite alone


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


def packed_state(store) -> dict[int, tuple[bytes, bytes]]:
    """What the columns of `packed` give, and the log after them."""
    cursor, _, chunks = store.packed()
    rows: dict[int, tuple[bytes, bytes]] = {}
    for ids, scopes, codes in chunks:
        numbers = struct.unpack(f"<{len(ids) // 8}q", ids)
        width = len(codes) // len(numbers)
        for i, number in enumerate(numbers):
            rows[number] = scopes[16 * i : 16 * i + 16], codes[width * i : width * i + width]
    assert not store.moved_past(cursor)
    return rows


def test_columns_and_lines_tell_the_same(store):
    assert packed_state(store) == {}
    ids = store.put_many(
        [entry(number, code=b"" if number % 3 == 0 else entry(number).code) for number in range(50)]
    )
    store.delete(ids[10:20])
    assert packed_state(store) == state(store)
    assert len(packed_state(store)) == 40


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
