"""The embedders that sentence-transformers and fastembed run."""

import hashlib
import sys
import threading

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from binary_semantic_cache.embedders.fastembed import FastEmbedEmbedder
from binary_semantic_cache.embedders.sentence_transformers import SentenceTransformersEmbedder
from binary_semantic_cache.errors import EmbedderError, InvalidTypeError, InvalidValueError, MissingExtraError
from embedding_libraries import TEXTS, FakeSentenceTransformer


def test_vectors_of_the_libraries_have_length_one(sentence_transformers, fastembed):
    for made in (SentenceTransformersEmbedder("m"), FastEmbedEmbedder()):
        np.testing.assert_allclose(np.linalg.norm(made.embed(TEXTS), axis=1), 1.0, atol=1e-6)


def test_the_libraries_load_a_model_once_for_all_threads_and_not_before_it_is_used(
    sentence_transformers, fastembed
):
    pairs = [
        (SentenceTransformersEmbedder("m"), sentence_transformers),
        (FastEmbedEmbedder(), fastembed),
    ]
    for made, library in pairs:
        assert library.made == 0
        start = threading.Barrier(6)
        found: list[bytes] = []

        def embed(made=made, start=start, found=found) -> None:
            start.wait()
            found.append(made.embed(TEXTS).tobytes())

        threads = [threading.Thread(target=embed) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [found[0]] * 6
        assert library.made == 1


@pytest.mark.parametrize("module", ["sentence_transformers", "fastembed"])
def test_a_missing_extra_names_the_command_that_installs_it(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    extra = module.replace("_", "-")
    make = SentenceTransformersEmbedder if "sentence" in module else FastEmbedEmbedder
    with pytest.raises(MissingExtraError, match=f"install the extra `{extra}`: pip install {extra}$"):
        make("m")


def test_a_model_that_cannot_be_loaded_or_run_is_an_embedder_error(sentence_transformers, fastembed):
    for made in (SentenceTransformersEmbedder("broken"), FastEmbedEmbedder("absent")):
        with pytest.raises(EmbedderError, match=r"could not be loaded: .*model"):
            made.embed(["a"])
    for made in (SentenceTransformersEmbedder("m"), FastEmbedEmbedder()):
        with pytest.raises(EmbedderError, match=r"could not be run: RuntimeError$"):
            made.embed(["fail"])


def test_sentence_transformers_takes_the_arguments_through(sentence_transformers):
    made = SentenceTransformersEmbedder("m", device="cpu", revision="abc", local_files_only=True)
    made.embed(["a"])
    assert made._model.arguments == ("m", "cpu", "abc", True)


def test_a_prompt_stands_before_each_text_and_in_the_fingerprint(sentence_transformers):
    plain, given, default, none = (
        SentenceTransformersEmbedder("m"),
        SentenceTransformersEmbedder("m", prompt="query: "),
        SentenceTransformersEmbedder("prompted"),
        SentenceTransformersEmbedder("prompted", prompt=""),
    )
    vectors = [made.embed(["a b"]).tobytes() for made in (plain, given, default, none)]
    assert vectors[1] == vectors[2] != vectors[0] == vectors[3]
    assert [made.count_tokens("a b") for made in (plain, given, default, none)] == [4, 5, 5, 4]
    assert plain.fingerprint != given.fingerprint
    assert default.fingerprint != none.fingerprint


def test_the_fingerprint_follows_weights_and_not_their_order(sentence_transformers, monkeypatch):
    first = SentenceTransformersEmbedder("m").fingerprint
    monkeypatch.setattr(sentence_transformers, "weights", sentence_transformers.weights[::-1])
    assert SentenceTransformersEmbedder("m").fingerprint == first
    changed = (sentence_transformers.weights[0], sentence_transformers.weights[1] + 1)
    monkeypatch.setattr(sentence_transformers, "weights", changed)
    assert SentenceTransformersEmbedder("m").fingerprint != first
    assert first.split("/")[0:2] == ["sentence-transformers", "m"]
    assert first.split("/")[3] == "mean"


def test_older_ways_to_tell_dimension_and_pooling_give_the_same(sentence_transformers, monkeypatch):
    class OldPooling:
        def get_pooling_mode_str(self) -> str:
            return "mean"

    new, old = SentenceTransformersEmbedder("m"), SentenceTransformersEmbedder("m")
    old.embed(["a"])
    old._model.modules = [object(), OldPooling()]
    assert old.fingerprint == new.fingerprint
    monkeypatch.setattr(sentence_transformers, "get_sentence_embedding_dimension", lambda _: 5, raising=False)
    monkeypatch.setattr(FakeSentenceTransformer, "get_embedding_dimension", None)
    assert old.dimension == 5


def test_a_folder_is_named_by_its_last_part(sentence_transformers, tmp_path):
    (tmp_path / "tuned").mkdir()
    assert SentenceTransformersEmbedder(str(tmp_path / "tuned")).fingerprint.startswith(
        "sentence-transformers/tuned/"
    )


@pytest.mark.parametrize(("found", "window"), [(16, 16), (None, None), (float("inf"), None)])
def test_a_model_without_a_window_has_no_limit(sentence_transformers, monkeypatch, found, window):
    monkeypatch.setattr(sentence_transformers, "max_seq_length", found)
    assert SentenceTransformersEmbedder("m").max_tokens == window


def test_tokens_are_counted_beyond_the_window(sentence_transformers, fastembed):
    static = SentenceTransformersEmbedder("m")
    static.embed(["a"])
    static._model.tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    assert static.count_tokens("a") == 1
    made = FastEmbedEmbedder()
    assert (made.max_tokens, made.count_tokens("word " * 40), made.count_tokens("")) == (16, 40, 0)
    static._model.tokenizer = None
    with pytest.raises(EmbedderError, match="no tokenizer that counts"):
        static.count_tokens("a")


def test_fastembed_takes_the_arguments_through(fastembed, tmp_path):
    made = FastEmbedEmbedder("baai/BGE-small-en-v1.5", cache_dir=tmp_path, threads=2, local_files_only=True)
    made.embed(["a"])
    assert made._model.arguments == ("BAAI/bge-small-en-v1.5", str(tmp_path), 2, True)


def test_the_fingerprint_of_fastembed_follows_its_files(fastembed, tmp_path):
    first = FastEmbedEmbedder().fingerprint
    (tmp_path / "README.md").write_text("of no consequence")
    assert FastEmbedEmbedder().fingerprint == first
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"Weights")
    second = FastEmbedEmbedder().fingerprint
    (tmp_path / "model.onnx_data").write_bytes(b"more")
    assert len({first, second, FastEmbedEmbedder().fingerprint}) == 3
    assert first.endswith("/FakeOnnxTextEmbedding/l2")


def test_what_a_version_of_fastembed_hides_has_a_stated_substitute(fastembed, monkeypatch):
    made = FastEmbedEmbedder()
    made.embed(["a"])
    made._model.model = object()
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.5.0")
    assert made.fingerprint == "fastembed/BAAI/bge-small-en-v1.5/fastembed-0.5.0/object/l2"
    assert made.max_tokens == 512
    with pytest.raises(EmbedderError, match="no tokenizer that counts"):
        made.count_tokens("a")


def test_a_model_that_fastembed_lacks_is_refused_at_once(fastembed):
    with pytest.raises(InvalidValueError, match="expected a model that fastembed has, got 'gpt'"):
        FastEmbedEmbedder("gpt")
    with pytest.raises(InvalidValueError, match="threads"):
        FastEmbedEmbedder(threads=0)


@pytest.mark.parametrize("option", ["device", "prompt", "revision"])
def test_an_odd_argument_of_sentence_transformers_is_refused(sentence_transformers, option):
    with pytest.raises(InvalidTypeError, match=f"expected {option} to be a string, got int"):
        SentenceTransformersEmbedder("m", **{option: 3})
    with pytest.raises(InvalidValueError):
        SentenceTransformersEmbedder("")


def test_the_fingerprint_of_weights_is_a_plain_digest_of_their_bytes(sentence_transformers):
    """Pinned: a change of the rule would turn every stored cache away."""
    digests = sorted(
        hashlib.sha256(shape.encode() + weight.tobytes()).digest()
        for shape, weight in zip(("(2, 3)", "()"), FakeSentenceTransformer.weights, strict=True)
    )
    wanted = hashlib.sha256(b"".join(digests)).hexdigest()
    no_prompt = hashlib.sha256(b"").hexdigest()[:16]
    assert SentenceTransformersEmbedder("m").fingerprint == (
        f"sentence-transformers/m/{wanted}/mean/prompt-{no_prompt}/l2/16"
    )
