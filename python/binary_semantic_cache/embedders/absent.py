"""Nothing in the place of an embedder, for a cache that is asked for exact repeats alone."""

from collections.abc import Sequence
from typing import NoReturn

from binary_semantic_cache.embedders.arguments import check_count, check_name
from binary_semantic_cache.errors import EmbedderError

__all__ = ["AbsentEmbedder"]


class AbsentEmbedder:
    """Has the name of an embedder, so that its cache can be opened, and embeds nothing.

    What is put is found by exact repeats alone, also once the embedder itself is back.
    """

    bounded = True
    embeds = False
    """Read by the cache, which then does not ask."""
    max_tokens = None

    def __init__(self, fingerprint: str, dimension: int) -> None:
        """Loads nothing.

        Args:
            fingerprint: of the embedder that the cache was filled with.
            dimension: length of its embeddings.

        Raises:
            InvalidTypeError, InvalidValueError: an argument has the wrong type or is out of range.
        """
        check_name("fingerprint", fingerprint)
        check_count("dimension", dimension)
        self._fingerprint = fingerprint
        self._dimension = dimension

    @property
    def dimension(self) -> int:
        """Length of one embedding, as given."""
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """The fingerprint, as given."""
        return self._fingerprint

    def embed(self, texts: Sequence[str]) -> NoReturn:
        """Embeds nothing.

        Raises:
            EmbedderError: always.
        """
        raise EmbedderError(f"the cache was opened without {self._fingerprint}, for exact repeats alone")
