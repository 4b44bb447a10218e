"""From a text to its embedding and code, within a time limit, or to the reason why it has none."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import EmbedderError
from binary_semantic_cache.text.deadline import Guarded
from binary_semantic_cache.text.vectors import unit

__all__ = ["CodedText", "Coder"]

# A text of so many bytes has no more tokens than that, but for the marks of its start and end.
_MARKS = 2
# Beyond so many characters a token a text is not even counted.
_MOST_CHARACTERS_A_TOKEN = 64


@dataclass(frozen=True, slots=True, eq=False)
class CodedText:
    """What search and re-scoring need of a text."""

    embedding: NDArray[np.float32]
    """Of length 1."""
    code: bytes
    """The binary code as little-endian words."""


class Coder:
    """Embeds texts one at a time and encodes them."""

    def __init__(self, embedder: Embedder, encoder: RustBinaryEncoder) -> None:
        self._embedder = embedder
        self._encoder = encoder
        bounded = bool(getattr(embedder, "bounded", False))
        self._calls: Guarded[CodedText | None] = Guarded("embedder", bounded=bounded)

    @property
    def window(self) -> int | None:
        """The embedder's `max_tokens`."""
        return self._embedder.max_tokens

    def code(self, text: str, deadline: float) -> CodedText | None:
        """The embedding and code of `text`; `None` if the embedder would not see all of it.

        Raises:
            UnavailableError: the embedder failed or was too slow.
        """
        return self._calls.call(lambda: self._coded(text), deadline)

    def _coded(self, text: str) -> CodedText | None:
        if self._is_too_long(text):
            return None
        made: NDArray[Any] = np.asarray(self._embedder.embed([text]))
        dimension = self._encoder.embedding_dim
        if made.shape != (1, dimension) or not np.isfinite(made).all() or not made.any():
            raise EmbedderError(
                f"expected a finite embedding of shape (1, {dimension}), not all zeros, got {made.shape}"
            )
        embedding = unit(made[0].astype(np.float32))
        return CodedText(embedding, self._encoder.encode(embedding).astype("<u8").tobytes())

    def _is_too_long(self, text: str) -> bool:
        """Whether the embedder would see only a part; said early where it cannot be counted."""
        window = self._embedder.max_tokens
        if window is None or len(text.encode()) + _MARKS <= window:
            return False
        count = getattr(self._embedder, "count_tokens", None)
        if count is None or len(text) > _MOST_CHARACTERS_A_TOKEN * window:
            return True
        return bool(count(text) > window)
