"""Folders with classifiers of pairs whose logits can be added up by hand.

The logits of a pair are the sum of its words' weights, and of the second weights of the words of the second
text. A pad token that is not masked would shift each of them by 1000.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

MARKS = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3}
BERT = ("input_ids", "attention_mask", "token_type_ids")
DEBERTA = ("input_ids", "attention_mask")


def write_classifier(
    folder: Path,
    weights: Mapping[str, Sequence[float]],
    *,
    second: Mapping[str, Sequence[float]] | None = None,
    inputs: Sequence[str] = BERT,
    labels: Sequence[str] | None = None,
    length: int | None = None,
    config: Mapping[str, object] | None = None,
    file_name: str = "model.onnx",
    integers: int = TensorProto.INT64,
) -> Path:
    """Writes network, tokenizer and configuration.

    Args:
        folder: made if need be.
        weights: for each word, a number a label.
        second: the same, added where the word stands in the second text; needs `token_type_ids`.
        inputs: what the graph takes.
        labels: their names in `config.json`; `None` for no names there.
        length: the only length that the graph takes; `None` for any.
        config: more of `config.json`.
        file_name: the network's in the folder.
        integers: the type of the inputs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = MARKS | {word: len(MARKS) + i for i, word in enumerate(weights)}
    n_labels = len(next(iter(weights.values())))
    first, other = (np.zeros((len(vocabulary), n_labels), np.float32) for _ in range(2))
    first[MARKS["[PAD]"]] = 1000.0
    for table, given in ((first, weights), (other, second or {})):
        for word, row in given.items():
            table[vocabulary[word]] = row
    network = folder / file_name
    network.parent.mkdir(exist_ok=True)
    onnx.save(_graph(first, other, inputs, length, integers), network)
    _tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    named = {} if labels is None else {"id2label": {str(i): name for i, name in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps(named | dict(config or {})))
    return folder


def write_quantized(folder: Path, word: str, weights: Sequence[int]) -> Path:
    """An int8 network, as of dynamic quantization, in which `word` alone counts.

    Each of its 64 activations is the greatest there is, so a label's logit is `0.064 * weight` for each word.
    """
    write_classifier(folder, {word: [0.0] * len(weights)})
    table = np.zeros((len(MARKS) + 1, 64), np.float32)
    table[-1] = 0.001
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "tokens"], ["sums"], keepdims=0),
        helper.make_node("DynamicQuantizeLinear", ["sums"], ["whole", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["whole", "weights", "zero"], ["products"]),
        helper.make_node("Cast", ["products"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "scale"], ["logits"]),
    ]
    constants = {"table": table, "weights": np.array([weights] * 64, np.int8), "tokens": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "int8",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(weights)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(network, folder / "model.onnx")
    return folder


def _graph(first, other, inputs, length, integers):
    nodes = [helper.make_node("Gather", ["first", "input_ids"], ["rows"])]
    total = "rows"
    if "token_type_ids" in inputs:
        nodes += [
            helper.make_node("Gather", ["other", "input_ids"], ["other_rows"]),
            helper.make_node("Cast", ["token_type_ids"], ["kinds"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["kinds", "last"], ["kinds_wide"]),
            helper.make_node("Mul", ["other_rows", "kinds_wide"], ["of_second"]),
            helper.make_node("Add", [total, "of_second"], ["both"]),
        ]
        total = "both"
    if "attention_mask" in inputs:
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["mask_wide"]),
            helper.make_node("Mul", [total, "mask_wide"], ["masked"]),
        ]
        total = "masked"
    nodes.append(helper.make_node("ReduceSum", [total, "tokens"], ["logits"], keepdims=0))
    constants = {"first": first, "other": other, "last": np.array([2]), "tokens": np.array([1])}
    shape = [1 if length else "batch", length or "tokens"]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info(name, integers, shape) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], first.shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _tokenizer(vocabulary):
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(mark, MARKS[mark]) for mark in ("[CLS]", "[SEP]")],
    )
    # As published files do, which say how the last batch of the training was made.
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=12)
    return tokenizer
