"""`bsc verify`: damage of every kind is found, and a repair keeps all that is sound."""

import json
import os
import random
import sqlite3
from dataclasses import replace

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.cli.main import main
from binary_semantic_cache.stores.reading import entries, meta_of, reading
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.stores.sqlite_rows import checksum_of
from binary_semantic_cache.stores.verify import repair, verify
from binary_semantic_cache.text.soundness import entry_checks
from binary_semantic_cache.text.vectors import unpack
from filled_caches import NEAR, QUESTION, content, make
from words import WordEmbedder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def change(path, *statements):
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(*(statement if isinstance(statement, tuple) else (statement,)))
    db.commit()
    db.close()


def findings(path, **options):
    return [
        f"{found.place}: {found.what}"
        for found in verify(path, lambda line: entry_checks(line, **options)).findings
    ]


def test_a_sound_file_has_no_findings_and_stays_untouched(filled, tmp_path):
    before = filled.read_bytes(), names(tmp_path)
    found = verify(filled, entry_checks)
    assert (found.entries, found.findings) == (6, ())
    assert (filled.read_bytes(), names(tmp_path)) == before


def test_a_file_in_use_is_verified_with_what_its_log_holds(tmp_path):
    with make(tmp_path / "c.db") as cache:
        for number in range(700):
            cache.put(f"{QUESTION} {number}", str(number))
        found = verify(tmp_path / "c.db", entry_checks)
    assert (found.entries, found.findings) == (700, ())


def test_a_file_that_was_evicted_from_cleared_and_moved_is_sound(tmp_path):
    path = tmp_path / "c.db"
    with make(path, max_entries=20) as cache:
        for number in range(60):
            cache.put(f"{QUESTION} {number}", str(number), tags=["t"])
        cache.put(f"{QUESTION} 59", "again")
        cache.invalidate(tag="t")
        cache.put("one", "more")
    assert findings(path) == []
    assert main(["verify", str(path)]) == 0
    SQLiteStore(tmp_path / "unopened.db").stats()
    assert findings(tmp_path / "unopened.db") == []


def of_entry(change):
    return f"UPDATE entry SET {change} WHERE id = 2"


def of_body(change):
    return f"UPDATE body SET {change} WHERE id = 2"


