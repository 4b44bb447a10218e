"""FunctionEmbedder, as_embedder, embedder_from, and the embedders that other libraries run.

The real sentence-transformers and fastembed need model downloads (and PyTorch), which a test may not do. So
modules of the same call shape, small and deterministic, stand in for them here. The shapes were taken from
the sources of sentence-transformers 6.2.0 (`SentenceTransformer.encode`, `get_embedding_dimension`,
`tokenizer`, `max_seq_length`, `prompts`, `Pooling.pooling_mode`) and of fastembed 0.9.1 (`TextEmbedding`,
`ModelManagement._model_dir`, `OnnxTextModel.tokenizer`). The tokenizer is the real one of the package
tokenizers.
"""

import hashlib
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.embedders.fastembed import FastEmbedEmbedder
from binary_semantic_cache.embedders.from_name import FORMS, embedder_from
from binary_semantic_cache.embedders.function import FunctionEmbedder, as_embedder
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.embedders.ollama import OllamaEmbedder
from binary_semantic_cache.embedders.openai import OpenAIEmbedder
from binary_semantic_cache.embedders.sentence_transformers import SentenceTransformersEmbedder
from binary_semantic_cache.errors import (
    EmbedderError,
    InvalidTypeError,
    InvalidValueError,
    MissingExtraError,
)
from embedding_server import vector_of

DIMENSION = 6
TEXTS = ["How do I undo a commit?", "Grüße aus Köln", "", "日本語", "word " * 40]


def word_tokenizer() -> Tokenizer:
    """One token a word, cut at 16 and padded, as models come."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "word": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(pad_id=1, pad_token="[PAD]")
    return tokenizer


class Tensor:
    """What `_weights_digest` asks of a torch tensor."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape = values.shape

    def detach(self) -> "Tensor":
        return self

    cpu = contiguous = detach

    def reshape(self, size: int) -> "Tensor":
        return Tensor(self.values.reshape(size))

    def view(self, dtype: object) -> "Tensor":
        return Tensor(self.values.view(dtype))

    def numpy(self) -> np.ndarray:
        return self.values


class FakePooling:
    pooling_mode = "mean"


class FakeTokenizer:
    """Called as those of transformers are."""

    def __call__(self, text: str, *, truncation: bool, verbose: bool) -> dict[str, list[int]]:
        assert (truncation, verbose) == (False, False)
        return {"input_ids": [0] * (len(text.split()) + 2)}


class FakeSentenceTransformer:
    """Vectors that depend on the neighbours in a batch, as padding makes them do."""

    made = 0
    weights = (np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(7).reshape(()))
    max_seq_length: object = 16

    def __init__(self, name, *, device, revision, local_files_only):
        if name == "broken":
            raise OSError("no such model on the hub")
        type(self).made += 1
        self.arguments = (name, device, revision, local_files_only)
        self.prompts = {"query": "query: ", "document": ""}
        self.default_prompt_name = "query" if name == "prompted" else None
        self.tokenizer = FakeTokenizer()
        self.modules = [object(), FakePooling()]

    def __iter__(self):
        return iter(self.modules)

    def parameters(self):
        return [Tensor(weight) for weight in self.weights]

    def get_embedding_dimension(self):
        return DIMENSION

    def encode(
        self, inputs, *, prompt, batch_size, show_progress_bar, convert_to_numpy, normalize_embeddings
    ):
        assert (show_progress_bar, convert_to_numpy, normalize_embeddings) == (False, True, True)
        if "fail" in inputs:
            raise RuntimeError("out of memory")
        default = self.prompts.get(self.default_prompt_name) or ""
        prefix = default if prompt is None else prompt
        rows = []
        for start in range(0, len(inputs), batch_size):
            batch = inputs[start : start + batch_size]
            rows += [vector_of(prefix + text, DIMENSION) + len(batch) for text in batch]
        return np.array([row / np.linalg.norm(row) for row in rows])


@pytest.fixture
def sentence_transformers(monkeypatch):
    class Fresh(FakeSentenceTransformer):
        pass

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = Fresh
    torch = types.ModuleType("torch")
    torch.uint8 = np.uint8
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return Fresh


class FakeOnnxTextEmbedding:
    def __init__(self, folder: Path) -> None:
        self._model_dir = folder
        self.model_description = types.SimpleNamespace(
            model_file="onnx/model.onnx", additional_files=["model.onnx_data"]
        )
        self.tokenizer = word_tokenizer()


class FakeTextEmbedding:
    folder: Path
    made = 0

    @staticmethod
    def list_supported_models():
        return [{"model": "BAAI/bge-small-en-v1.5", "dim": DIMENSION}, {"model": "absent", "dim": 3}]

    def __init__(self, *, model_name, cache_dir, threads, local_files_only):
        if model_name == "absent":
            raise ValueError("could not download the model")
        type(self).made += 1
        self.arguments = (model_name, cache_dir, threads, local_files_only)
        self.model = FakeOnnxTextEmbedding(self.folder)

    def embed(self, documents, *, batch_size):
        for start in range(0, len(documents), batch_size):
            batch = documents[start : start + batch_size]
            if "fail" in batch:
                raise RuntimeError("onnxruntime")
            yield from (vector_of(text, DIMENSION) + len(batch) for text in batch)


