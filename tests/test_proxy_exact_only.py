"""The proxy without meaning: no embedder is loaded, and files filled with one are used all the same."""

import pytest

from binary_semantic_cache.embedders.absent import AbsentEmbedder
from binary_semantic_cache.errors import EmbedderError, FingerprintError
from binary_semantic_cache.proxy.processes.opening import open_cache
from binary_semantic_cache.proxy.settings import BudgetSettings, CacheSettings, LearnedSettings
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.reembed import reembed
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import MissReason
from model_server import ModelServer
from proxy_server import chat_body, headers_of, serving
from served import KEY, SlowUpstream, chat, until
from served import serving as serving_process
from words import WordEmbedder

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"
NO_MODEL = "BSC_MODEL_DIR"


def exact_only(path, **changes):
    return CacheSettings(**({"path": str(path), "semantic": False, "timeout_seconds": 20.0} | changes))


@pytest.fixture
def no_model(monkeypatch, tmp_path):
    """A machine on which no model is installed."""
    monkeypatch.setenv(NO_MODEL, str(tmp_path / "nothing here"))
    with pytest.raises(EmbedderError):
        open_cache(CacheSettings(path=""))


# The cache


@pytest.mark.parametrize("code_bits", [256, 128])
def test_a_file_filled_with_any_embedder_answers_exact_repeats_and_comes_back_whole(tmp_path, code_bits):
    path, shape = tmp_path / "cache.db", {"code_bits": code_bits, "seed": 7, "threshold": 0.8}
    with SemanticCache(path, embedder=WordEmbedder(), **shape) as cache:
        cache.put(QUESTION, "Paris")
    with open_cache(exact_only(path)) as cache:
        assert isinstance(cache.embedder, AbsentEmbedder)
        assert cache.lookup(QUESTION).response == "Paris"
        assert cache.lookup(NEAR).reason is MissReason.EXACT_ONLY
        cache.put("how many legs has a spider", "eight")
        assert cache.lookup("how many legs has a spider").response == "eight"
        assert cache.stats().failures == {}
    with SemanticCache(path, embedder=WordEmbedder(), **shape) as cache:
        assert cache.lookup(NEAR).kind == "semantic"
        assert cache.lookup("how many legs has a spider").kind == "exact"
        # It was kept without an embedding.
        assert cache.lookup("how many legs really has a spider").reason is MissReason.BELOW_THRESHOLD


def test_no_model_need_be_installed(no_model, tmp_path):
    with open_cache(exact_only(tmp_path / "cache.db")) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(QUESTION).response == "Paris"
    # All processes of one proxy, and its next start, open it alike.
    with open_cache(exact_only(tmp_path / "cache.db")) as cache:
        assert cache.lookup(QUESTION).response == "Paris"


def test_a_file_begun_without_a_model_is_for_meaning_after_reembed(no_model, tmp_path):
    path = tmp_path / "cache.db"
    with open_cache(exact_only(path)) as cache:
        cache.put(QUESTION, "Paris")
    with pytest.raises(FingerprintError, match="bsc reembed"):
        SemanticCache(path, embedder=WordEmbedder())
    store = SQLiteStore(path)
    reembed(store, WordEmbedder())
    store.close()
    with SemanticCache(path, embedder=WordEmbedder(), threshold=0.8) as cache:
        assert cache.lookup(QUESTION).kind == "exact"
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR).kind == "semantic"


def test_a_file_begun_where_a_model_is_installed_is_for_meaning_at_once(int8_model, tmp_path):
    settings = exact_only(tmp_path / "cache.db")
    with open_cache(settings) as cache:
        cache.put(QUESTION, "Paris")
        assert isinstance(cache.embedder, AbsentEmbedder)
    with open_cache(CacheSettings(path=settings.path)) as cache:
        assert cache.lookup(QUESTION).kind == "exact"
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR).kind == "semantic"


def test_in_memory_and_with_an_embedder_of_a_server_nothing_is_asked_for_either(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with open_cache(exact_only("", embedder="openai:no-such-model")) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(QUESTION)


def test_nothing_stands_over_hits_that_cannot_be(tmp_path):
    overseen = {
        "judge": True,
        "budget": BudgetSettings(max_wrong=0.1),
        "learned": LearnedSettings(budget=0.1),
    }
    with open_cache(exact_only(tmp_path / "cache.db", **overseen)) as cache:
        assert cache.budget is None
    assert [path.name for path in tmp_path.iterdir() if "budget" in path.name] == []


def test_what_needs_an_embedding_says_that_there_is_none(tmp_path):
    with open_cache(exact_only(tmp_path / "cache.db")) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.explain(NEAR).exact_only == "no_embedder"
        with pytest.raises(EmbedderError):
            cache.invalidate(prompt=QUESTION, radius=10)
        assert len(cache.invalidate(prompt=QUESTION)) == 1
    with pytest.raises(EmbedderError, match="opened without words-64, for exact repeats alone"):
        AbsentEmbedder("words-64", 64).embed(["a"])


# The proxy


def test_the_proxy_serves_exact_repeats_and_keeps_what_is_new(no_model, tmp_path):
    settings = exact_only(tmp_path / "cache.db")
    with (
        ModelServer() as model,
        open_cache(settings) as cache,
        serving(model, cache, {"cache": {"semantic": False}}) as proxy,
        proxy.http() as http,
    ):
        told = []
        for text in (QUESTION, QUESTION, NEAR):
            told.append(headers_of(http.post("/v1/chat/completions", json=chat_body(text))))
            proxy.wait_until_quiet()
        assert [each["cache"] for each in told] == ["miss", "exact", "miss"]
        assert told[2]["reason"] == "exact_only"
        assert [record.stored for record in proxy.records] == ["stored", "", "stored"]


def test_bsc_serve_starts_without_a_model(tmp_path):
    environment = {NO_MODEL: str(tmp_path / "nothing here")}
    with SlowUpstream() as upstream:
        arguments = ["--upstream-openai", upstream.url, "--set", "cache.semantic=false", "--workers", "2"]
        with serving_process(*arguments, folder=tmp_path, environment=environment) as served:

            def asked():
                return chat(served.url, QUESTION, key=KEY).headers["x-bsc-cache"]

            assert asked() == "miss"
            until(lambda: [asked() for _ in range(4)] == ["exact"] * 4, "exact repeats from both workers")
