"""Any server that speaks OpenAI's embeddings protocol: OpenAI itself, vLLM, llama.cpp, gateways."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders.arguments import check_count, check_name
from binary_semantic_cache.embedders.http import JsonService, checked_base_url
from binary_semantic_cache.embedders.texts import checked_texts
from binary_semantic_cache.embedders.vectors import unit_vectors
from binary_semantic_cache.errors import EmbedderError, InvalidValueError

__all__ = ["OpenAIEmbedder"]

_DEFAULT_BASE_URL = "https://api.openai.com/v1"
_DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
# Source: OpenAI API reference, "Create embeddings", on `input`: 2,048 texts and 300,000 tokens a request.
_MOST_TEXTS = 2048
# A token is at least one byte, so this many bytes are never more tokens than that.
_MOST_REQUEST_BYTES = 300_000
_MOST_BYTES_A_TEXT = 512 << 10  # of an answer: 16,384 dimensions of 32 characters


class OpenAIEmbedder:
    """Embeds texts by `POST {base_url}/embeddings`; vectors have length 1.

    Safe for use from several threads at once and after a fork. Close it, or use it in a `with` statement, to
    give its connections back. A service may compute a text's vector along with those of its neighbours and on
    changing machines: repeated answers are near each other (a cosine of 0.9999), not equal to the bit.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        dimensions: int | None = None,
        timeout_seconds: float = 30.0,
        deadline_seconds: float = 120.0,
        max_retries: int = 3,
        batch_size: int = 256,
        max_tokens: int | None = 8191,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Reads the environment; asks the server nothing.

        Args:
            model: as the server names it.
            base_url: what comes before `/embeddings`; `None` for `OPENAI_BASE_URL`, or OpenAI's own.
            api_key: `None` for `OPENAI_API_KEY`; a server other than OpenAI's may need none.
            dimensions: asks for shorter vectors; `None` for the model's own length.
            timeout_seconds: longest one attempt may last.
            deadline_seconds: longest one request may last, its attempts and the pauses between them together.
            max_retries: attempts after the first, on status 408, 429, 5xx, timeouts and lost connections.
            batch_size: most texts in one request, 1 to 2,048. A request holds 300,000 bytes of text at most.
            max_tokens: the model's window; the default is that of OpenAI's models. Nothing is cut off here.
            sleep: what waits between attempts.

        Raises:
            MissingExtraError: httpx is not installed.
            InvalidTypeError: an argument has the wrong type.
            InvalidValueError: an argument is out of range, or there is no key for OpenAI's own server.
        """
        check_name("model", model)
        check_count("batch_size", batch_size, most=_MOST_TEXTS)
        if dimensions is not None:
            check_count("dimensions", dimensions)
        if max_tokens is not None:
            check_count("max_tokens", max_tokens)
        if base_url is None:
            base_url = os.environ.get("OPENAI_BASE_URL") or _DEFAULT_BASE_URL
        self._base_url = checked_base_url(base_url)
        api_key = os.environ.get("OPENAI_API_KEY") or None if api_key is None else api_key
        if api_key is None and self._base_url == _DEFAULT_BASE_URL:
            raise InvalidValueError("no key: pass api_key, or set OPENAI_API_KEY")
        self._service = JsonService(
            self._base_url,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            deadline_seconds=deadline_seconds,
            max_retries=max_retries,
            sleep=sleep,
        )
        self._model = model
        self._asked_dimensions = dimensions
        self._dimension = dimensions or _DIMENSIONS.get(model)
        self._batch_size = batch_size
        self._max_tokens = max_tokens

    @property
    def dimension(self) -> int:
        """Length of one embedding. Of a model that is not OpenAI's, the server is asked once, by one word.

        Raises:
            EmbedderError: the server had to be asked and gave no usable answer.
        """
        if self._dimension is None:
            self._embed_batch(["dimension"])
        assert self._dimension is not None
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Names the server's address, the model and the asked length.

        The protocol tells nothing of the weights: a server that changes them behind a name goes unnoticed.
        """
        address = self._base_url.partition("://")[2]
        return f"openai/{address}/{self._model}/{self._asked_dimensions or 'full'}/l2"

    @property
    def max_tokens(self) -> int | None:
        """The `max_tokens` given at construction. Most servers refuse a longer text; some cut its end off."""
        return self._max_tokens

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of `texts`, shape `(len(texts), dimension)`, float32, each of length 1.

        Raises:
            InvalidTypeError: `texts` is one string, or one of its items is no string.
            InvalidValueError: a text is empty, which the protocol forbids, or is not Unicode.
            EmbedderError: the server gave no usable answer.
        """
        items = checked_texts(texts)
        if "" in items:
            place = items.index("")
            raise InvalidValueError(f"expected text at position {place}, got an empty string: it is refused")
        parts = [self._embed_batch(batch) for batch in self._batches(items)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), dtype=np.float32)

    def close(self) -> None:
        """Closes the connections; the embedder cannot be used afterwards."""
        self._service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batches(self, texts: list[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        filled = 0
        for text in texts:
            size = len(text.encode("utf-8"))
            if batch and (len(batch) == self._batch_size or filled + size > _MOST_REQUEST_BYTES):
                yield batch
                batch, filled = [], 0
            batch.append(text)
            filled += size
        if batch:
            yield batch

    def _embed_batch(self, batch: list[str]) -> NDArray[np.float32]:
        body: dict[str, Any] = {"model": self._model, "input": batch, "encoding_format": "float"}
        if self._asked_dimensions is not None:
            body["dimensions"] = self._asked_dimensions
        answer = self._service.request(
            "POST", "embeddings", body, most_bytes=(1 << 20) + len(batch) * _MOST_BYTES_A_TEXT
        )
        vectors = unit_vectors(_in_order(answer, len(batch)), len(batch), self._dimension)
        self._dimension = vectors.shape[1]
        return vectors


def _in_order(answer: Any, count: int) -> list[Any]:
    """The vectors of `answer` by their `index`: the protocol does not promise their order."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise EmbedderError("expected an object with a list `data`, got something else")
    if len(data) != count:
        raise EmbedderError(f"expected {count} vectors, got {len(data)}")
    # Servers that leave the index out send the vectors in order.
    indices = [item.get("index", place) for place, item in enumerate(data)]
    if any(type(index) is not int for index in indices) or sorted(indices) != list(range(count)):
        raise EmbedderError(f"expected each index from 0 to {count - 1} once, got others")
    rows: list[Any] = [None] * count
    for index, item in zip(indices, data, strict=True):
        rows[index] = item.get("embedding")
    return rows
