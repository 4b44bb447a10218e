"""`bsc inspect`: figures without a word of anybody's, and entries when asked for."""

import json
import time

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.cli.main import main
from binary_semantic_cache.cli.shown import age, safe, size
from binary_semantic_cache.stores.inspect import figures, listed
from filled_caches import QUESTION, make
from test_verify import names


def test_figures_count_what_is_there(filled):
    found = figures(filled, time.time() + 7200)
    assert (found.entries, found.expiring, found.expired, found.without_code) == (6, 1, 1, 1)
    assert found.kinds == {"text": 4, "bytes": 1, "data": 1}
    assert found.tags == {"geography": 1, "ünï\u2028": 1}
    assert (found.scopes, found.largest_scopes) == (3, (4, 1, 1))
    assert (found.pairs, found.schema_version) == (1, 2)
    assert found.log_lines == 11
    assert found.oldest <= found.newest <= time.time()
    assert found.file_bytes == filled.stat().st_size
    assert found.wal_bytes == 0


def test_a_file_in_use_is_counted_with_what_its_log_holds(tmp_path):
    with make(tmp_path / "c.db") as cache:
        cache.put(QUESTION, "Paris")
        found = figures(tmp_path / "c.db", time.time())
    assert found.entries == 1
    assert found.wal_bytes > 0


def test_inspecting_changes_and_leaves_nothing(filled, tmp_path):
    before = filled.read_bytes()
    assert main(["inspect", str(filled)]) == 0
    assert main(["inspect", str(filled), "--entries", "3"]) == 0
    assert names(tmp_path) == ["c.db"]
    assert filled.read_bytes() == before


def test_prompts_are_shown_only_when_asked_for(filled, capsys):
    assert main(["inspect", str(filled)]) == 0
    out = capsys.readouterr().out
    assert "entries    6, " in out
    assert "embedder   words-64" in out
    assert "code bits  256" in out
    assert "geography 1" in out
    assert QUESTION not in out
    assert main(["inspect", str(filled), "--json"]) == 0
    raw = capsys.readouterr().out
    assert QUESTION not in raw
    assert json.loads(raw)["made_by"]["embedder"] == "words-64"
    assert main(["inspect", str(filled), "--entries", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["8", "6"]


def test_entries_are_chosen_by_tag_and_text(filled, capsys):
    assert [entry.id for entry in listed(filled, 9, tag="geography")] == [2]
    assert [entry.id for entry in listed(filled, 9, containing="CAPITAL")] == [2]
    assert list(listed(filled, 9, tag="geography", containing="bytes")) == []
    assert main(["inspect", str(filled), "--entries", "9", "--prompt", "capital", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == QUESTION
    with pytest.raises(SystemExit) as caught:
        main(["inspect", str(filled), "--tag", "geography"])
    assert caught.value.code == 2
    with pytest.raises(SystemExit):
        main(["inspect", str(filled), "--entries", "0"])


def test_prompts_cannot_move_the_cursor(tmp_path, capsys):
    with make(tmp_path / "c.db") as cache:
        cache.put("a\x1b[2Jb\r\n\tc\u202ed\x9b1m" + "e" * 200, "x", tags=["\x1b]0;t\x07"])
    assert main(["inspect", str(tmp_path / "c.db"), "--entries", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert not set("\x1b\r\t\u202e\x9b\x07") & set(out)
    assert "a\ufffd[2Jb c\ufffdd\ufffd1m" in out
    assert main(["inspect", str(tmp_path / "c.db")]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_an_unopened_file_and_an_empty_cache_are_shown(tmp_path, capsys):
    from binary_semantic_cache.stores.sqlite import SQLiteStore

    SQLiteStore(tmp_path / "c.db").stats()
    assert main(["inspect", str(tmp_path / "c.db")]) == 0
    assert "no cache has filled it" in capsys.readouterr().out
    make(tmp_path / "d.db").close()
    assert main(["inspect", str(tmp_path / "d.db"), "--entries", "5"]) == 0
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_an_error_and_is_not_made(tmp_path, capsys):
    with pytest.raises(errors.MissingFileError):
        figures(tmp_path / "none.db", 0.0)
    assert main(["inspect", str(tmp_path / "none.db")]) == 1
    assert (
        capsys.readouterr().err
        == f"bsc: error: expected the file of a cache, got nothing at {tmp_path}/none.db\n"
    )
    assert names(tmp_path) == []


def test_names_with_marks_of_their_own_are_opened(tmp_path):
    path = tmp_path / "a?mode=rwc#%20 é.db"
    make(path).close()
    assert figures(path, 0.0).entries == 0
    assert names(tmp_path) == [path.name]


def test_a_newer_schema_is_refused(filled):
    import sqlite3

    db = sqlite3.connect(filled)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(errors.FormatVersionError, match="got 99"):
        figures(filled, 0.0)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (size(0), "0 B"),
        (size(1023), "1023 B"),
        (size(1536), "1.5 KiB"),
        (size(2**50), "1024.0 TiB"),
        (age(-5), "0 s"),
        (age(59.9), "59 s"),
        (age(3600), "1 h"),
        (age(86400 * 400), "400 d"),
        (safe("abc", 2), "a\u2026"),
        (safe("a\ud800b"), "a\ufffdb"),
        (safe("é☃"), "é☃"),
    ],
)
def test_figures_are_shown_as_people_read_them(shown, expected):
    assert shown == expected
