"""Packed chunks that are damaged: found by `bsc verify`, noticed by a fold, and never a wrong answer."""

import sqlite3

import pytest

from binary_semantic_cache.stores import sqlite_packing
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.stores.verify import repair
from binary_semantic_cache.text.soundness import entry_checks
from filled_caches import NEAR, QUESTION, content, make
from stored_entries import packed_state, state
from test_verify import change, findings, large, large_file, overwrite, pages_of

__all__ = ["large", "large_file"]  # fixtures


def prompt_of(number: int) -> str:
    """One in four is too long for the embedder, and so has no code."""
    return f"{QUESTION} {number} " + "word " * (100 if number % 4 == 0 else 0)


@pytest.fixture
def packed(tmp_path):
    """Ranges of 16 entries, two of which left since they were packed; the log's first lines are forgotten."""
    path = tmp_path / "c.db"
    with pytest.MonkeyPatch.context() as changed, make(path) as cache:
        changed.setattr(sqlite_packing, "_PACKED", 16)
        changed.setattr(sqlite_packing, "_LOG_LINES", 5)
        for number in range(40):
            cache.put(prompt_of(number), str(number))
        cache.store.compact()
        for number in (3, 25):
            assert cache.invalidate(prompt=prompt_of(number))
        cache.put(NEAR, "Paris")
    assert findings(path) == []
    return path


