"""What the embedders of a function, of sentence-transformers and of fastembed promise alike."""

import subprocess
import sys

import numpy as np
import pytest

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.embedders.fastembed import FastEmbedEmbedder
from binary_semantic_cache.embedders.function import FunctionEmbedder, as_embedder
from binary_semantic_cache.embedders.sentence_transformers import SentenceTransformersEmbedder
from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from embedding_libraries import DIMENSION, TEXTS
from embedding_server import vector_of


@pytest.fixture
def function_embedder():
    return FunctionEmbedder(
        lambda texts: [vector_of(text, DIMENSION).tolist() for text in texts],
        DIMENSION,
        "mine/1",
        max_tokens=9,
    )


@pytest.fixture(params=["function", "sentence_transformers", "fastembed"])
def embedder(request):
    if request.param == "function":
        return request.getfixturevalue("function_embedder")
    request.getfixturevalue(request.param)
    return SentenceTransformersEmbedder("m") if "sentence" in request.param else FastEmbedEmbedder()


def test_it_is_an_embedder(embedder):
    assert isinstance(embedder, Embedder)
    assert as_embedder(embedder) is embedder
    assert embedder.dimension == DIMENSION
    assert embedder.fingerprint == embedder.fingerprint


def test_a_text_gets_the_same_bits_whatever_its_neighbours(embedder):
    alone = [embedder.embed([text])[0].tobytes() for text in TEXTS]
    assert [row.tobytes() for row in embedder.embed(TEXTS)] == alone
    assert [row.tobytes() for row in embedder.embed(TEXTS[::-1])] == alone[::-1]


def test_vectors_are_float32_rows(embedder):
    vectors = embedder.embed(tuple(TEXTS))
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), DIMENSION), np.float32)


def test_no_texts_give_no_rows(embedder):
    vectors = embedder.embed([])
    assert (vectors.shape, vectors.dtype) == ((0, DIMENSION), np.float32)


@pytest.mark.parametrize("texts", ["one string", [1], ["a", None], [b"bytes"], None, 3])
def test_what_is_no_sequence_of_strings_is_refused(embedder, texts):
    with pytest.raises(InvalidTypeError):
        embedder.embed(texts)


def test_a_lone_surrogate_is_refused(embedder):
    with pytest.raises(InvalidValueError, match="lone surrogate at position 1"):
        embedder.embed(["fine", "\ud800"])


def test_no_embedder_imports_another_library_than_its_own():
    program = """
import sys
from binary_semantic_cache.embedders.function import FunctionEmbedder
import binary_semantic_cache.embedders.from_name
print(sorted(name for name in sys.modules if name.startswith("binary_semantic_cache.embedders.")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not any(name in done.stdout for name in ("openai", "ollama", "http", "fastembed", "local"))
