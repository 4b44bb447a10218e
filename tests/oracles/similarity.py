"""Hamming distance and search, by the definition."""

import numpy as np


def hamming_distance(a, b):
    """Number of differing bits along the last axis."""
    return np.bitwise_count(np.bitwise_xor(a, b)).sum(axis=-1, dtype=np.int64)


def hamming_similarity(a, b, code_bits):
    """1 - distance / code_bits, in float64."""
    return 1.0 - hamming_distance(a, b) / code_bits


def find_nearest(query, codes, threshold, code_bits):
    """`(index, similarity)` of the most similar row at or above `threshold`; the first among equals."""
    if len(codes) == 0:
        return None
    similarities = hamming_similarity(query, codes, code_bits)
    best = int(similarities.argmax())
    return (best, float(similarities[best])) if similarities[best] >= threshold else None


def find_within(query, codes, threshold, limit, code_bits):
    """Rows at or above `threshold`, nearest first, ties by index, at most `limit`."""
    distances = hamming_distance(query, codes)
    order = np.argsort(distances, kind="stable")
    order = order[(1.0 - distances[order] / code_bits) >= threshold][:limit]
    return order, distances[order]
