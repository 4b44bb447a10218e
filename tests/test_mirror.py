"""The index of a store: a fold over its log, which lags at worst and never mixes entries up."""

import random
from dataclasses import replace

import numpy as np
import pytest

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity
from binary_semantic_cache.errors import StoreError
from binary_semantic_cache.stores import Entry
from binary_semantic_cache.stores.memory import MemoryStore
from binary_semantic_cache.text import mirror as module
from binary_semantic_cache.text.mirror import Mirror

A, B = b"a" * 16, b"b" * 16


def code_of(number: int) -> bytes:
    return np.random.default_rng(number).integers(0, 2**64, 4, dtype=np.uint64).astype("<u8").tobytes()


def entry(number: int, scope: bytes = A, **changes) -> Entry:
    made = Entry(
        number.to_bytes(16), scope, b"o" * 16, code_of(number), b"", f"q{number}", "str", b"a", 0.0, None
    )
    return replace(made, **changes)


def make(store, max_entries=100) -> Mirror:
    return Mirror(store, HammingSimilarity(256), max_entries)


def ids_near(mirror: Mirror, number: int, scope: bytes = A) -> list[int]:
    return mirror.within(scope, code_of(number), 0, 10).ids


@pytest.fixture
def store():
    made = MemoryStore()
    made.open("model")
    return made


def test_it_finds_what_was_put_before_and_after_it_was_made(store):
    (first,) = store.put_many([entry(1)])
    mirror = make(store)
    mirror.sync()
    (second,) = store.put_many([entry(2)])
    assert ids_near(mirror, 2) == []
    mirror.sync()
    assert (ids_near(mirror, 1), ids_near(mirror, 2)) == ([first], [second])
    assert mirror.within(A, code_of(1), 0, 10).code(0) == code_of(1)


def test_it_finds_nothing_of_another_scope(store):
    store.put_many([entry(1, A)])
    mirror = make(store)
    mirror.sync()
    assert ids_near(mirror, 1, B) == []


def test_an_entry_without_a_code_is_never_found_but_counts(store):
    store.put_many([entry(1, code=b"")])
    mirror = make(store)
    mirror.sync()
    assert mirror.within(A, bytes(32), 256, 10).ids == []
    assert len(mirror) == 1


def test_deletes_and_clears_are_followed(store):
    first, second, third = store.put_many([entry(1), entry(2), entry(3)])
    mirror = make(store)
    mirror.sync()
    store.delete([second])
    mirror.sync()
    assert (ids_near(mirror, 1), ids_near(mirror, 2), ids_near(mirror, 3)) == ([first], [], [third])
    store.clear(None)
    (fourth,) = store.put_many([entry(4)])
    mirror.sync()
    assert len(mirror) == 1
    assert ids_near(mirror, 4) == [fourth]


def test_a_scope_number_is_used_again_only_for_one_scope_at_a_time(store):
    mirror = make(store)
    for number in range(20):
        scope = bytes([number]) * 16
        (entry_id,) = store.put_many([entry(number, scope)])
        mirror.sync()
        assert ids_near(mirror, number, scope) == [entry_id]
        store.delete([entry_id])
        mirror.sync()
        assert ids_near(mirror, number, scope) == []
    assert len(mirror._scopes) == len(mirror._digests) == 0


def test_beyond_its_size_the_least_recently_used_leaves_and_is_named(store):
    mirror = make(store, max_entries=3)
    ids = store.put_many([entry(number) for number in range(3)])
    mirror.sync()
    mirror.touch(ids[0], 1.0)
    store.put_many([entry(3)])
    mirror.sync()
    assert mirror.take_evicted() == [ids[1]]
    assert mirror.take_evicted() == []
    assert mirror.oldest(2) == [(ids[2], 0), (ids[0], 1)]


def test_a_lost_cursor_leads_to_a_new_beginning(store, monkeypatch):
    from collections import deque

    mirror = make(store)
    store.put_many([entry(number) for number in range(5)])
    mirror.sync()
    store._log = deque(store._log, maxlen=3)
    ids = store.put_many([entry(number) for number in range(10, 20)])
    mirror.sync()
    assert len(mirror) == 15
    assert ids_near(mirror, 15) == [ids[5]]


