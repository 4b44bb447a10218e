"""LocalEmbedder: its vectors, its limits, and what it says when something is missing or damaged."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder, TextModel
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import (
    DimensionError,
    EmbedderError,
    InvalidTypeError,
    InvalidValueError,
    ModelNotFoundError,
)
from oracles import minilm_numpy

TEXTS = [
    "How do I undo the last commit without losing my work?",
    "benzene into toluene",
    "Grüße aus Köln, 42 % günstiger!",
    "日本語 テキスト",
    "hi",
    "",
    "Which of these two is the larger one, and why? " * 60,
]


@pytest.fixture(scope="module", params=["rust", "onnxruntime"])
def embedder(int8_model: Path, request: pytest.FixtureRequest) -> LocalEmbedder:
    if request.param == "rust" and len(TextModel.available_isas) == 1:
        pytest.skip("this machine has neither AVX2 nor AVX-512 VNNI")
    return LocalEmbedder(int8_model, runtime=request.param)


@pytest.fixture(scope="module")
def exact_embedder(float32_model: Path) -> LocalEmbedder:
    return LocalEmbedder(float32_model)


@pytest.fixture(scope="module")
def defined(published_folder: Path) -> np.ndarray:
    """What TEXTS become by the plain definition."""
    weights = load_file(published_folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(published_folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    return np.array([minilm_numpy.embedding(weights, tokenizer.encode(text).ids) for text in TEXTS])


@pytest.fixture
def model_copy(int8_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(int8_model, tmp_path / "model")


def test_float32_vectors_are_those_of_the_definition(exact_embedder, defined):
    np.testing.assert_allclose(exact_embedder.embed(TEXTS), defined, rtol=0, atol=2e-6)


def test_int8_vectors_point_where_the_definition_does(embedder, defined):
    cosines = dict(zip(TEXTS, (embedder.embed(TEXTS) * defined).sum(axis=1), strict=True))
    nearly_nothing = [cosines.pop(text) for text in ("", "hi")]  # few tokens: little to average errors over
    assert min(cosines.values()) > 0.98
    assert min(nearly_nothing) > 0.975


def test_int8_similarities_are_near_those_of_the_definition(embedder, defined):
    vectors = embedder.embed(TEXTS)
    np.testing.assert_allclose(vectors @ vectors.T, defined @ defined.T, atol=0.06)


def test_embeddings_have_length_one(embedder):
    np.testing.assert_allclose(np.linalg.norm(embedder.embed(TEXTS), axis=1), 1.0, atol=1e-6)


def test_it_is_an_embedder(embedder):
    assert isinstance(embedder, Embedder)
    assert (embedder.dimension, embedder.max_tokens) == (384, 256)


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), min_size=1, max_size=6))
def test_a_text_gets_the_same_bits_whatever_its_neighbours(embedder, texts):
    alone = [embedder.embed([text])[0].tobytes() for text in texts]
    assert [row.tobytes() for row in embedder.embed(texts)] == alone
    assert [row.tobytes() for row in embedder.embed(texts[::-1])] == alone[::-1]


def test_no_texts_give_no_rows(embedder):
    vectors = embedder.embed([])
    assert (vectors.shape, vectors.dtype) == ((0, 384), np.float32)


def test_tokens_are_counted_with_both_marks(embedder):
    counts = [embedder.count_tokens(text) for text in ("", "hello world", "word " * 254, "word " * 255)]
    assert counts == [2, 4, 256, 257]


def test_a_text_beyond_the_window_is_embedded_by_its_first_256_tokens(embedder):
    whole, longer, other_end = "word " * 254, "word " * 254 + "and more of it", "word " * 253 + "else"
    vectors = embedder.embed([whole, longer, other_end])
    assert vectors[0].tobytes() == vectors[1].tobytes()
    assert vectors[0].tobytes() != vectors[2].tobytes()


def test_threads_that_share_an_embedder_get_the_vectors_of_one_alone(int8_model):
    shared = LocalEmbedder(int8_model)  # not loaded yet: the threads race for that too
    expected = LocalEmbedder(int8_model).embed(TEXTS)
    found: list[bytes] = []
    start = threading.Barrier(6)

    def embed() -> None:
        start.wait()
        found.append(shared.embed(TEXTS).tobytes())

    threads = [threading.Thread(target=embed) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected.tobytes()] * 6


def test_two_threads_for_one_text_give_nearly_the_same_vectors(int8_model):
    one, two = (LocalEmbedder(int8_model, threads=n, runtime="onnxruntime").embed(TEXTS) for n in (1, 2))
    cosines = (one * two).sum(axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.parametrize("texts", [[1], ["a", None], [b"bytes"], "one string"])
def test_what_is_no_sequence_of_strings_is_refused(embedder, texts):
    with pytest.raises(InvalidTypeError):
        embedder.embed(texts)


def test_a_lone_surrogate_is_refused(embedder):
    with pytest.raises(InvalidValueError, match="lone surrogate"):
        embedder.embed(["fine", "\ud800"])


@pytest.mark.parametrize(
    ("threads", "error"), [(0, InvalidValueError), (True, InvalidTypeError), (1.0, InvalidTypeError)]
)
def test_an_odd_number_of_threads_is_refused(int8_model, threads, error):
    with pytest.raises(error):
        LocalEmbedder(int8_model, threads=threads)


def test_the_fingerprint_holds_the_digest_of_the_model_file(embedder, int8_model, exact_embedder):
    digest = hashlib.sha256((int8_model / "model.onnx").read_bytes()).hexdigest()
    assert digest in embedder.fingerprint
    assert embedder.fingerprint != exact_embedder.fingerprint


def test_asking_for_the_other_precision_is_refused(int8_model):
    with pytest.raises(EmbedderError, match=r"expected the float32 model in .*, got int8"):
        LocalEmbedder(int8_model, precision="float32")


def test_a_missing_model_names_the_command_that_installs_it(tmp_path):
    with pytest.raises(ModelNotFoundError, match="bsc model install"):
        LocalEmbedder(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_changed_file_is_refused_at_the_first_use(model_copy, name):
    content = bytearray((model_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (model_copy / name).write_bytes(content)
    with pytest.raises(EmbedderError, match=f"{name} is damaged.*bsc model install --force"):
        LocalEmbedder(model_copy).embed(["text"])


def test_a_missing_model_file_is_refused_at_the_first_use(model_copy):
    (model_copy / "model.onnx").unlink()
    with pytest.raises(EmbedderError, match=r"cannot read .*model\.onnx"):
        LocalEmbedder(model_copy).embed(["text"])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"version": 1}', '{"version": 1, "files": 3}', "[" * 100_000, "\x00", '"ä"'],
)
def test_a_damaged_manifest_is_refused(model_copy, text):
    (model_copy / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(EmbedderError, match=r"manifest\.json"):
        LocalEmbedder(model_copy)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("model", "other"),
        ("files", {}),
        ("precision", "int4"),
        ("origin", None),
        ("extra", 1),
    ],
)
def test_a_manifest_with_a_wrong_field_is_refused(model_copy, field, value):
    manifest = json.loads((model_copy / "manifest.json").read_text())
    (model_copy / "manifest.json").write_text(json.dumps({**manifest, field: value}))
    with pytest.raises(EmbedderError, match=r"manifest\.json"):
        LocalEmbedder(model_copy)


@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers"])
def test_a_missing_extra_names_the_command_that_installs_it(int8_model, module):
    code = f"""
