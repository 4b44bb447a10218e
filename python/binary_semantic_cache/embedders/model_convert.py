"""From published MiniLM weights to an ONNX graph, without PyTorch.

The graph takes the token ids of one text, shape `(tokens,)`, int64, and gives its embedding, shape `(384,)`,
float32, of length 1. One text a run is built into the shape: dynamic quantization chooses the scale of the
activations for each run, so texts that shared a run would change each other's vectors. Without padding there
is also nothing to mask, and mean pooling is the mean of all rows.

`precision="int8"` keeps the weights of each linear layer as int8, one scale an output column, and the word
embeddings as int8, one scale a row; activations become uint8 at run time. We quantize here rather than with
`onnxruntime.quantization` so that equal weights give equal bytes, whichever version of it is installed: the
file's digest is part of the embedder's fingerprint.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from binary_semantic_cache.embedders.model_folder import DIMENSION, WINDOW, Precision

__all__ = ["build_model"]

_LAYERS = 6
_HEADS = 12
_HEAD_WIDTH = DIMENSION // _HEADS
_NORM_EPSILON = 1e-12
# The oldest pair that has LayerNormalization: onnxruntime reads newer ones too, but gains nothing here.
_OPSET = 17
_IR_VERSION = 8

# Largest level of a quantized linear weight. Where a CPU lacks VNNI, onnxruntime adds two products of uint8
# and int8 in 16 bits, saturating; with 63 levels the sum stays below 32,767, so every CPU computes the same
# integers. The cost is 0.001 in cosine to the float32 vectors.
# Source: onnxruntime documentation, "Quantize ONNX models", on reduce_range.
_LINEAR_LEVELS = 63
_TABLE_LEVELS = 127  # word embeddings are looked up, never multiplied as integers

Array = NDArray[np.float32]


def build_model(weights: Mapping[str, Array], precision: Precision) -> bytes:
    """The serialized ONNX model made of `weights`, the same bytes for the same weights.

    Args:
        weights: the tensors of all-MiniLM-L6-v2 by their published names, float32. Borrowed.
        precision: `"int8"` for dynamic quantization, `"float32"` for the weights as they are.

    Raises:
        KeyError: a tensor is missing from `weights`.
    """
    graph = _Graph(weights, quantized=precision == "int8")
    hidden = graph.embeddings("input_ids")
    for layer in range(_LAYERS):
        hidden = graph.encoder_layer(hidden, f"encoder.layer.{layer}")
    pooled = graph.add("ReduceMean", hidden, axes=[0], keepdims=0)
    length = graph.add("ReduceL2", pooled, axes=[0], keepdims=1)
    graph.add("Div", pooled, length, output="embedding")
    return graph.serialize()


class _Graph:
    """The graph as it grows: each method adds nodes and returns the name of their result."""

    def __init__(self, weights: Mapping[str, Array], *, quantized: bool) -> None:
        self._weights = weights
        self._quantized = quantized
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Adds one node with one result."""
        return self._add_many(op, inputs, [output or f"{op}_{len(self._nodes)}"], **attributes)[0]

    def _add_many(self, op: str, inputs: tuple[str, ...], outputs: list[str], **attributes: Any) -> list[str]:
        name = f"{op}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), outputs, name=name, **attributes))
        return outputs

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def embeddings(self, ids: str) -> str:
        """Word plus position plus type embedding of each token, normalized: `(tokens, 384)`."""
        words = self._rows(ids, "embeddings.word_embeddings.weight")
        # One text a run has one token type, so its row can join the positions beforehand.
        places = self._weights["embeddings.position_embeddings.weight"][:WINDOW]
        places = places + self._weights["embeddings.token_type_embeddings.weight"][0]
        start, axis = self._constant("first", np.array([0])), self._constant("axis", np.array([0]))
        tokens = self.add("Shape", ids)
        placed = self.add("Slice", self._constant("places", places), start, tokens, axis)
        return self._normalize(self.add("Add", words, placed), "embeddings.LayerNorm")

    def encoder_layer(self, hidden: str, layer: str) -> str:
        """Self-attention and the feed-forward net, each added to its input and normalized."""
        attended = self._attention(hidden, f"{layer}.attention")
        hidden = self._normalize(self.add("Add", attended, hidden), f"{layer}.attention.output.LayerNorm")
        wide = self._gelu(self._dense(hidden, f"{layer}.intermediate.dense"))
        narrow = self._dense(wide, f"{layer}.output.dense")
        return self._normalize(self.add("Add", narrow, hidden), f"{layer}.output.LayerNorm")

    def _attention(self, hidden: str, block: str) -> str:
        # The three projections read the same rows: one product of three times the width is faster than three.
        names = [f"{block}.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weights[f"{name}.weight"] for name in names])
        bias = np.concatenate([self._weights[f"{name}.bias"] for name in names])
        weight[:DIMENSION] /= np.float32(np.sqrt(_HEAD_WIDTH))
        bias[:DIMENSION] /= np.float32(np.sqrt(_HEAD_WIDTH))
        joined = self._linear(hidden, f"{block}.self", weight, bias)
        parts = self._add_many("Split", (joined,), [f"{name}.rows" for name in names], axis=1)
        # (tokens, 384) -> (heads, tokens, width); keys transposed at once for the product.
        split = self._constant(f"{block}.heads", np.array([-1, _HEADS, _HEAD_WIDTH]))
        orders = ([1, 0, 2], [1, 2, 0], [1, 0, 2])
        query, key, value = (
            self.add("Transpose", self.add("Reshape", part, split), perm=order)
            for part, order in zip(parts, orders, strict=True)
        )
        weights = self.add("Softmax", self.add("MatMul", query, key), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", weights, value), perm=[1, 0, 2])
        joint = self._constant(f"{block}.joint", np.array([-1, DIMENSION]))
        return self._dense(self.add("Reshape", mixed, joint), f"{block}.output.dense")

    def _dense(self, rows: str, name: str) -> str:
        return self._linear(rows, name, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _linear(self, rows: str, name: str, weight: Array, bias: Array) -> str:
        """`rows @ weight.T + bias`; `weight` is `(outputs, inputs)`, as PyTorch keeps it."""
        offset = self._constant(f"{name}.bias", bias)
        if not self._quantized:
            product = self.add("MatMul", rows, self._constant(f"{name}.weight", weight.T))
            return self.add("Add", product, offset)
        levels, scales = _quantize_rows(weight, _LINEAR_LEVELS)
        table = self._constant(f"{name}.weight", levels.T)
        outputs = [f"{name}.levels", f"{name}.scale", f"{name}.zero"]
        quantized, scale, zero = self._add_many("DynamicQuantizeLinear", (rows,), outputs)
        # This order of nodes is the one that onnxruntime fuses into a single kernel.
        counts = self.add("Cast", self.add("MatMulInteger", quantized, table, zero), to=TensorProto.FLOAT)
        scale = self.add("Mul", scale, self._constant(f"{name}.scales", scales))
        return self.add("Add", self.add("Mul", counts, scale), offset)

    def _rows(self, ids: str, name: str) -> str:
        """The rows of a table that `ids` name."""
        if not self._quantized:
            return self.add("Gather", self._constant(name, self._weights[name]), ids)
        levels, scales = _quantize_rows(self._weights[name], _TABLE_LEVELS)
        found = self.add("Cast", self.add("Gather", self._constant(name, levels), ids), to=TensorProto.FLOAT)
        return self.add(
            "Mul", found, self.add("Gather", self._constant(f"{name}.scales", scales[:, None]), ids)
        )

    def _normalize(self, rows: str, name: str) -> str:
        scale = self._constant(f"{name}.weight", self._weights[f"{name}.weight"])
        offset = self._constant(f"{name}.bias", self._weights[f"{name}.bias"])
        return self.add("LayerNormalization", rows, scale, offset, axis=-1, epsilon=_NORM_EPSILON)

    def _gelu(self, rows: str) -> str:
        """`x * (1 + erf(x / sqrt 2)) / 2`, the exact form, in the shape that onnxruntime fuses."""
        if "sqrt2" not in [constant.name for constant in self._constants]:
            for name, value in (("sqrt2", 2**0.5), ("one", 1.0), ("half", 0.5)):
                self._constant(name, np.array(value, dtype=np.float32))
        error = self.add("Erf", self.add("Div", rows, "sqrt2"))
        return self.add("Mul", self.add("Mul", rows, self.add("Add", error, "one")), "half")

    def serialize(self) -> bytes:
        """The whole model, checked against the ONNX specification."""
        ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["tokens"])
        embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [DIMENSION])
        graph = helper.make_graph(self._nodes, "all-MiniLM-L6-v2", [ids], [embedding], self._constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="binary-semantic-cache",
        )
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def _quantize_rows(table: Array, most: int) -> tuple[NDArray[np.int8], Array]:
    """Levels of each row, -most to most, and the scales: `levels * scales[:, None]` is about `table`."""
    scales = np.abs(table).max(axis=1) / np.float32(most)
    scales[scales == 0] = 1
    return np.rint(table / scales[:, None]).astype(np.int8), scales
