"""What an embedder gives: checked float32 rows, whatever a model or a service answered."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import EmbedderError

__all__ = ["checked_vectors", "unit_vectors"]


def checked_vectors(answer: Any, rows: int, dimension: int | None) -> NDArray[np.float32]:
    """`answer` as float32, shape `(rows, dimension)`, a new array.

    Args:
        answer: an array or a list of lists of numbers.
        rows: how many texts were embedded, 1 or more.
        dimension: length of a row; `None` accepts any above 0.

    Raises:
        EmbedderError: another shape, ragged, not numbers, or not finite as float32.
    """
    try:
        # No dtype here: it would turn "1.5" and None into numbers.
        array = np.asarray(answer)
    except (ValueError, TypeError, OverflowError):
        array = None
    if array is None or array.dtype.kind not in "fiu":
        raise EmbedderError(f"expected {rows} vectors of numbers of one length, got something else")
    if array.ndim != 2 or array.shape[0] != rows:
        raise EmbedderError(f"expected {rows} vectors, got an array of shape {array.shape}")
    if array.shape[1] != dimension and (dimension is not None or array.shape[1] == 0):
        raise EmbedderError(f"expected vectors of {dimension or 'some'} dimensions, got {array.shape[1]}")
    with np.errstate(over="ignore", invalid="ignore"):  # the next line reports what overflows
        vectors = array.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise EmbedderError("expected finite vectors, got a NaN or an infinity")
    return vectors


def unit_vectors(answer: Any, rows: int, dimension: int | None) -> NDArray[np.float32]:
    """`checked_vectors`, each scaled to length 1, so that a dot product is the cosine.

    Servers of one protocol differ in whether they scale; here a model gives the same vectors behind each.

    Raises:
        EmbedderError: as `checked_vectors`, or a vector of zeros: it has no direction.
    """
    vectors = checked_vectors(answer, rows, dimension)
    # float64: squares of large float32 values would overflow.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise EmbedderError("expected vectors with a direction, got one of zeros")
    scaled: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return scaled
