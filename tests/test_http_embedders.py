"""What OpenAIEmbedder and OllamaEmbedder ask of a server, and what they make of its answers."""

import json
import random
import traceback

import numpy as np
import pytest

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.embedders.ollama import OllamaEmbedder
from binary_semantic_cache.embedders.openai import OpenAIEmbedder
from binary_semantic_cache.errors import EmbedderError, InvalidTypeError, InvalidValueError
from embedding_server import altered, raw
from http_embedders import KEY, TEXT, TEXTS, expected

pytestmark = pytest.mark.usefixtures("no_environment")


def test_vectors_are_those_of_the_server_at_length_one(embedder):
    vectors = embedder.embed(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-7)


def test_it_is_an_embedder(embedder):
    assert isinstance(embedder, Embedder)


def test_no_texts_give_no_rows(embedder):
    vectors = embedder.embed([])
    assert (vectors.shape, vectors.dtype) == ((0, 8), np.float32)


@pytest.mark.parametrize("texts", ["one string", [1], ["a", None], [b"bytes"], None, 3])
def test_what_is_no_sequence_of_strings_is_refused_before_it_is_sent(embedder, server, texts):
    with pytest.raises(InvalidTypeError):
        embedder.embed(texts)
    assert server.asked == []


def test_a_lone_surrogate_is_refused_by_position_and_not_shown(embedder, server):
    with pytest.raises(InvalidValueError, match="lone surrogate at position 1") as caught:
        embedder.embed(["fine", TEXT + "\ud800"])
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert server.asked == []


def test_openai_refuses_an_empty_text_and_ollama_leaves_it_to_the_model(openai, ollama, server):
    with pytest.raises(InvalidValueError, match="position 1, got an empty string"):
        openai.embed(["a", ""])
    assert server.asked == []
    np.testing.assert_allclose(ollama.embed([""]), expected([""]), atol=1e-7)


def test_the_dimension_of_an_unknown_model_is_asked_once(embedder, server):
    assert [embedder.dimension, embedder.dimension] == [8, 8]
    assert server.texts() == [["dimension"]]


def test_the_dimension_is_learned_from_the_first_answer(embedder, server):
    embedder.embed(["a"])
    assert embedder.dimension == 8
    assert server.texts() == [["a"]]


def test_openai_sends_key_model_and_asked_dimensions(server, naps):
    with OpenAIEmbedder(base_url=f"{server.url}/v1/", api_key=KEY, dimensions=5) as made:
        np.testing.assert_allclose(made.embed(["a"]), expected(["a"], 5), atol=1e-7)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/embeddings")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": "text-embedding-3-small",
        "input": ["a"],
        "encoding_format": "float",
        "dimensions": 5,
    }


def test_openai_batches_by_count_and_by_bytes(server):
    with OpenAIEmbedder("m", base_url=f"{server.url}/v1", batch_size=2) as made:
        np.testing.assert_allclose(made.embed(TEXTS), expected(TEXTS), atol=1e-7)
    assert server.texts() == [TEXTS[:2], TEXTS[2:4], TEXTS[4:]]
    server.asked.clear()
    server.longest_text = 10**6
    long = ["ä" * 80_000, "b" * 140_000, "c", "d" * 300_001, "e"]
    with OpenAIEmbedder("m", base_url=f"{server.url}/v1") as made:
        np.testing.assert_allclose(made.embed(long), expected(long), atol=1e-7)
    assert [[text[0] for text in texts] for texts in server.texts()] == [["ä", "b"], ["c"], ["d"], ["e"]]


def test_rows_are_put_in_the_order_of_their_index(openai, server):
    server.will(altered(lambda answer: {**answer, "data": random.Random(3).sample(answer["data"], 5)}))
    np.testing.assert_allclose(openai.embed(TEXTS), expected(TEXTS), atol=1e-7)


