"""From a text to its embedding and code, within a time limit, or to the reason why it has none."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import EmbedderError
from binary_semantic_cache.text.deadline import Guarded
from binary_semantic_cache.text.vectors import unit

__all__ = ["CodedText", "Coder", "Missed"]

# The words of a code as entries carry them.
_LITTLE = np.dtype("<u8")
# A text of so many bytes has no more tokens than that, but for the marks of its start and end.
_MARKS = 2
# Beyond so many characters a token a text is not even counted.
_MOST_CHARACTERS_A_TOKEN = 64
# Requests that may be waiting for their answers; at 384 dimensions half a megabyte.
_MOST_MISSED = 256


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
        self.embeds = bool(getattr(embedder, "embeds", True))
        """Whether there is an embedder at all; see `AbsentEmbedder`."""
        self._embed_and_encode = getattr(embedder, "embed_and_encode", None)
        bounded = bool(getattr(embedder, "bounded", False))
        self._calls: Guarded[CodedText | None] = Guarded("embedder", bounded=bounded)

    @property
    def window(self) -> int | None:
        """The embedder's `max_tokens`."""
        return self._embedder.max_tokens

    def is_hopeless(self, text: str) -> bool:
        """Whether `text` is so long that it need not even be counted."""
        window = self._embedder.max_tokens
        return window is not None and len(text) > _MOST_CHARACTERS_A_TOKEN * window

    def code(self, text: str, deadline: float) -> CodedText | None:
        """The embedding and code of `text`; `None` if the embedder would not see all of it.

        Raises:
            UnavailableError: the embedder failed or was too slow.
        """
        return self._calls.call(lambda: None if self._is_too_long(text) else self._coded([text])[0], deadline)

    def code_many(self, texts: Sequence[str]) -> list[CodedText | None]:
        """As `code` of each, in one call of the embedder and without a time limit. Raises what it raises."""
        seen = [text for text in texts if not self._is_too_long(text)]
        if not seen:
            return [None] * len(texts)
        coded = dict(zip(seen, self._coded(seen), strict=True))
        return [coded.get(text) for text in texts]

    def _coded(self, texts: Sequence[str]) -> list[CodedText]:
        if self._embed_and_encode is not None:
            made, codes = self._embed_and_encode(texts, self._encoder)
            units = self._units(made, len(texts))
            return [CodedText(*coded) for coded in zip(units, map(_as_carried, codes), strict=True)]
        units = self._units(np.asarray(self._embedder.embed(texts)), len(texts))
        return [CodedText(embedding, _as_carried(self._encoder.encode(embedding))) for embedding in units]

    def _units(self, made: NDArray[Any], n: int) -> list[NDArray[np.float32]]:
        """The rows of what an embedder made, each of length 1. Raises `EmbedderError` for what has none."""
        shape = (n, self._encoder.embedding_dim)
        if made.shape == shape:
            units = [_unit(row) for row in made.astype(np.float32, copy=False)]
            found = [row for row in units if row is not None]
            if len(found) == n:
                return found
        raise EmbedderError(
            f"expected finite embeddings of shape {shape}, none all zeros, got shape {made.shape}"
        )

    def _is_too_long(self, text: str) -> bool:
        """Whether the embedder would see only a part; said early where it cannot be counted."""
        window = self._embedder.max_tokens
        if window is None or len(text.encode()) + _MARKS <= window:
            return False
        count = getattr(self._embedder, "count_tokens", None)
        if count is None or self.is_hopeless(text):
            return True
        return bool(count(text) > window)


class Missed:
    """What lookups that missed have coded, until the put that follows takes it.

    Lookups do not read it: their time must not tell what was asked before. Any thread may call, and a fork
    finds no lock: each step is one call of `OrderedDict`.
    """

    def __init__(self) -> None:
        self._coded: OrderedDict[bytes, CodedText] = OrderedDict()

    def remember(self, key: bytes, coded: CodedText) -> None:
        """Keeps `coded` under the request's key; the oldest leaves."""
        self._coded[key] = coded
        if len(self._coded) > _MOST_MISSED:
            with suppress(KeyError):  # others took the rest
                self._coded.popitem(last=False)

    def take(self, key: bytes) -> CodedText | None:
        """What was kept under `key`, once."""
        return self._coded.pop(key, None)


def _as_carried(code: NDArray[np.uint64]) -> bytes:
    carried: bytes = code.astype(_LITTLE, copy=False).tobytes()
    return carried


def _unit(row: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """`row` scaled to length 1; `None` where it has no direction."""
    square = float(row @ row)
    # One product says it of nearly all; one that over- or underflows is looked at number by number.
    if 0.0 < square < math.inf:
        return row / np.float32(math.sqrt(square))
    return unit(row) if np.isfinite(row).all() and row.any() else None
