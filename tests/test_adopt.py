"""`bsc import` of older archives: what says its prompt becomes an entry, the rest is refused whole."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder, errors
from binary_semantic_cache.cli.main import main
from binary_semantic_cache.text.adopting import adopt
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.vector.archive.answers import read_answers
from filled_caches import NEAR, QUESTION, make
from test_phase1 import HOSTILE, Runs
from test_verify import findings
from words import WordEmbedder

FIXTURE = Path(__file__).parent / "fixtures" / "phase1"
RESPONSES = json.loads((FIXTURE / "responses.json").read_text())


def archive(path, responses, *, phase1=False) -> Path:
    cache = BinarySemanticCache(RustBinaryEncoder(64), max_entries=100)
    vectors = np.random.default_rng(1).standard_normal((len(responses), 64)).astype(np.float32)
    for vector, response in zip(vectors, responses, strict=True):
        cache.put(vector, response)
    cache.save(path, phase1=phase1)
    return path


@pytest.mark.parametrize("name", ["phase1.npz", "v2", "v3"])
def test_genuine_archives_give_their_answers_with_their_times(name):
    answers = read_answers(FIXTURE / name)
    assert [answer.response for answer in answers] == RESPONSES
    assert all(1795385661 <= answer.created_at < 1795385662 for answer in answers)


@pytest.mark.parametrize("phase1", [False, True])
def test_answers_with_a_prompt_become_entries_found_by_meaning(tmp_path, phase1):
    old = archive(
        tmp_path / "old.npz",
        [
            {"prompt": QUESTION, "response": "Lyon"},
            {"query": "how high is it", "answer": {"metres": 300}},
            {"question": QUESTION, "response": "Paris"},
            {"prompt": "nothing", "response": ""},
        ],
        phase1=phase1,
    )
    done = adopt(old, tmp_path / "c.db", WordEmbedder())
    assert (done.imported.entered, done.refused) == (2, {"empty": 1})
    assert findings(tmp_path / "c.db", codes=True) == []
    with make(tmp_path / "c.db") as cache:
        assert cache.lookup(NEAR).response == "Paris"
        assert cache.lookup("how high is it").response == {"metres": 300}
        assert not cache.lookup(QUESTION, scope="team")


def test_an_existing_file_keeps_its_entries_unless_told(tmp_path):
    old = archive(tmp_path / "old.npz", [{"q": QUESTION, "text": "Paris"}])
    fields = {"prompt_fields": ["q"], "answer_fields": ["text"]}
    with make(tmp_path / "c.db", code_bits=128, seed=7) as cache:
        cache.put(QUESTION, "Lyon")
        assert adopt(old, tmp_path / "c.db", WordEmbedder(), **fields).imported.kept == 1
        assert cache.lookup(QUESTION).response == "Lyon"
        assert adopt(old, tmp_path / "c.db", WordEmbedder(), overwrite=True, **fields).imported.replaced == 1
        assert cache.lookup(NEAR).response == "Paris"
        assert adopt(old, tmp_path / "c.db", WordEmbedder(), scope="team", **fields).imported.entered == 1
        assert cache.lookup(NEAR, scope="team").response == "Paris"
    with pytest.raises(errors.FingerprintError, match="bsc reembed"):
        adopt(old, tmp_path / "c.db", WordEmbedder(96, "new"), **fields)


def test_what_meaning_must_not_answer_is_kept_for_its_exact_repeat(tmp_path):
    old = archive(tmp_path / "old.npz", [{"prompt": "cancel my order", "response": "done"}])
    adopt(old, tmp_path / "c.db", WordEmbedder())
    with make(tmp_path / "c.db") as cache:
        assert cache.lookup("cancel my order").kind == "exact"
        assert not cache.lookup("please cancel my order")


@pytest.mark.parametrize("name", ["phase1.npz", "v2", "v3"])
def test_answers_without_a_prompt_are_refused_and_nothing_is_made(
    tmp_path, name, int8_model, capsys, monkeypatch
):
    monkeypatch.setenv("BSC_MODEL_DIR", str(int8_model))
    assert main(["import", str(FIXTURE / name), str(tmp_path / "c.db")]) == 1
    shown = capsys.readouterr().err
    assert "response 0 is no dict with a prompt (prompt, query, question)" in shown
    assert ("BinarySemanticCache.load reads this file" in shown) == name.endswith("npz")
    assert list(tmp_path.iterdir()) == []


def test_one_answer_without_a_prompt_stores_none(tmp_path):
    for wrong in ("text", {"prompt": QUESTION}, {"response": "x"}, {"prompt": 5, "response": "x"}):
        old = archive(tmp_path / "old.npz", [{"prompt": QUESTION, "response": "Paris"}, wrong])
        with pytest.raises(errors.InvalidValueError, match="response 1"):
            adopt(old, tmp_path / "c.db", WordEmbedder())
        assert not (tmp_path / "c.db").exists()


def test_the_command_takes_fields_and_the_local_model(tmp_path, int8_model, capsys, monkeypatch):
    monkeypatch.setenv("BSC_MODEL_DIR", str(int8_model))
    old = archive(tmp_path / "old.npz", [{"q": QUESTION, "text": "Paris"}])
    command = ["import", str(old), str(tmp_path / "c.db"), "--prompt-field", "q", "--answer-field", "text"]
    assert main(command) == 0
    assert "imported 1 entries" in capsys.readouterr().out
    with SemanticCache(tmp_path / "c.db") as cache:
        assert cache.lookup("what's the capital city of France?").response == "Paris"
    assert main([*command, "--scope", "1", "--scope", "2"]) == 1
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 1


# Folders that nobody wrote


@pytest.fixture(params=["v2", "v3"])
def folder(request, tmp_path):
    copied = tmp_path / "old"
    shutil.copytree(FIXTURE / request.param, copied)
    return copied


def header(folder, **changes):
    fields = json.loads((folder / "header.json").read_text()) | changes
    (folder / "header.json").write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": 4}, errors.FormatVersionError),
        ({"version": "2"}, errors.CorruptFileError),
        ({"n_entries": 49}, errors.CorruptFileError),
        ({"n_entries": -1}, errors.CorruptFileError),
        ({"n_entries": 2**40}, errors.CorruptFileError),
        ({"n_entries": 10**6}, errors.CorruptFileError),
        ({"checksums": None, "responses_checksum": None}, errors.CorruptFileError),
    ],
)
def test_a_header_that_does_not_fit_is_refused(folder, changes, error):
    header(folder, **changes)
    with pytest.raises(error):
        read_answers(folder)


def test_a_damaged_file_of_a_folder_is_refused(folder):
    for path in folder.iterdir():
        whole = path.read_bytes()
        if path.name not in ("codes.bin", "access_count.bin"):
            path.write_bytes(whole[:-1])
            with pytest.raises(errors.CorruptFileError):
                read_answers(folder)
            path.write_bytes(b"\xff" + whole[1:])
            with pytest.raises(errors.CorruptFileError):
                read_answers(folder)
            path.unlink()
            with pytest.raises(errors.MissingFileError):
                read_answers(folder)
        path.write_bytes(whole)


def with_pickle(folder, data):
    from hashlib import sha256

    (folder / "responses.pkl").write_bytes(data)
    fields = json.loads((folder / "header.json").read_text())
    digest = sha256(data).hexdigest()
    header(folder, responses_checksum=digest, checksums={**fields.get("checksums", {}), "responses": digest})


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_pickle_in_a_folder_is_an_error(folder, what):
    with_pickle(folder, HOSTILE[what])
    with pytest.raises(errors.CorruptFileError, match=r"responses\.pkl: expected plain data"):
        read_answers(folder)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_runs_a_command_runs_nothing(folder, tmp_path, protocol):
    marker = tmp_path / "ran"
    attack = [None] * 49 + [Runs(f"touch {marker}")]
    with_pickle(folder, pickle.dumps(attack, protocol))
    with pytest.raises(errors.CorruptFileError):
        read_answers(folder)
    assert not marker.exists()
