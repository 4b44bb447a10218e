"""An embedder that is asked for each text once, many at a time."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders import Embedder

__all__ = ["RememberingEmbedder"]

_BATCH = 32
_MARKS = 2
"""A text of so many bytes has no more tokens than that, but for the marks of its start and end."""


class RememberingEmbedder:
    """As `inner`, whose embeddings it keeps; for one thread.

    Args:
        inner: the embedder that is asked.
    """

    bounded = True
    """What was learnt beforehand is at hand; whoever measures can wait for the rest."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self._known: dict[str, NDArray[np.float32]] = {}
        self.dimension, self.fingerprint = inner.dimension, inner.fingerprint
        self.max_tokens = inner.max_tokens

    def __len__(self) -> int:
        return len(self._known)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        return np.stack([self.of(text) for text in texts])

    def of(self, text: str) -> NDArray[np.float32]:
        """The embedding of one text."""
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = self._inner.embed([text])[0]
        return found

    def count_tokens(self, text: str) -> int:
        """The tokens of the whole text; its bytes, which are no fewer, where the embedder cannot count."""
        count = getattr(self._inner, "count_tokens", None)
        return int(count(text)) if count is not None else len(text.encode()) + _MARKS

    def learn(self, texts: Iterable[str], progress: Callable[[int], object] = lambda n: None) -> None:
        """Embeds those texts that are not known and that the model sees whole, in batches.

        Args:
            texts: any texts.
            progress: called with the number of texts done since the last call.

        Raises:
            EmbedderError: the embedder failed.
        """
        # Texts of one length together: some models pay for the longest of a batch.
        new = sorted({text for text in texts if text not in self._known and self._fits(text)}, key=len)
        for at in range(0, len(new), _BATCH):
            batch = new[at : at + _BATCH]
            for text, embedding in zip(batch, self._inner.embed(batch), strict=True):
                # A copy: a row of a batch would keep the whole batch in memory.
                self._known[text] = embedding.copy()
            progress(len(batch))

    def _fits(self, text: str) -> bool:
        window = self.max_tokens
        return window is None or len(text.encode()) + _MARKS <= window or self.count_tokens(text) <= window
