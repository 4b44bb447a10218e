"""`embedder_from`: the names of embedders, and which embedder each gives."""

import pytest

from binary_semantic_cache.embedders.fastembed import FastEmbedEmbedder
from binary_semantic_cache.embedders.from_name import FORMS, embedder_from
from binary_semantic_cache.embedders.ollama import OllamaEmbedder
from binary_semantic_cache.embedders.openai import OpenAIEmbedder
from binary_semantic_cache.embedders.sentence_transformers import SentenceTransformersEmbedder
from binary_semantic_cache.errors import EmbedderError, InvalidTypeError, InvalidValueError


def test_each_form_of_a_name_gives_its_embedder(sentence_transformers, fastembed, int8_model, monkeypatch):
    monkeypatch.setenv("BSC_MODEL_DIR", str(int8_model))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    assert embedder_from("local").fingerprint == embedder_from("local:int8").fingerprint
    openai = embedder_from("openai:text-embedding-3-large")
    assert isinstance(openai, OpenAIEmbedder)
    assert openai.dimension == 3072
    ollama = embedder_from("ollama:nomic-embed-text:v1.5")
    assert isinstance(ollama, OllamaEmbedder)
    assert ollama._model == "nomic-embed-text:v1.5"
    assert isinstance(embedder_from("sentence-transformers:BAAI/bge-m3"), SentenceTransformersEmbedder)
    assert isinstance(embedder_from("fastembed:BAAI/bge-small-en-v1.5"), FastEmbedEmbedder)


def test_local_float32_is_the_float32_model(float32_model, monkeypatch):
    monkeypatch.setenv("BSC_MODEL_DIR", str(float32_model))
    assert "/float32/" in embedder_from("local:float32").fingerprint
    with pytest.raises(EmbedderError, match="expected the int8 model"):
        embedder_from("local:int8")


@pytest.mark.parametrize(
    "spec", ["", "local:", "local:fp16", "openai", "openai:", "ollama", "fastembed:", "gpt:4", "Local", ":x"]
)
def test_an_unknown_name_is_told_all_forms(spec):
    with pytest.raises(InvalidValueError) as caught:
        embedder_from(spec)
    assert all(form in str(caught.value) for form in FORMS)


def test_a_name_that_is_no_string_is_refused():
    with pytest.raises(InvalidTypeError, match="got NoneType"):
        embedder_from(None)
