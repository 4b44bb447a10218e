"""The local model on fastembed and on sentence-transformers, from files on this machine."""

import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from benches.fetched import UnavailableError, benches_cache, fetch_peers
from binary_semantic_cache.embedders.model_source import WEIGHTS_FILE, download, read_source

__all__ = ["FASTEMBED", "SENTENCE_TRANSFORMERS", "Embed", "fastembed_model", "sentence_transformers_model"]

FASTEMBED, SENTENCE_TRANSFORMERS = "fastembed, int8", "sentence-transformers, float32"
_DIMENSION, _WINDOW = 384, 256
_NAME = "local/all-MiniLM-L6-v2"
_MARKS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
_ST_MODULES = "sentence_transformers.models"
# Source: config.json of sentence-transformers/all-MiniLM-L6-v2, as published with the weights.
_BERT = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": _DIMENSION,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "vocab_size": 30522,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def fastembed_model(model_folder: Path, folder: Path) -> Embed:
    """fastembed over the installed int8 model, one thread, one text a run.

    Its own file of this model is float32 and lies on a hub; int8 is what ours runs, and what it runs faster.

    Args:
        model_folder: where `bsc model install` put the model.
        folder: an empty one, for the model in the form that fastembed takes. Must outlive the first text.

    Raises:
        UnavailableError: fastembed could not be fetched or loaded.
    """
    fetch_peers()
    try:
        package = import_module("fastembed")
        description = import_module("fastembed.common.model_description")
    except ImportError as exc:
        raise UnavailableError(f"{exc}") from exc
    model = onnx.load(model_folder / "model.onnx")
    onnx.save(_with_batches_of_one(model), folder / "model.onnx")
    shutil.copy(model_folder / "tokenizer.json", folder)
    settings = {"model_max_length": _WINDOW, "pad_token": _MARKS["pad_token"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if all(known["model"] != _NAME for known in package.TextEmbedding.list_supported_models()):
        package.TextEmbedding.add_custom_model(
            _NAME,
            # The file averages and scales by itself.
            pooling=description.PoolingType.DISABLED,
            normalization=False,
            sources=description.ModelSource(hf=_NAME),
            dim=_DIMENSION,
            model_file="model.onnx",
        )
    made = package.TextEmbedding(_NAME, specific_model_path=str(folder), threads=1)
    return lambda texts: np.stack(list(made.embed(texts, batch_size=1)))


def _with_batches_of_one(model: Any) -> Any:
    """The same network, `(1, n)` tokens in and a `(1, d)` embedding out, where ours has `(n,)` and `(d,)`."""
    graph = model.graph
    (tokens,), (embedding,) = graph.input, graph.output
    inner, outer = f"{tokens.name}_of_one", f"{embedding.name}_of_one"
    for node in graph.node:
        node.input[:] = [inner if name == tokens.name else name for name in node.input]
    shapes = {"flat": [-1], "batch": [1, _DIMENSION]}
    for name, shape in shapes.items():
        graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.INT64, [len(shape)], shape))
    graph.node.insert(0, helper.make_node("Reshape", [tokens.name, "flat"], [inner]))
    graph.node.append(helper.make_node("Reshape", [embedding.name, "batch"], [outer]))
    ends = (
        helper.make_tensor_value_info(tokens.name, onnx.TensorProto.INT64, [1, "tokens"]),
        helper.make_tensor_value_info(outer, onnx.TensorProto.FLOAT, [1, _DIMENSION]),
    )
    for field, end in zip((graph.input, graph.output), ends, strict=True):
        del field[:]
        field.append(end)
    onnx.checker.check_model(model)
    return model


def sentence_transformers_model() -> Embed:
    """sentence-transformers over the weights as published, float32, one thread of PyTorch.

    The weights are fetched once (84 MB).

    Raises:
        UnavailableError: it is not installed.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise UnavailableError("not installed: pip install sentence-transformers (5 GB with PyTorch)")
    # Nothing is to be asked of a hub.
    os.environ["HF_HUB_OFFLINE"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import_module("torch").set_num_threads(1)
        package = import_module("sentence_transformers")
        model = package.SentenceTransformer(str(_weights()), device="cpu", local_files_only=True)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        embedded: NDArray[np.float32] = model.encode(list(texts), batch_size=1, show_progress_bar=False)
        return embedded

    return embed


def _weights() -> Path:
    """A folder as sentence-transformers saves one, made of the verified files."""
    folder = benches_cache() / "all-MiniLM-L6-v2-float32"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as fetched:
            files = read_source(download(Path(fetched))).files
            made = Path(fetched) / "model"
            (made / "1_Pooling").mkdir(parents=True)
            (made / "2_Normalize").mkdir()
            for name in (WEIGHTS_FILE, "tokenizer.json"):
                (made / name).write_bytes(files[name])
            for name, content in _descriptions().items():
                (made / name).write_text(json.dumps(content))
            made.rename(folder)
    return folder


def _descriptions() -> dict[str, object]:
    steps = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    return {
        "config.json": _BERT,
        "tokenizer_config.json": _MARKS | {"tokenizer_class": "PreTrainedTokenizerFast"},
        "sentence_bert_config.json": {"max_seq_length": _WINDOW, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": _DIMENSION, "pooling_mode_mean_tokens": True},
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"{_ST_MODULES}.{name}"}
            for i, (path, name) in enumerate(steps)
        ],
    }
