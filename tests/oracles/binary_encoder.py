"""The encoder by the frozen formula, signs taken from sums without rounding error."""

import math

import numpy as np


def projection_matrix(embedding_dim, code_bits=256, seed=42):
    """The `(embedding_dim, code_bits)` float32 matrix of the frozen formula."""
    return np.random.default_rng(seed).standard_normal((embedding_dim, code_bits), dtype=np.float32)


def pack_bits(bits):
    """Booleans `(..., code_bits)` to uint64 words: bit i at position i % 64 of word i // 64."""
    code_bits = bits.shape[-1]
    padded = np.zeros((*bits.shape[:-1], -(-code_bits // 64) * 64), dtype=np.uint64)
    padded[..., :code_bits] = bits
    words = padded.reshape(*bits.shape[:-1], -1, 64) << np.arange(64, dtype=np.uint64)
    return np.bitwise_or.reduce(words, axis=-1)


class BinaryEncoder:
    """Codes by the float64 sign, and by the exact sign (`math.fsum` loses nothing)."""

    def __init__(self, embedding_dim, code_bits=256, seed=42, projection=None):
        self.projection = (
            projection_matrix(embedding_dim, code_bits, seed) if projection is None else projection
        )

    def encode(self, x):
        return pack_bits(np.asarray(x, dtype=np.float64) @ self.projection.astype(np.float64) >= 0)

    def encode_exactly(self, x):
        terms = np.asarray(x, dtype=np.float64)[:, None] * self.projection.astype(np.float64)
        return pack_bits(np.array([math.fsum(column) >= 0 for column in terms.T]))