DAMAGE = {
    "a missing answer": ("DELETE FROM body WHERE id = 2", "entry 2: its answer is missing"),
    "an answer of no entry": (
        "INSERT INTO body SELECT 99, vector, prompt, kind, payload, tags, saving FROM body WHERE id = 2",
        "answers: 1 of no entry",
    ),
    "a short key": (of_entry("key = x'00'"), "entry 2: key: expected 16 bytes, got 1"),
    "a short scope": (of_entry("scope = x'00'"), "entry 2: scope: expected 16 bytes, got 1"),
    "a short owner": (of_entry("owner = x'00'"), "entry 2: owner: expected 16 bytes, got 1"),
    "a short code": (of_entry("code = x'00'"), "entry 2: code: expected 32 bytes, got 1"),
    "a code of text": (of_entry("code = 7"), "entry 2: code: expected bytes or text, got int"),
    "a short vector": (
        of_body("vector = x'0100'"),
        "entry 2: vector: expected a vector of 64 numbers, got 2 bytes",
    ),
    "an unknown kind": (
        of_body("kind = 'pickle'"),
        "entry 2: payload: a stored response is damaged (unknown kind)",
    ),
    "a payload that does not decode": (
        "UPDATE body SET payload = x'c1' WHERE kind = 'data'",
        "entry 4: payload: a stored response is damaged (FormatError)",
    ),
    "an answer that was changed": (
        of_body("payload = CAST('Lyon' AS BLOB)"),
        "entry 2: its checksum differs from what was written",
    ),
    "a prompt that is not UTF-8": (
        of_body("prompt = CAST(x'ff' AS TEXT)"),
        "entry 2: prompt or kind: not UTF-8",
    ),
    "no time": (of_entry("created_at = 'now'"), "entry 2: created_at: expected a number, got bytes"),
    "tags that cannot be decoded": (of_body("tags = x'c1'"), "entry 2: tags: cannot be decoded"),
    "a saving of something else": (of_body("saving = x'01'"), "entry 2: saving: expected four numbers"),
    "a size that is wrong": (of_entry("n_bytes = 1"), "entry 2: n_bytes: expected 188, got 1"),
    "totals": ("UPDATE total SET entries = 99", "totals: they do not count what is there"),
    "no totals": ("DELETE FROM total", "totals: they do not count what is there"),
    "a line of no entry": (
        "INSERT INTO log (kind, id) VALUES (0, 999)",
        "log: 1 lines of entries that never were",
    ),
    "a line of no kind": ("INSERT INTO log (kind, id) VALUES (9, 0)", "log: 1 lines of an unknown kind"),
    "a removal that was none": (
        "INSERT INTO log (kind, id) VALUES (1, 2)",
        "log: 1 entries are there that it says were removed",
    ),
    "a line left out": ("DELETE FROM log WHERE seq = 4", "log: 1 lines are missing from its middle"),
    "a pair that is not kept": ("DELETE FROM pair", "log: 1 reported pairs that are not kept"),
    "a short pair": ("INSERT INTO pair VALUES (x'00')", "pairs: 1 that are not 16 bytes long"),
    "tags of no entry": ("INSERT INTO tag VALUES ('x', 99)", "tags: 1 of no entry"),
    "a tag left out": ("DELETE FROM tag WHERE tag = 'geography'", "entry 2: a tag of it does not lead to it"),
    "a short epoch": (
        "UPDATE meta SET value = x'00' WHERE name = 'epoch'",
        "meta: epoch: expected 8 bytes, got 1",
    ),
    "a fingerprint of something else": (
        "UPDATE meta SET value = CAST('words' AS BLOB) WHERE name = 'fingerprint'",
        "meta: fingerprint: expected a JSON object that names the embedder",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_named(filled, what):
    statement, message = DAMAGE[what]
    change(filled, statement)
    assert message in findings(filled)


@pytest.mark.parametrize("what", [name for name in DAMAGE if "finger" not in name])
def test_after_a_repair_the_file_is_sound(filled, what):
    before = {stored.id: stored for stored in content(filled)[0]}
    secret = content(filled)[3]
    change(filled, DAMAGE[what][0])
    done = repair(filled, entry_checks)
    assert findings(filled) == []
    after = content(filled)
    assert after[3] == secret
    assert len(after[1]) == 1
    lost = {int(found.place.split()[1]) for found in done.findings if found.loses}
    assert len(lost) <= 1
    assert {stored.id: stored for stored in after[0]} == {
        entry_id: stored for entry_id, stored in before.items() if entry_id not in lost
    }
    with make(filled) as cache:
        assert cache.lookup("bytes please", scope={"tenant": "a"}).response == b"\x00\xff"
        assert bool(cache.lookup(NEAR)) == (2 not in lost)
        assert cache.lookup("who really wrote this").reason == "reported"
        assert cache.put("another", "answer") > max(before)


def test_a_repair_changes_the_epoch_and_keeps_the_old_file(filled, tmp_path):
    change(filled, "UPDATE total SET entries = 99")
    old = filled.read_bytes()
    with reading(filled) as db:
        epoch = meta_of(db)["epoch"]
    assert repair(filled, entry_checks).backup == tmp_path / "c.db.damaged"
    assert (tmp_path / "c.db.damaged").read_bytes() == old
    with reading(filled) as db:
        assert meta_of(db)["epoch"] != epoch
    change(filled, "UPDATE total SET entries = 99")
    assert repair(filled, entry_checks).backup == tmp_path / "c.db.damaged-2"
    change(filled, "UPDATE total SET entries = 99")
    assert repair(filled, entry_checks, keep_backup=False).backup is None
    assert names(tmp_path) == ["c.db", "c.db.damaged", "c.db.damaged-2"]
    assert filled.stat().st_mode & 0o777 == 0o600


def test_what_a_crash_left_in_the_log_is_read_and_kept(tmp_path):
    with make(tmp_path / "c.db") as cache:
        cache.put(QUESTION, "Paris")
        (tmp_path / "crashed").mkdir()
        for name in ("c.db", "c.db-wal"):
            (tmp_path / "crashed" / name).write_bytes((tmp_path / name).read_bytes())
    crashed = tmp_path / "crashed" / "c.db"
    assert verify(crashed, entry_checks).entries == 1
    assert findings(crashed) == []
    change(crashed, "UPDATE total SET entries = 99")
    assert repair(crashed, entry_checks).entries == 1
    assert names(tmp_path / "crashed") == ["c.db", "c.db.damaged"]
    with make(crashed) as cache:
        assert cache.lookup(NEAR).response == "Paris"


def test_an_interrupted_repair_leaves_the_file_and_nothing_beside_it(filled, tmp_path):
    change(filled, "UPDATE total SET entries = 99")
    old = filled.read_bytes()

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(filled, entry_checks, progress=interrupt)
    assert filled.read_bytes() == old
    assert names(tmp_path) == ["c.db"]


def test_a_file_that_a_program_has_open_is_not_repaired(filled, tmp_path):
    change(filled, "UPDATE total SET entries = 99")
    with make(filled) as cache:
        assert cache.lookup(QUESTION)
        with pytest.raises(errors.StoreError, match="open in another program"):
            repair(filled, entry_checks)
        assert cache.lookup(QUESTION)
    assert repair(filled, entry_checks).entries == 6
    assert names(tmp_path) == ["c.db", "c.db.damaged"]


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.db"
    with make(path) as cache:
        for number in range(400):
            cache.put(f"{QUESTION} {number}", f"answer {number} " + "x" * 300, tags=[f"t{number % 7}"])
    return path.read_bytes()


@pytest.fixture
def large(large_file, tmp_path):
    path = tmp_path / "large.db"
    path.write_bytes(large_file)
    return path


def overwrite(path, pages, seed=b"\xa5"):
    """Fills whole pages with rubbish, as a disk that failed would."""
    (size,) = sqlite3.connect(path).execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(seed * size)


def leaves(path, table):
    return pages_of(path, table, "leaf")


def pages_of(path, table, kind):
    db = sqlite3.connect(path)
    try:
        query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY pageno"
        return [page for (page,) in db.execute(query, (table, kind))]
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no dbstat")
    finally:
        db.close()


@pytest.mark.parametrize("table", ["entry", "body", "tag", "log", "entry_owner", "sqlite_autoindex_entry_1"])
def test_a_page_that_cannot_be_read_costs_what_stood_on_it(large, table):
    before = {stored.id: stored for stored in content(large)[0]}
    pages = leaves(large, table)
    overwrite(large, [pages[len(pages) // 2]])
    assert findings(large)
    done = repair(large, entry_checks)
    assert findings(large) == []
    after = {stored.id: stored for stored in content(large)[0]}
    assert all(before[entry_id] == stored for entry_id, stored in after.items())
    if table in ("entry", "body"):
        assert 300 < len(after) < 400
        assert any(found.loses for found in done.findings)
    else:
        assert len(after) == 400
    with make(large) as cache:
        last = max(after)
        assert cache.lookup(f"{QUESTION} {last - 1}").response.startswith(f"answer {last - 1}")


def test_pages_damaged_here_and_there_cost_no_others(large):
    pages = leaves(large, "body")
    overwrite(large, pages[1::5])
    overwrite(large, leaves(large, "entry")[1::2])
    repair(large, entry_checks)
    assert findings(large) == []
    assert 100 < len(content(large)[0]) < 400


def test_a_truncated_file_keeps_what_is_left(large):
    size = large.stat().st_size
    os.truncate(large, size * 3 // 4)
    assert findings(large)
    done = repair(large, entry_checks)
    assert findings(large) == []
    assert 0 < done.entries < 400


def test_a_file_without_its_secret_is_not_replaced(filled, tmp_path):
    change(filled, "DELETE FROM meta WHERE name = 'secret'")
    old = filled.read_bytes()
    with pytest.raises(errors.CorruptFileError, match="secret"):
        repair(filled, entry_checks)
    assert filled.read_bytes() == old
    assert names(tmp_path) == ["c.db"]


def test_codes_are_compared_with_exact_embeddings(tmp_path):
    path = tmp_path / "c.db"
    with make(path, vectors="float32") as cache:
        for number in range(3):
            cache.put(f"{QUESTION} {number}", "Paris")
    assert findings(path, codes=True) == []
    with reading(path) as db:
        (first, *_) = entries(db, path)
    assert unpack(first.entry.vector, 64).shape == (64,)
    # As another program might write it, checksum and all: only the embedding tells.
    other = replace(first.entry, code=bytes(32))
    changed = (bytes(32), checksum_of(other))
    change(path, ("UPDATE entry SET code = ?, checksum = ? WHERE id = 1", changed))
    assert findings(path) == []
    assert findings(path, codes=True) == ["entry 1: code: not the one of its embedding"]


def test_rubbish_is_refused_with_one_line(tmp_path, capsys):
    path = tmp_path / "x.db"
    for raw in (b"", b"SQLite format 3\0", os.urandom(5000), b"SQLite format 3\0" + os.urandom(5000)):
        path.write_bytes(raw)
        for arguments in (["verify", str(path)], ["verify", str(path), "--repair"], ["inspect", str(path)]):
            assert main(arguments) == 1
            assert capsys.readouterr().err.count("\n") == 1
        assert names(tmp_path) == ["x.db"]
        assert path.read_bytes() == raw
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE entry (id)")
    other.close()
    assert main(["verify", str(tmp_path / "other.db"), "--repair"]) == 1
    assert "not the file of a cache" in capsys.readouterr().err


def test_the_command_reports_and_repairs(filled, capsys):
    assert main(["verify", str(filled)]) == 0
    assert capsys.readouterr().out == "sound: 6 entries\n"
    assert main(["verify", str(filled), "--repair"]) == 0
    assert not filled.with_name("c.db.damaged").exists()
    change(filled, DAMAGE["a short key"][0])
    assert main(["verify", str(filled)]) == 1
    out = capsys.readouterr().out
    assert "entry 2: key: expected 16 bytes, got 1 (lost)" in out
    assert main(["verify", str(filled), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["sound"], report["entries"]) == (False, 5)
    assert report["findings"][0]["loses"] is True
    assert main(["verify", str(filled), "--repair", "--no-backup"]) == 0
    assert "kept 5 entries and 1 reported pairs" in capsys.readouterr().out
    assert main(["verify", str(filled)]) == 0


def test_another_embedder_changes_nothing_of_what_is_sound(tmp_path):
    make(tmp_path / "c.db", WordEmbedder(7, "seven"), code_bits=100).close()
    with make(tmp_path / "c.db", WordEmbedder(7, "seven"), code_bits=100, vectors="float16") as cache:
        cache.put(QUESTION, "Paris")
    assert findings(tmp_path / "c.db", codes=True) == []
    change(tmp_path / "c.db", ("UPDATE entry SET code = ?", (b"\xff" * 16,)))
    assert findings(tmp_path / "c.db") == ["entry 1: code: bits beyond its 100 are set"]


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_ends_in_a_sound_file_or_a_typed_error(large, seed):
    chance, raw = random.Random(seed), bytearray(large.read_bytes())
    for _ in range(chance.choice([1, 3, 20])):
        at = chance.randrange(len(raw))
        raw[at : at + 64] = chance.randbytes(len(raw[at : at + 64]))
    large.write_bytes(raw)
    try:
        found = verify(large, entry_checks)
        done = repair(large, entry_checks)
    except errors.CorruptFileError:
        assert large.read_bytes() == raw
    else:
        assert found.findings or done.entries == 400
        assert findings(large) == []
        assert len(content(large)[0]) == done.entries
