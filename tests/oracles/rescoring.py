"""Cosines with packed embeddings, in plain NumPy."""

import numpy as np

_NUMBERS = {1: "i1", 2: "<f2", 3: "<f4"}


def cosine(query, packed):
    """Of a query of length 1 with a packed vector; `None` for an empty one, nan for a damaged one."""
    if not packed:
        return None
    numbers = packed[5:] if packed[0] == 1 else packed[1:]
    dtype = np.dtype(_NUMBERS.get(packed[0], "V1"))
    if dtype.kind == "V" or len(numbers) != query.size * dtype.itemsize:
        return float("nan")
    row = np.frombuffer(numbers, dtype).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.sqrt(row @ row)
        return float(query.astype(np.float64) @ row / length) if 0.0 < length < np.inf else 0.0