import sys
sys.modules[{module!r}] = None
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import MissingExtraError
try:
    LocalEmbedder({str(int8_model)!r}, runtime="onnxruntime")
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needed = "onnxruntime tokenizers onnx safetensors"
    assert done.stdout == f"{module} is not installed; install the extra `local`: pip install {needed}\n"


def test_the_environment_names_the_default_folder(monkeypatch, tmp_path, int8_model):
    monkeypatch.setenv("BSC_MODEL_DIR", str(int8_model))
    assert LocalEmbedder().fingerprint == LocalEmbedder(int8_model).fingerprint
    monkeypatch.delenv("BSC_MODEL_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = os.path.join("binary-semantic-cache", "models", "all-MiniLM-L6-v2")  # noqa: PTH118
    with pytest.raises(ModelNotFoundError, match=expected):
        LocalEmbedder()


def test_the_hint_of_a_missing_model_names_the_command_for_that_model(tmp_path, monkeypatch):
    monkeypatch.delenv("BSC_MODEL_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"bsc model install --precision float32$"):
        LocalEmbedder(precision="float32")
    with pytest.raises(ModelNotFoundError, match=rf"bsc model install --folder {tmp_path}/other$"):
        LocalEmbedder(tmp_path / "other")
    monkeypatch.setenv("BSC_MODEL_DIR", f"{tmp_path}/of a service")
    with pytest.raises(ModelNotFoundError, match=rf"bsc model install --folder '{tmp_path}/of a service'$"):
        LocalEmbedder()


def test_an_unknown_runtime_is_refused_by_name(int8_model):
    with pytest.raises(InvalidValueError, match="'rust' or 'onnxruntime', got 'candle'"):
        LocalEmbedder(int8_model, runtime="candle")


def test_an_unknown_precision_is_refused_by_name():
    with pytest.raises(InvalidValueError, match="'int8' or 'float32', got 'fp16'"):
        LocalEmbedder(precision="fp16")


def test_one_call_gives_the_embeddings_and_codes_that_two_calls_give(embedder):
    encoder = RustBinaryEncoder(384)
    embeddings, codes = embedder.embed_and_encode(TEXTS, encoder)
    np.testing.assert_array_equal(embeddings, embedder.embed(TEXTS))
    np.testing.assert_array_equal(codes, encoder.encode(embeddings))


def test_one_call_for_both_refuses_what_two_calls_refuse(embedder):
    with pytest.raises(InvalidTypeError):
        embedder.embed_and_encode("one string", RustBinaryEncoder(384))
    with pytest.raises(DimensionError, match="384"):
        embedder.embed_and_encode(["a text"], RustBinaryEncoder(385))
