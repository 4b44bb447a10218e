"""Text to embedding: the `Embedder` protocol; each embedder is a module of its own."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Embedder"]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into embeddings.

    A text's embedding depends on the text alone, never on its neighbours in a call.

    Some have `count_tokens(text) -> int` besides: the tokens of the whole of a text, to be compared with
    `max_tokens`. It is no part of the protocol, because a service does not tell. One that waits for nobody
    (no network, no lock held for long) says so by `bounded = True` and is then called without a thread of its
    own. One that takes less time for both than for one after the other has
    `embed_and_encode(texts, encoder) -> (embeddings, codes)`: embeddings of length 1, float32, and what
    `encoder`, a `RustBinaryEncoder`, makes of them, `(len(texts), n_words)` uint64. One that stands for
    another and embeds nothing has `embeds = False`, and is not asked.
    """

    @property
    def dimension(self) -> int:
        """Length of one embedding."""

    @property
    def fingerprint(self) -> str:
        """Names the model, its weights (by digest) and all that shapes its vectors.

        Two embedders with equal fingerprints give equal vectors; a cache filled by one refuses another.
        """

    @property
    def max_tokens(self) -> int | None:
        """Longest text, in the model's tokens, that is embedded whole; `None` when there is no limit."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of `texts`, shape `(len(texts), dimension)`, float32, finite; for no texts, no rows.

        Raises:
            InvalidTypeError: `texts` is one string, or one of its items is no string.
            InvalidValueError: a text is not Unicode, or one that the model refuses.
            EmbedderError: the model could not be run.
        """
