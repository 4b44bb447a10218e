"""`bsc reembed`: a cache file moves to another embedder, all at once or not at all."""

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.cli.main import main
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.reembed import reembed
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import MissReason
from words import NoGuards, WordEmbedder

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"


def make(path, embedder) -> SemanticCache:
    return SemanticCache(
        path, embedder=embedder, guards=NoGuards(), policy=Policy(exact_only=()), threshold=0.8
    )


def move(path, embedder, **settings):
    store = SQLiteStore(path)
    try:
        return reembed(store, embedder, **settings)
    finally:
        store.close()


def test_what_was_found_by_meaning_is_found_with_the_new_embedder(tmp_path):
    path, new = tmp_path / "c.db", WordEmbedder(96, "new")
    with make(path, WordEmbedder()) as cache:
        cache.put(QUESTION, "Paris", scope="t", tags=["x"])
        cache.put("word " * 100, "too long for a code")
    seen = []
    done = move(path, new, progress=seen.append)
    assert (done.entries, done.searchable, sum(seen)) == (2, 1, 2)
    assert (done.before, done.after) == ("words-64", "new-96")
    with make(path, new) as cache:
        assert cache.lookup(NEAR, scope="t").response == "Paris"
        assert cache.lookup(QUESTION, scope="t").kind == "exact"
        assert not cache.lookup(NEAR)
        assert cache.lookup("word " * 100).kind == "exact"
        assert len(cache.invalidate(tag="x")) == 1
    with pytest.raises(errors.FingerprintError):
        make(path, WordEmbedder())


def test_a_failure_in_the_middle_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "c.db"
    with make(path, WordEmbedder()) as cache:
        for number in range(200):
            cache.put(f"{QUESTION} {number}", str(number))

    class Failing(WordEmbedder):
        def embed(self, texts):
            if self.calls > 100:
                raise errors.EmbedderError("down")
            return super().embed(texts)

    with pytest.raises(errors.EmbedderError, match="down"):
        move(path, Failing(96, "new"))
    with make(path, WordEmbedder()) as cache:
        assert cache.lookup(f"{NEAR} 150").response == "150"


def test_one_who_has_the_file_open_matches_nothing_by_meaning_any_more(tmp_path):
    path = tmp_path / "c.db"
    with make(path, WordEmbedder()) as cache:
        cache.put(QUESTION, "Paris")
        move(path, WordEmbedder(64, "new"))
        assert cache.lookup(QUESTION).kind == "exact"
        assert cache.lookup(NEAR).reason is MissReason.STORE_FAILED
        with pytest.raises(errors.StoreError):
            cache.put("another", "answer")
        assert cache.get_or_compute("a third", lambda: "computed") == "computed"


def test_the_command_moves_a_file_to_the_local_model(tmp_path, int8_model, capsys, monkeypatch):
    monkeypatch.setenv("BSC_MODEL_DIR", str(int8_model))
    path = tmp_path / "c.db"
    with make(path, WordEmbedder()) as cache:
        cache.put(QUESTION, "Paris")
    assert main(["reembed", str(path)]) == 0
    out = capsys.readouterr().out
    assert "entries 1, found by meaning 1" in out
    assert "before  words-64" in out
    assert "now     all-MiniLM-L6-v2/int8" in out
    with SemanticCache(path) as cache:
        assert cache.lookup("what's the capital city of France?").response == "Paris"


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["reembed", str(tmp_path / "none.db")]) == 1
    assert "nothing at" in capsys.readouterr().err
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 9)
    assert main(["reembed", str(tmp_path / "text.db")]) == 1
    assert "no SQLite file" in capsys.readouterr().err
    assert main(["reembed", str(tmp_path / "text.db"), "--embedder", "nonsense"]) == 1
    assert "nonsense" in capsys.readouterr().err