def test_rows_without_an_index_are_taken_in_their_order(openai, server):
    server.will(altered(lambda answer: {"data": [{"embedding": row["embedding"]} for row in answer["data"]]}))
    np.testing.assert_allclose(openai.embed(TEXTS), expected(TEXTS), atol=1e-7)


def test_the_environment_gives_key_and_address_at_construction(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    made = OpenAIEmbedder("m")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    with made:
        made.embed(["a"])
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_openai_itself_needs_a_key_and_another_server_does_not(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    with pytest.raises(InvalidValueError, match="set OPENAI_API_KEY"):
        OpenAIEmbedder()
    with OpenAIEmbedder("m", base_url=f"{server.url}/v1") as made:
        made.embed(["a"])
    assert "authorization" not in server.asked[0].headers


def test_ollama_asks_for_whole_texts_one_at_a_time(ollama, server):
    ollama.embed(["a", "b"])
    bodies = [asked.body for asked in server.asked]
    assert bodies == [{"model": "nomic-embed-text", "input": [text], "truncate": False} for text in "ab"]


def test_ollama_batches_when_asked_to(server):
    with OllamaEmbedder("nomic-embed-text", base_url=server.url, batch_size=3) as made:
        np.testing.assert_allclose(made.embed(TEXTS), expected(TEXTS), atol=1e-7)
    assert server.texts() == [TEXTS[:3], TEXTS[3:]]


def test_the_fingerprint_of_ollama_is_the_digest_and_changes_with_a_newer_model(ollama, server):
    assert ollama.fingerprint == f"ollama/nomic-embed-text:latest/{'0a' * 32}/l2"
    server.models["nomic-embed-text:latest"] = "1b" * 32
    with OllamaEmbedder("nomic-embed-text:latest", base_url=server.url) as later:
        assert later.fingerprint == f"ollama/nomic-embed-text:latest/{'1b' * 32}/l2"
    assert "0a" in ollama.fingerprint


def test_a_model_that_ollama_lacks_is_named_with_the_command_that_gets_it(server, naps):
    with OllamaEmbedder("other", base_url=server.url, sleep=naps.append) as made:
        with pytest.raises(EmbedderError, match="ollama pull other"):
            _ = made.fingerprint
        with pytest.raises(EmbedderError, match="404 Not Found"):
            made.embed(["a"])
    assert naps == []


@pytest.mark.parametrize("answer", [{}, [], {"models": None}, {"models": [None, {"name": 3}]}])
def test_an_odd_list_of_models_is_an_error(ollama, server, answer):
    server.will(raw(json.dumps(answer).encode()))
    with pytest.raises(EmbedderError, match="has no model"):
        _ = ollama.fingerprint


@pytest.mark.parametrize(
    ("info", "parameters", "window"),
    [
        ({"general.architecture": "bert", "bert.context_length": 512}, "", 512),
        ({"general.architecture": "qwen3", "qwen3.context_length": 32768}, "", 4096),
        ({"general.architecture": "bert", "bert.context_length": 2048}, "num_ctx       8192", 2048),
        ({"general.architecture": "bert", "bert.context_length": 8192}, 'stop "a"\nnum_ctx 1024', 1024),
        ({"general.architecture": "bert"}, "", 512),
        (None, None, 512),
    ],
)
def test_the_window_of_ollama_is_the_smaller_of_the_models_and_the_runs(
    ollama, server, info, parameters, window
):
    server.model_info, server.parameters = info, parameters
    assert [ollama.max_tokens, ollama.max_tokens] == [window, window]
    assert [asked.path for asked in server.asked] == ["/api/show"]


def test_a_given_window_is_asked_of_ollama(server):
    with OllamaEmbedder("nomic-embed-text", base_url=server.url, max_tokens=1000) as made:
        made.embed(["a"])
        assert made.max_tokens == 1000
    assert [asked.body["options"] for asked in server.asked] == [{"num_ctx": 1000}]
