"""Small indexes of codes named by numbers."""

import numpy as np

from binary_semantic_cache import HammingSimilarity
from binary_semantic_cache.vector.index import Index

__all__ = ["SLACK", "code_of", "make", "nearest", "put", "row_found"]

SLACK = 1024
"""Rows that an index takes beyond its entries, for what running searches still read."""


def code_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 2**64, 4, np.uint64)


def make(max_entries=10, *, hamming=None, unique=True, scoped=False) -> Index:
    return Index(hamming or HammingSimilarity(256), max_entries, unique=unique, scoped=scoped)


def put(index: Index, code: np.ndarray, scope: int = 0) -> int:
    with index.lock:
        index.prepare()
        row, _ = index.add(code, 1.0, scope)
        index.publish(row)
        return row


def nearest(index: Index, code: np.ndarray, scope: int | None = None, threshold: float = 1.0):
    with index.lock:
        return index.nearest(code, threshold, scope)


def row_found(index: Index, code: np.ndarray, scope: int | None = None) -> int | None:
    found = nearest(index, code, scope)
    return None if found is None else found[0]
