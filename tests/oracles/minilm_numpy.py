"""all-MiniLM-L6-v2 in plain NumPy, float64, one text at a time: what the ONNX model must equal."""

from collections.abc import Mapping, Sequence
from math import erf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LAYERS, HEADS, WIDTH = 6, 12, 32


def embedding(weights: Mapping[str, NDArray[Any]], token_ids: Sequence[int]) -> Floats:
    """The embedding of one text, given as its token ids with [CLS] and [SEP]."""
    w = {name: value.astype(np.float64) for name, value in weights.items() if value.dtype == np.float32}
    n = len(token_ids)
    x = w["embeddings.word_embeddings.weight"][list(token_ids)]
    x = x + w["embeddings.position_embeddings.weight"][:n] + w["embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(x, w, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        x = encoder_layer(x, w, f"encoder.layer.{layer}")
    mean = x.sum(axis=0) / n
    return mean / sqrt((mean * mean).sum())


def encoder_layer(x: Floats, w: Mapping[str, Floats], name: str) -> Floats:
    query, key, value = (linear(x, w, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
    mixed = np.empty_like(x)
    for head in range(HEADS):
        columns = slice(head * WIDTH, (head + 1) * WIDTH)
        scores = query[:, columns] @ key[:, columns].T / sqrt(WIDTH)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mixed[:, columns] = weights @ value[:, columns]
    x = layer_norm(
        linear(mixed, w, f"{name}.attention.output.dense") + x, w, f"{name}.attention.output.LayerNorm"
    )
    wide = gelu(linear(x, w, f"{name}.intermediate.dense"))
    return layer_norm(linear(wide, w, f"{name}.output.dense") + x, w, f"{name}.output.LayerNorm")


def linear(x: Floats, w: Mapping[str, Floats], name: str) -> Floats:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(x: Floats, w: Mapping[str, Floats], name: str) -> Floats:
    centred = x - x.mean(axis=1, keepdims=True)
    variance = (centred * centred).mean(axis=1, keepdims=True)
    return centred / np.sqrt(variance + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Floats) -> Floats:
    return x * 0.5 * (1.0 + np.vectorize(erf)(x / sqrt(2.0)))
