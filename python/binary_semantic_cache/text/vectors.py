"""Embeddings as entries carry them for exact re-scoring: bytes that name their own format."""

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import CorruptFileError, InvalidValueError

__all__ = [
    "VectorFormat",
    "checked_format",
    "is_exact",
    "pack",
    "radius",
    "unit",
    "unpack",
]

VectorFormat = Literal["int8", "float16", "float32", "none"]

# First byte of a packed vector. int8: a float32 scale and one byte a dimension.
_INT8, _FLOAT16, _FLOAT32 = 1, 2, 3


def checked_format(name: str) -> VectorFormat:
    """`name` if it is a format."""
    for known in get_args(VectorFormat):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise InvalidValueError(f"expected vectors as one of {', '.join(get_args(VectorFormat))}, got {name!r}")


def unit(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """`embedding` scaled to length 1; zeros stay zeros."""
    norm = math.sqrt(float(embedding @ embedding))
    return embedding / np.float32(norm) if norm > 0.0 else embedding


def pack(embedding: NDArray[np.float32], form: VectorFormat) -> bytes:
    """An embedding of length 1 as bytes; empty for `none`."""
    if form == "none":
        return b""
    if form == "float32":
        return b"".join((bytes([_FLOAT32]), embedding.astype("<f4").tobytes()))
    if form == "float16":
        return b"".join((bytes([_FLOAT16]), embedding.astype("<f2").tobytes()))
    greatest = float(np.abs(embedding).max(initial=0.0))
    scale = np.array([greatest / 127.0 or 1.0], dtype="<f4")
    levels = np.rint(embedding / scale[0]).astype(np.int8)
    return b"".join((bytes([_INT8]), scale.tobytes(), levels.tobytes()))


def unpack(packed: bytes, dimension: int) -> NDArray[np.float32]:
    """The embedding that `pack` packed, as near as its format keeps it.

    Raises:
        CorruptFileError: it has another length than `dimension` asks for, no known format, or is not finite.
    """
    skip = 5 if packed[:1] == bytes([_INT8]) else 1
    dtype = {_INT8: "i1", _FLOAT16: "<f2", _FLOAT32: "<f4"}.get(packed[0] if packed else 0)
    if dtype is None or len(packed) - skip != dimension * np.dtype(dtype).itemsize:
        raise CorruptFileError(f"expected a vector of {dimension} numbers, got {len(packed)} bytes")
    embedding = np.frombuffer(packed, dtype, offset=skip).astype(np.float32)
    if skip == 5:
        embedding *= np.frombuffer(packed, "<f4", 1, 1)[0]
    if not np.isfinite(embedding).all():
        raise CorruptFileError("expected a vector of finite numbers")
    return embedding


def is_exact(packed: bytes) -> bool:
    """Whether `unpack` gives back every bit of the embedding."""
    return packed[:1] == bytes([_FLOAT32])


def radius(cosine: float, code_bits: int, *, miss_probability: float = 1e-4) -> int:
    """The distance within which a code lies, but for `miss_probability`, if its cosine is at least `cosine`.

    Each bit differs with probability arccos(cosine) / pi, independently.
    Source: Charikar 2002, Similarity estimation techniques from rounding algorithms, section 3.
    """
    p = math.acos(max(-1.0, min(1.0, cosine))) / math.pi
    if p <= 0.0:
        return 0
    if p >= 1.0:
        return code_bits
    within = 0.0
    for distance in range(code_bits + 1):
        log_share = (
            math.lgamma(code_bits + 1)
            - math.lgamma(distance + 1)
            - math.lgamma(code_bits - distance + 1)
            + distance * math.log(p)
            + (code_bits - distance) * math.log1p(-p)
        )
        within += math.exp(log_share)
        if within >= 1.0 - miss_probability:
            return distance
    return code_bits
