"""The promises of `Store`, asked of every store."""

import threading

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.stores import Change, ChangeKind, Saving, StoreStats
from binary_semantic_cache.stores.memory import MemoryStore
from binary_semantic_cache.stores.sqlite import SQLiteStore
from stored_entries import FINGERPRINT, NOW, entry, packed_state, state


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "c.db")
    made.open(FINGERPRINT)
    yield made
    made.close()


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


def test_columns_and_lines_tell_the_same(store):
    assert packed_state(store) == {}
    ids = store.put_many(
        [entry(number, code=b"" if number % 3 == 0 else entry(number).code) for number in range(50)]
    )
    store.delete(ids[10:20])
    assert packed_state(store) == state(store)
    assert len(packed_state(store)) == 40