def with_chunk(path, how) -> None:
    """Changes the first chunk with codes as a faulty program might: its checksum is right."""
    db = sqlite3.connect(path)
    row = list(db.execute("SELECT * FROM packed WHERE searched = 1 ORDER BY first_id").fetchone())
    db.execute("DELETE FROM packed WHERE first_id = ? AND searched = 1", (row[0],))
    how(row)
    row[6] = sqlite_packing._checksum(tuple(row))
    db.execute("INSERT INTO packed VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    db.commit()
    db.close()


def flip(row: list, column: int, at: int) -> None:
    data = row[column]
    row[column] = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def set_last_id(row: list, entry_id: int) -> None:
    row[3] = row[3][:-8] + entry_id.to_bytes(8, "little")


NOT_WHOLE = "they are not as they were written"
OTHER = "packed entries 1 to 16: 1 have another scope or code than the entries"
# What is noticed by the fold, which then reads rows; and what is not.
NOTICED = {
    "a flipped code": (
        "UPDATE packed SET codes = CAST(x'00' || substr(codes, 2) AS BLOB) WHERE first_id = 1 AND searched",
        f"packed entries 1 to 16: {NOT_WHOLE}",
    ),
    "a flipped scope": (
        "UPDATE packed SET scopes = zeroblob(length(scopes)) WHERE first_id = 17 AND NOT searched",
        f"packed entries 17 to 32: {NOT_WHOLE}",
    ),
    "a flipped id": (
        "UPDATE packed SET ids = CAST(x'0200' || substr(ids, 3) AS BLOB) WHERE first_id = 1 AND NOT searched",
        f"packed entries 1 to 16: {NOT_WHOLE}",
    ),
    "a short column": (
        "UPDATE packed SET codes = substr(codes, 2) WHERE first_id = 1 AND searched",
        f"packed entries 1 to 16: {NOT_WHOLE}",
    ),
    "another range": (
        "UPDATE packed SET last_id = 15 WHERE first_id = 1",
        f"packed entries 1 to 15: {NOT_WHOLE}",
    ),
    "a range without end": (
        "UPDATE packed SET last_id = 1 << 40 WHERE first_id = 1",
        f"packed entries 1 to {1 << 40}: {NOT_WHOLE}",
    ),
    "a range of text": (
        "UPDATE packed SET last_id = 'x' WHERE first_id = 1",
        f"packed entries 1 to b'x': {NOT_WHOLE}",
    ),
    "another entry's id": (lambda row: set_last_id(row, 13), f"packed entries 1 to 16: {NOT_WHOLE}"),
    "an id out of its range": (lambda row: set_last_id(row, 17), f"packed entries 1 to 16: {NOT_WHOLE}"),
    "an id that no entry has": (lambda row: set_last_id(row, 2**63), f"packed entries 1 to 16: {NOT_WHOLE}"),
    "ids in the wrong order": (
        lambda row: row.__setitem__(3, row[3][8:16] + row[3][:8] + row[3][16:]),
        f"packed entries 1 to 16: {NOT_WHOLE}",
    ),
    "a lost range": (
        "DELETE FROM packed WHERE first_id = 17",
        "packed: 15 entries are missing from the chunks that should hold them",
    ),
}
UNNOTICED = {
    "half a lost range": (
        "DELETE FROM packed WHERE first_id = 17 AND searched = 0",
        "packed: 4 entries are missing from the chunks that should hold them",
    ),
    "a removal that the log forgot": (
        "UPDATE log SET id = 41 WHERE kind = 1 AND id = 4",
        "packed entries 1 to 16: 1 are gone without a line of the log that says so",
    ),
    "a beginning of the log that is gone": (
        "DELETE FROM log WHERE seq <= (SELECT value + 1 FROM meta WHERE name = 'snapped')",
        "log: lines are missing between the packed entries and its beginning",
    ),
    "an end of the log that is gone": (
        "DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)",
        "log: lines are missing from its end",
    ),
    "a whole log that is gone": (
        "DELETE FROM log",
        "log: lines are missing between the packed entries and its beginning",
    ),
    "a line of the future": (
        "UPDATE meta SET value = 999 WHERE name = 'snapped'",
        "packed: expected a line of the log up to which they tell everything, got 999",
    ),
    "a code of another": (lambda row: flip(row, 5, 40), OTHER),
    "a scope of another": (lambda row: flip(row, 4, 3), OTHER),
}
DAMAGE = NOTICED | UNNOTICED


def harm(path, what: str) -> None:
    how = DAMAGE[what][0]
    if callable(how):
        with_chunk(path, how)
    else:
        change(path, how)


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_of_packed_entries_is_found_and_repaired(packed, what):
    before = content(packed)[0]
    harm(packed, what)
    assert DAMAGE[what][1] in findings(packed)
    done = repair(packed, entry_checks)
    assert not any(found.loses for found in done.findings)
    assert findings(packed) == []
    assert content(packed)[0] == before
    store = SQLiteStore(packed)
    with store.lock, store._file.reading() as db:
        assert db.execute("SELECT sum(length(ids)) / 8 FROM packed").fetchone() == (len(before),)
    assert packed_state(store) == state(store)
    store.close()


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_of_packed_entries_costs_hits_at_most(packed, what):
    entries = {stored.id: stored.entry for stored in content(packed)[0]}
    harm(packed, what)
    hits = 0
    with make(packed) as cache:
        for entry_id, entry in entries.items():
            # The very prompt needs no index.
            assert cache.lookup(entry.prompt).entry_id == entry_id
            hit = cache.lookup(f"{entry.prompt}please")
            if hit:
                hits += 1
                assert (hit.prompt, hit.response) == (
                    entries[hit.entry_id].prompt,
                    entries[hit.entry_id].payload.decode(),
                )
        cache.put("another", "answer")
        assert cache.lookup("another")
    assert hits >= 20


@pytest.mark.parametrize("what", NOTICED)
def test_a_fold_reads_the_rows_where_a_chunk_is_damaged_or_lost(packed, what, caplog):
    harm(packed, what)
    store = SQLiteStore(packed)
    assert packed_state(store) == state(store)
    assert bool(caplog.messages) == ("lost" not in what)
    store.close()


def test_a_fold_reads_the_rows_where_pages_of_a_chunk_are_unreadable(large):
    with make(large) as cache:
        cache.store.compact()
        before = state(cache.store)
    overwrite(large, pages_of(large, "packed", "overflow")[2:])
    store = SQLiteStore(large)
    assert packed_state(store) == before
    store.close()
    assert findings(large)
    assert repair(large, entry_checks).entries == len(before) == 400
    assert findings(large) == []


def test_chunks_that_were_not_packed_to_the_end_are_sound(packed, monkeypatch):
    """Killed at any step, a packing leaves what `verify` finds nothing wrong with."""
    monkeypatch.setattr(sqlite_packing, "_PACKED", 16)
    monkeypatch.setattr(sqlite_packing, "_LOG_LINES", 5)
    whole = sqlite_packing._pack_range
    for number in range(1, 4):
        steps = []

        def stop(*arguments, steps=steps, number=number):
            steps.append(1)
            if len(steps) == number:
                raise KeyboardInterrupt
            whole(*arguments)

        with make(packed) as cache:
            cache.invalidate(prompt=prompt_of(number + 4))
            cache.put(prompt_of(100 + number), "new")
            monkeypatch.setattr(sqlite_packing, "_pack_range", stop)
            with pytest.raises(KeyboardInterrupt):
                cache.store.compact()
            monkeypatch.setattr(sqlite_packing, "_pack_range", whole)
            assert packed_state(cache.store) == state(cache.store)
        assert findings(packed) == []
