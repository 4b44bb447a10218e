"""What the cache asks of an encoder, and what an archive remembers of it."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoder", "EncoderIdentity"]


class EncoderIdentity(Protocol):
    """What makes codes comparable: two encoders that agree in all of this give equal codes."""

    @property
    def embedding_dim(self) -> int:
        """Length of the embeddings it takes."""

    @property
    def code_bits(self) -> int:
        """Bits in a code."""

    @property
    def n_words(self) -> int:
        """64-bit words in a code."""

    @property
    def seed(self) -> int | None:
        """What the projection was drawn from; `None` when it was given as a matrix."""

    @property
    def projection_checksum(self) -> str:
        """Hex digest of the projection."""


class Encoder(EncoderIdentity, Protocol):
    """Turns embeddings into codes: `RustBinaryEncoder`, or what behaves like it."""

    def encode(self, x: NDArray[Any]) -> NDArray[np.uint64]:
        """One code `(n_words,)` for `(embedding_dim,)`, `(n, n_words)` for `(n, embedding_dim)`."""
