"""`bsc export` and `bsc import` as they are run."""

import json

import pytest

from binary_semantic_cache.cli.main import main
from filled_caches import content, make


def test_the_commands_copy_a_file(filled, tmp_path, capsys):
    out, copy = str(tmp_path / "out.jsonl"), tmp_path / "copy.db"
    assert main(["export", str(filled), out]) == 0
    assert "exported 6 entries and 1 reported pairs" in capsys.readouterr().out
    assert main(["import", out, str(copy)]) == 0
    assert "imported 6 entries, replaced 0, kept 0, 1 reported pairs" in capsys.readouterr().out
    assert content(copy) == content(filled)
    assert main(["import", out, str(copy), "--replace", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["replaced"] == 6
    assert main(["export", str(filled), str(tmp_path / "o.npz"), "--no-secret", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"entries": 6, "pairs": 1, "secret": False}


def test_the_command_takes_scopes_as_json(filled, tmp_path, capsys):
    out, other = str(tmp_path / "out.npz"), tmp_path / "other.db"
    main(["export", str(filled), out])
    make(other).close()
    assert main(["import", out, str(other), "--scope", '{"tenant": "a"}', "--scope", "null", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["entered"] == 5
    with pytest.raises(SystemExit) as caught:
        main(["import", out, str(other), "--scope", "{tenant}"])
    assert caught.value.code == 2


def test_the_commands_say_what_is_wrong(filled, tmp_path, capsys):
    (tmp_path / "x.jsonl").write_text("{}\n")
    (tmp_path / "x.npz").write_text("no zip")
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 9)
    for arguments, message in (
        (["export", str(tmp_path / "none.db"), str(tmp_path / "o.jsonl")], "nothing at"),
        (["export", str(tmp_path / "text.db"), str(tmp_path / "o.jsonl")], "no SQLite file"),
        (["export", str(filled), str(tmp_path / "o.csv")], "ends in .jsonl or .npz"),
        (["export", str(filled), str(tmp_path / "none" / "o.npz")], "No such file"),
        (["import", str(tmp_path / "none.npz"), str(filled)], "nothing at"),
        (["import", str(tmp_path / "x.jsonl"), str(filled)], "line 1: not the header"),
        (["import", str(tmp_path / "x.npz"), str(filled)], "x.npz"),
        (["import", str(tmp_path / "text.db"), str(filled)], "ends in .jsonl or .npz"),
    ):
        assert main(arguments) == 1
        shown = capsys.readouterr()
        assert message in shown.err
        assert shown.err.startswith("bsc: error: ")
        assert shown.err.count("\n") == 1
    assert not (tmp_path / "o.jsonl").exists()
