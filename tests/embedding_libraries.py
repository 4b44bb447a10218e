"""Stand-ins for the libraries sentence-transformers and fastembed, put in their place by fixtures.

The real sentence-transformers and fastembed need model downloads (and PyTorch), which a test may not do. So
modules of the same call shape, small and deterministic, stand in for them. The shapes were taken from
the sources of sentence-transformers 6.2.0 (`SentenceTransformer.encode`, `get_embedding_dimension`,
`tokenizer`, `max_seq_length`, `prompts`, `Pooling.pooling_mode`) and of fastembed 0.9.1 (`TextEmbedding`,
`ModelManagement._model_dir`, `OnnxTextModel.tokenizer`). The tokenizer is the real one of the package
tokenizers.
"""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from embedding_server import vector_of

__all__ = ["DIMENSION", "TEXTS", "FakeSentenceTransformer", "fastembed", "sentence_transformers"]

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