@pytest.fixture
def fastembed(monkeypatch, tmp_path):
    class Fresh(FakeTextEmbedding):
        folder = tmp_path

    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    module = types.ModuleType("fastembed")
    module.TextEmbedding = Fresh
    monkeypatch.setitem(sys.modules, "fastembed", module)
    return Fresh


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


def test_a_function_gets_a_list_and_its_rows_are_copied():
    rows = np.ones((2, 3), dtype=np.float32)
    seen = []

    def function(texts):
        seen.append(texts)
        return rows

    vectors = FunctionEmbedder(function, 3, "ones").embed(("a", "b"))
    rows[:] = 5
    assert seen == [["a", "b"]]
    np.testing.assert_array_equal(vectors, np.ones((2, 3)))


def test_a_function_is_not_called_for_no_texts():
    def never(texts):
        raise AssertionError

    assert FunctionEmbedder(never, 3, "none").embed([]).shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8])
def test_rows_of_any_numbers_become_float32(dtype):
    vectors = FunctionEmbedder(lambda texts: np.full((len(texts), 2), 3, dtype), 2, "threes").embed(["a"])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [[3, 3]])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([[1.0, 2.0]], "expected 2 vectors, got an array of shape"),
        ([1.0, 2.0], "expected 2 vectors, got an array of shape"),
        ([[1.0], [2.0]], "expected vectors of 2 dimensions, got 1"),
        ([[1.0, 2.0], [3.0]], "something else"),
        ([["1", "2"], ["3", "4"]], "something else"),
        (np.ones((2, 2), dtype=bool), "something else"),
        (np.ones((2, 2), dtype=np.complex64), "something else"),
        (None, "something else"),
        ([[1.0, np.nan], [1.0, 2.0]], "finite"),
        ([[1.0, 1e300], [1.0, 2.0]], "finite"),
    ],
)
def test_what_a_function_gives_is_checked(answer, message):
    with pytest.raises(EmbedderError, match=message):
        FunctionEmbedder(lambda texts: answer, 2, "odd").embed(["a", "b"])


def test_a_function_that_fails_is_an_embedder_error_with_the_cause_and_without_the_text():
    def fail(texts):
        raise KeyError(texts[0])

    with pytest.raises(EmbedderError, match=r"^the function of mine/2 raised KeyError$") as caught:
        FunctionEmbedder(fail, 2, "mine/2").embed(["secret"])
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((3, 2, "f"), InvalidTypeError),
        ((len, 0, "f"), InvalidValueError),
        ((len, 2.0, "f"), InvalidTypeError),
        ((len, True, "f"), InvalidTypeError),
        ((len, 2, ""), InvalidValueError),
        ((len, 2, "line\nbreak"), InvalidValueError),
        ((len, 2, None), InvalidTypeError),
    ],
)
def test_an_odd_argument_of_a_function_embedder_is_refused(arguments, error):
    with pytest.raises(error):
        FunctionEmbedder(*arguments)
    with pytest.raises(InvalidValueError):
        FunctionEmbedder(len, 2, "f", max_tokens=0)


def test_a_bare_function_is_told_to_be_wrapped():
    def my_model(texts):
        return texts

    with pytest.raises(InvalidTypeError, match=r"FunctionEmbedder\(my_model, dimension, fingerprint\)"):
        as_embedder(my_model)


def test_a_class_is_told_to_be_instantiated():
    with pytest.raises(InvalidTypeError, match=r"got the class LocalEmbedder; make an instance"):
        as_embedder(LocalEmbedder)


@pytest.mark.parametrize("candidate", [None, 3, "local", object(), dict])
def test_what_is_no_embedder_is_told_what_it_lacks(candidate):
    with pytest.raises(InvalidTypeError, match="dimension, fingerprint, max_tokens, embed"):
        as_embedder(candidate)


def test_an_embedder_is_recognized_without_asking_it_anything():
    class Costly:
        fingerprint = "costly"
        max_tokens = None

        def __init__(self):
            self.embed = None

        @property
        def dimension(self):
            raise AssertionError

    costly = Costly()
    assert as_embedder(costly) is costly


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


def test_no_embedder_imports_another_library_than_its_own():
    program = """
import sys
from binary_semantic_cache.embedders.function import FunctionEmbedder
import binary_semantic_cache.embedders.from_name
print(sorted(name for name in sys.modules if name.startswith("binary_semantic_cache.embedders.")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not any(name in done.stdout for name in ("openai", "ollama", "http", "fastembed", "local"))
