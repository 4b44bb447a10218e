"""Embedding to code: against NumPy, the published encoder, and reading the matrix once."""

from collections.abc import Iterator
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from benches.harness import Case, Contender, Figure, Row, UnequalResultsError, measure
from benches.published import NAME
from benches.reading import read_once
from benches.subject import Setting
from benches.vectors import CODE_BITS, embeddings
from binary_semantic_cache import RustBinaryEncoder

__all__ = ["projection", "run"]

_ROUNDING = 1e-4
"""A float32 product may miss the exact one by this share of |x| and so give another sign; seen: 4e-6."""


def projection(dimension: int, seed: int = 42) -> NDArray[np.float32]:
    """The matrix of the frozen formula."""
    return np.random.default_rng(seed).standard_normal((dimension, CODE_BITS), dtype=np.float32)


def run(setting: Setting) -> Iterator[Row]:
    """Single embeddings at three dimensions, and a batch."""
    for dimension in (384,) if setting.smoke else (384, 768, 1536):
        yield from measure(_single(setting, dimension), setting.effort)
    yield from measure(_batch(setting, 384, setting.size(1000, 64)), setting.effort)


def _single(setting: Setting, dimension: int) -> Case:
    matrix, vectors = projection(dimension), embeddings(64, dimension, seed=1)
    ours = RustBinaryEncoder(dimension, CODE_BITS, 42)
    goal = dimension == 384
    rows = [(vector,) for vector in vectors]
    contenders = [
        read_once(matrix.nbytes, Figure.within(1.5) if goal else None),
        Contender("NumPy x @ P, packbits", lambda x: _numpy_encode(x, matrix), cycle(rows)),
    ]
    _check(
        f"encode {dimension}", "NumPy", vectors, matrix, ours.encode(vectors), _numpy_encode(vectors, matrix)
    )
    if setting.published:
        theirs = setting.published.encoder(matrix)
        codes = np.array([theirs.encode(vector) for vector in vectors])
        _check(f"encode {dimension}", NAME, vectors, matrix, ours.encode(vectors), codes)
        contenders.append(Contender(NAME, theirs.encode, cycle(rows), Figure.at_least(20) if goal else None))
    one = Contender("ours", ours.encode, cycle(rows))
    return Case(f"encode, d = {dimension}", 1, one, contenders, setting.missing)


def _batch(setting: Setting, dimension: int, n: int) -> Case:
    matrix, vectors = projection(dimension), embeddings(n, dimension, seed=2)
    ours = RustBinaryEncoder(dimension, CODE_BITS, 42)
    batch = [(vectors,)]
    contenders = [Contender("NumPy x @ P, packbits", lambda x: _numpy_encode(x, matrix), cycle(batch))]
    _check("encode batch", "NumPy", vectors, matrix, ours.encode(vectors), _numpy_encode(vectors, matrix))
    if setting.published:
        theirs = setting.published.encoder(matrix)
        _check("encode batch", NAME, vectors, matrix, ours.encode(vectors), theirs.encode(vectors))
        contenders.append(Contender(NAME, theirs.encode, cycle(batch)))
    one = Contender("ours", ours.encode, cycle(batch))
    what = f"encode, d = {dimension}, in a batch, each"
    return Case(what, n, one, contenders, setting.missing, operations=n)


def _numpy_encode(x: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.uint64]:
    return np.packbits(x @ matrix >= 0, axis=-1, bitorder="little").view(np.uint64)


def _check(
    what: str,
    name: str,
    vectors: NDArray[np.float32],
    matrix: NDArray[np.float32],
    ours: NDArray[np.uint64],
    theirs: NDArray[np.uint64],
) -> None:
    """Ours has the sign of the exact product in every bit; theirs, except where float32 cannot tell."""
    exact = vectors.astype(np.float64) @ matrix.astype(np.float64)
    expected = np.packbits(exact >= 0, axis=1, bitorder="little").view(np.uint64)
    if not np.array_equal(ours, expected):
        raise UnequalResultsError(f"{what}: ours is not the sign of the float64 product")
    bits = np.unpackbits((ours ^ theirs).view(np.uint8), axis=1, bitorder="little").astype(bool)
    close = np.abs(exact) < _ROUNDING * np.linalg.norm(vectors, axis=1, keepdims=True)
    if (bits & ~close).any():
        raise UnequalResultsError(f"{what}: {name} differs from ours in {(bits & ~close).sum()} clear bits")
