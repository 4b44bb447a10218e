"""The inputs: embeddings and codes from fixed seeds, and queries that miss, come near or repeat."""

import math
from collections.abc import Iterator
from mmap import mmap

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import slice_codes
from binary_semantic_cache.vector.memory import room

__all__ = [
    "CODE_BITS",
    "FLIPS",
    "KINDS",
    "clustered_codes",
    "embeddings",
    "embeddings_in_chunks",
    "near",
    "queries",
    "random_codes",
    "sliced",
]

CODE_BITS = 256
FLIPS = 0.08
"""Share of bits in which a near query differs: about 20 of 256, a similarity of 0.92."""
KINDS = ("miss", "near", "exact")


def embeddings(n: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """`(n, dimension)` float32, directions spread evenly enough that codes are as good as random."""
    values = np.random.default_rng(seed).random((n, dimension), dtype=np.float32)
    values -= np.float32(0.5)
    return values


def embeddings_in_chunks(
    n: int, dimension: int, seed: int, size: int = 20_000
) -> Iterator[NDArray[np.float32]]:
    """`n` embeddings that never stand in memory together."""
    for first in range(0, n, size):
        yield embeddings(min(size, n - first), dimension, seed + first)


def near(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """`rows` turned by the angle at which a share `FLIPS` of the code's bits differ, on average.

    Source: Charikar 2002, section 3: two vectors at angle a differ in a share a / pi of their sign bits.
    """
    noise = np.random.default_rng(seed).standard_normal(rows.shape, dtype=np.float32)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    noise -= rows * ((noise * rows).sum(axis=1, keepdims=True) / norm**2)
    noise *= math.tan(math.pi * FLIPS) * norm / np.linalg.norm(noise, axis=1, keepdims=True)
    return rows + noise


def random_codes(n: int, seed: int) -> NDArray[np.uint64]:
    """`(n, 4)` uniform words."""
    codes: NDArray[np.uint64] = _pages(n * CODE_BITS // 8).view(np.uint64).reshape(n, -1)
    codes[:] = np.random.default_rng(seed).integers(0, 2**64, codes.shape, dtype=np.uint64)
    return codes


def clustered_codes(n: int, n_queries: int, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """`n` codes and `n_queries` more, each one of 1,000 random codes with 15 % of its bits flipped."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, (1000, CODE_BITS // 64), dtype=np.uint64)

    def some(n_codes: int) -> NDArray[np.uint64]:
        flips = np.packbits(rng.random((n_codes, CODE_BITS), np.float32) < 0.15, axis=1).view(np.uint64)
        chosen: NDArray[np.uint64] = centres[rng.integers(0, len(centres), n_codes)] ^ flips
        return chosen

    codes: NDArray[np.uint64] = _pages(n * CODE_BITS // 8).view(np.uint64).reshape(n, -1)
    for first in range(0, n, 50_000):
        codes[first : first + 50_000] = some(min(50_000, n - first))
    return codes, some(n_queries)


def sliced(
    codes: NDArray[np.uint64],
) -> tuple[NDArray[np.uint64], NDArray[np.uint16], NDArray[np.uint16]]:
    """The same codes as a cache keeps them: those behind the last whole group, heads, tails."""
    n_groups = len(codes) // 32
    heads = _pages(n_groups * 9 * 64).view(np.uint16).reshape(n_groups, 9, 32)
    tails = _pages(n_groups * 7 * 64).view(np.uint16).reshape(n_groups, 7, 32)
    slice_codes(codes[: 32 * n_groups], heads, tails)
    return codes[32 * n_groups :].copy(), heads, tails


def _pages(length: int) -> NDArray[np.uint8]:
    """Zeros from the start of a page, huge pages if there are many, as the cache has them.

    NumPy leaves large arrays 16 bytes past one, so that every other code lies across two cache lines.
    """
    if length < 1 << 20:
        return np.frombuffer(mmap(-1, max(length, 1)), np.uint8)[:length]
    return room(length, np.uint8)


def queries(codes: NDArray[np.uint64], kind: str, n: int, seed: int) -> NDArray[np.uint64]:
    """`n` codes: random ("miss"), stored ("exact"), or stored with a share `FLIPS` flipped ("near")."""
    if kind == "miss":
        return random_codes(n, seed)
    rng = np.random.default_rng(seed)
    picked = codes[rng.integers(0, len(codes), n)]
    if kind == "exact":
        return picked
    flips = np.packbits(rng.random((n, CODE_BITS)) < FLIPS, axis=1).view(np.uint64)
    noisy: NDArray[np.uint64] = picked ^ flips
    return noisy