def test_an_exception_in_the_middle_of_a_fold_leads_to_a_new_beginning(store, monkeypatch):
    mirror = make(store)
    store.put_many([entry(1), entry(2)])
    mirror.sync()
    (third, fourth) = store.put_many([entry(3), entry(4)])
    real, calls = Mirror._add, []

    def failing(self, change):
        calls.append(change)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(self, change)

    monkeypatch.setattr(Mirror, "_add", failing)
    with pytest.raises(KeyboardInterrupt):
        mirror.sync()
    assert mirror.within(A, code_of(1), 256, 10).ids == []
    monkeypatch.setattr(Mirror, "_add", real)
    mirror.sync()
    assert len(mirror) == 4
    assert (ids_near(mirror, 3), ids_near(mirror, 4)) == ([third], [fourth])


def test_pairs_that_must_not_match_are_known(store):
    store.forbid(b"1" * 16)
    mirror = make(store)
    mirror.sync()
    store.forbid(b"2" * 16)
    mirror.sync()
    assert [mirror.is_forbidden(bytes([c]) * 16) for c in b"123"] == [True, True, False]


def test_pairs_are_known_all_through_a_new_beginning(store, monkeypatch):
    """One thread may be past its candidates, and ask about a pair, while another begins anew."""
    store.forbid(b"1" * 16)
    mirror = make(store)
    mirror.sync()
    mirror._broken, known = True, []
    whole = Mirror._forget

    def forget(self):
        whole(self)
        known.append(self.is_forbidden(b"1" * 16))

    monkeypatch.setattr(Mirror, "_forget", forget)
    mirror.sync()
    assert known == [True]


def test_more_candidates_than_asked_for_are_said_to_be_there(store):
    store.put_many([entry(number, code=code_of(1)) for number in range(5)])
    mirror = make(store)
    mirror.sync()
    found = mirror.within(A, code_of(1), 0, 3)
    assert (len(found.ids), found.more) == (3, True)
    assert mirror.within(A, code_of(1), 0, 5).more is False


@pytest.mark.parametrize("seed", range(5))
def test_after_any_changes_it_equals_a_plain_dictionary(seed, monkeypatch):
    monkeypatch.setattr(module, "_LINES", 7)
    rng, store = random.Random(seed), MemoryStore()
    store.open("model")
    mirror = make(store, max_entries=1000)
    held: dict[int, tuple[int, bytes]] = {}
    for _ in range(800):
        chance, number, scope = rng.random(), rng.randrange(60), rng.choice([A, B])
        if chance < 0.6:
            whole = replace(entry(number, scope), key=number.to_bytes(15) + scope[:1])
            (entry_id,) = store.put_many([whole])
            held = {i: row for i, row in held.items() if row != (number, scope)} | {entry_id: (number, scope)}
        elif chance < 0.9 and held:
            gone = rng.choice(list(held))
            store.delete([gone])
            del held[gone]
        elif chance < 0.91:
            store.clear(None)
            held = {}
        else:
            mirror.sync()
            assert len(mirror) == len(held)
    mirror.sync()
    for number in range(60):
        for scope in (A, B):
            assert ids_near(mirror, number, scope) == [i for i, row in held.items() if row == (number, scope)]


@pytest.mark.parametrize("seed", range(4))
def test_candidates_are_those_of_a_plain_scan_whatever_share_a_scope_has(seed):
    rng, store = np.random.default_rng(seed), MemoryStore()
    store.open("model")
    mirror = make(store, max_entries=10_000)
    held: dict[int, tuple[bytes, bytes]] = {}
    scopes = [bytes([65 + i]) * 16 for i in range(12)]
    number = 0
    # One scope alone, one that has most, many of a size, one that has a few of many; each in turn empties.
    for chosen in (scopes[:1], [*scopes[:1] * 9, scopes[1]], scopes, scopes[3:4], scopes[2:3]):
        for _ in range(120):
            number += 1
            scope = chosen[rng.integers(len(chosen))]
            without_code = rng.random() < 0.1
            code = b"" if without_code else np.packbits(rng.random(256) < 0.03).tobytes()
            (entry_id,) = store.put_many([entry(number, scope, code=code)])
            held[entry_id] = scope, code
        emptied = chosen[0] if rng.random() < 0.5 else b""
        gone = [i for i, (scope, _) in held.items() if scope == emptied or rng.random() < 0.3]
        store.delete(gone)
        held = {i: row for i, row in held.items() if i not in gone}
        mirror.sync()
        assert len(mirror) == len(held)
        for scope in scopes:
            query, radius = np.packbits(rng.random(256) < 0.03), int(rng.integers(5, 30))
            near = mirror.within(scope, query.tobytes(), radius, 20)
            distances = {
                i: int(np.bitwise_count(query ^ np.frombuffer(code, np.uint8)).sum())
                for i, (of, code) in held.items()
                if of == scope and code
            }
            inside = sorted(distance for distance in distances.values() if distance <= radius)
            assert near.distances == inside[:20]
            assert near.distances == [distances[i] for i in near.ids]
            assert near.more == (len(inside) > 20)
            assert [near.code(at) for at in range(len(near.ids))] == [held[i][1] for i in near.ids]


class Counting(MemoryStore):
    """Notes which vectors it was asked for."""

    def __init__(self):
        super().__init__()
        self.asked: list[list[int]] = []

    def vectors(self, ids):
        self.asked.append(list(ids))
        return super().vectors(ids)


@pytest.fixture
def counting():
    made = Counting()
    made.open("model")
    return made


def with_memory(store, n_bytes: int = 10_000) -> Mirror:
    mirror = Mirror(store, HammingSimilarity(256), 100, vector_memory_bytes=n_bytes)
    mirror.sync()
    return mirror


def test_a_vector_is_fetched_from_the_store_once(counting):
    ids = counting.put_many([entry(n, vector=b"v%d" % n) for n in range(4)])
    mirror = with_memory(counting)
    assert mirror.vectors(ids[:2]) == [b"v0", b"v1"]
    assert mirror.vectors(ids) == [b"v0", b"v1", b"v2", b"v3"]
    assert mirror.vectors(ids[::-1]) == [b"v3", b"v2", b"v1", b"v0"]
    assert counting.asked == [ids[:2], ids[2:]]


def test_without_memory_vectors_are_fetched_each_time(counting):
    ids = counting.put_many([entry(1, vector=b"v")])
    mirror = with_memory(counting, 0)
    assert [mirror.vectors(ids), mirror.vectors(ids)] == [[b"v"], [b"v"]]
    assert counting.asked == [ids, ids]


def test_the_vector_of_a_removed_entry_does_not_stay_in_memory(counting):
    one, other = counting.put_many([entry(1, vector=b"v"), entry(2, vector=b"w")])
    mirror = with_memory(counting)
    mirror.vectors([one, other])
    full = mirror.vector_bytes
    counting.delete([one])
    mirror.sync()
    assert mirror.vectors([one, other]) == [b"", b"w"]
    assert 0 < mirror.vector_bytes < full
    counting.clear(None)
    mirror.sync()
    assert mirror.vectors([other]) == [b""]
    assert mirror.vector_bytes == 0


def test_the_vector_of_an_entry_removed_during_the_fetch_is_not_kept(counting, monkeypatch):
    (one,) = counting.put_many([entry(1, vector=b"v")])
    mirror = with_memory(counting)

    def late(ids):
        found = MemoryStore.vectors(counting, ids)
        counting.delete(ids)
        mirror.sync()
        return found

    monkeypatch.setattr(counting, "vectors", late)
    assert mirror.vectors([one]) == [b"v"]
    monkeypatch.undo()
    assert mirror.vector_bytes == 0
    assert mirror.vectors([one]) == [b""]


def test_a_store_that_gives_another_number_of_vectors_is_refused(counting, monkeypatch):
    ids = counting.put_many([entry(1, vector=b"v")])
    mirror = with_memory(counting)
    for wrong in ([], [b"v", b"w"], None, "v"):
        monkeypatch.setattr(counting, "vectors", lambda _, wrong=wrong: wrong)
        with pytest.raises(StoreError, match="another number of vectors"):
            mirror.vectors(ids)


@pytest.mark.parametrize("change", [{"scopes": b"s" * 17}, {"ids": b"i" * 9}, {"scopes": b""}])
def test_columns_that_do_not_fit_together_are_refused(store, monkeypatch, change):
    store.put_many([entry(1)])
    cursor, pairs, chunks = store.packed()
    wrong = [chunk._replace(**change) for chunk in chunks]
    monkeypatch.setattr(store, "packed", lambda: (cursor, pairs, iter(wrong)))
    with pytest.raises(StoreError, match="8 bytes of id and 16 of scope"):
        make(store).sync()
