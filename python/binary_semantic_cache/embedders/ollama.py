"""Models that an Ollama server runs, on this machine or another."""

import os
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders.arguments import check_count, check_name
from binary_semantic_cache.embedders.http import JsonService, checked_base_url
from binary_semantic_cache.embedders.texts import checked_texts
from binary_semantic_cache.embedders.vectors import unit_vectors
from binary_semantic_cache.errors import EmbedderError

__all__ = ["OllamaEmbedder"]

_DEFAULT_HOST = "127.0.0.1"
_DEFAULT_PORT = "11434"
# Window that Ollama gives a model whose Modelfile sets no `num_ctx`; machines with much memory get more.
# Source: Ollama FAQ, "How can I specify the context window size?".
_DEFAULT_CONTEXT = 4096
# Where the model states no window at all: the smallest that embedding models commonly have.
_LEAST_CONTEXT = 512
_MOST_BYTES_A_TEXT = 512 << 10  # of an answer: 16,384 dimensions of 32 characters


class OllamaEmbedder:
    """Embeds texts by `POST /api/embed`, one text a request by default; vectors have length 1.

    Nothing is cut off: a text beyond the window is refused by the server. Safe for use from several threads
    at once and after a fork. Close it, or use it in a `with` statement, to give its connections back.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        timeout_seconds: float = 60.0,
        deadline_seconds: float = 180.0,
        max_retries: int = 3,
        batch_size: int = 1,
        max_tokens: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Reads the environment; asks the server nothing.

        Args:
            model: as `ollama list` names it; `:latest` may be left out.
            base_url: `None` for what `OLLAMA_HOST` says, or http://127.0.0.1:11434.
            timeout_seconds: longest one attempt may last. The first may have to load the model.
            deadline_seconds: longest one request may last, its attempts and the pauses between them together.
            max_retries: attempts after the first, on status 408, 429, 5xx, timeouts and lost connections.
            batch_size: most texts in one request. With 2 and more, a text's vector may depend on its
                neighbours. Source: ollama issue 6262, "Batch embeddings get progressively worse".
            max_tokens: asks the server for this window (`num_ctx`); `None` for the one the model has.
            sleep: what waits between attempts.

        Raises:
            MissingExtraError: httpx is not installed.
            InvalidTypeError: an argument has the wrong type.
            InvalidValueError: an argument is out of range.
        """
        check_name("model", model)
        check_count("batch_size", batch_size)
        if max_tokens is not None:
            check_count("max_tokens", max_tokens)
        self._service = JsonService(
            checked_base_url(_environment_url() if base_url is None else base_url),
            timeout_seconds=timeout_seconds,
            deadline_seconds=deadline_seconds,
            max_retries=max_retries,
            sleep=sleep,
        )
        self._model = model
        self._batch_size = batch_size
        self._options = {} if max_tokens is None else {"num_ctx": max_tokens}
        self._max_tokens = max_tokens
        self._dimension: int | None = None
        self._digest: str | None = None

    @property
    def dimension(self) -> int:
        """Length of one embedding; the server is asked once, by one word.

        Raises:
            EmbedderError: the server had to be asked and gave no usable answer.
        """
        if self._dimension is None:
            self._embed_batch(["dimension"])
        assert self._dimension is not None
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Names the model and its digest, which the server is asked for once.

        The server's address is no part of it: the digest tells that two servers run the same model. A model
        pulled anew has another digest, which an embedder made afterwards sees.

        Raises:
            EmbedderError: the server does not have the model, or gave no usable answer.
        """
        if self._digest is None:
            self._digest = self._ask_digest()
        return f"ollama/{self._full_name()}/{self._digest}/l2"

    @property
    def max_tokens(self) -> int:
        """The window: as given, or the smaller of what the model was trained for and what it is run with.

        The server is asked once. It is run with the Modelfile's `num_ctx`, or 4,096 tokens where that is not
        set. Where the server does not tell what the model was trained for, 512.

        Raises:
            EmbedderError: the server had to be asked and gave no usable answer.
        """
        if self._max_tokens is None:
            self._max_tokens = self._ask_window()
        return self._max_tokens

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of `texts`, shape `(len(texts), dimension)`, float32, each of length 1.

        An empty text is sent like any other: whether it has an embedding is for the model to say.

        Raises:
            InvalidTypeError: `texts` is one string, or one of its items is no string.
            InvalidValueError: a text is not Unicode.
            EmbedderError: the server gave no usable answer, or a text is longer than the window.
        """
        items = checked_texts(texts)
        size = self._batch_size
        parts = [self._embed_batch(items[start : start + size]) for start in range(0, len(items), size)]
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

    def _embed_batch(self, batch: list[str]) -> NDArray[np.float32]:
        body: dict[str, Any] = {"model": self._model, "input": batch, "truncate": False}
        if self._options:
            body["options"] = self._options
        answer = self._service.request(
            "POST", "api/embed", body, most_bytes=(1 << 20) + len(batch) * _MOST_BYTES_A_TEXT
        )
        rows = answer.get("embeddings") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise EmbedderError("expected an object with a list `embeddings`, got something else")
        if len(rows) != len(batch):
            raise EmbedderError(f"expected {len(batch)} vectors, got {len(rows)}")
        vectors = unit_vectors(rows, len(batch), self._dimension)
        self._dimension = vectors.shape[1]
        return vectors

    def _full_name(self) -> str:
        """The model's name with its tag: a colon before the last slash belongs to a registry's port."""
        return self._model if ":" in self._model.rpartition("/")[2] else f"{self._model}:latest"

    def _ask_digest(self) -> str:
        answer = self._service.request("GET", "api/tags")
        models = answer.get("models") if isinstance(answer, dict) else None
        wanted = self._full_name().casefold()
        for model in models if isinstance(models, list) else []:
            name = model.get("model") or model.get("name") if isinstance(model, dict) else None
            if isinstance(name, str) and name.casefold() == wanted:
                digest = model.get("digest")
                if not isinstance(digest, str) or not digest.isalnum():
                    raise EmbedderError(f"{self._service.host} gave no usable digest of {self._model}")
                return digest
        raise EmbedderError(f"{self._service.host} has no model {self._model}; ollama pull {self._model}")

    def _ask_window(self) -> int:
        answer = self._service.request("POST", "api/show", {"model": self._model}, most_bytes=64 << 20)
        facts = answer if isinstance(answer, dict) else {}
        about = facts.get("model_info")
        architecture = about.get("general.architecture") if isinstance(about, dict) else None
        trained = about.get(f"{architecture}.context_length") if isinstance(about, dict) else None
        if type(trained) is not int or trained < 1:
            return _LEAST_CONTEXT
        return min(trained, _parameter(facts.get("parameters"), "num_ctx") or _DEFAULT_CONTEXT)


def _parameter(parameters: Any, name: str) -> int | None:
    """The value of `name` among a Modelfile's parameters: one a line, name and value apart by spaces."""
    for line in parameters.splitlines() if isinstance(parameters, str) else []:
        words = line.split()
        if len(words) == 2 and words[0] == name and words[1].isdecimal():
            return int(words[1]) or None
    return None


def _environment_url() -> str:
    """The server that `OLLAMA_HOST` names, by the rules of Ollama itself.

    A scheme, a port or both may be missing; `0.0.0.0`, where a server listens, is this machine for a client.

    Source: ollama, envconfig/config.go, `Host`.
    """
    value = os.environ.get("OLLAMA_HOST", "").strip().strip("\"'")
    scheme, found, rest = value.partition("://")
    if not found:
        scheme, rest = "http", value
    port = {"http": "80", "https": "443"}[scheme] if found and scheme in ("http", "https") else _DEFAULT_PORT
    hostport, slash, path = rest.partition("/")
    host = hostport
    if hostport.startswith("["):
        host, _, tail = hostport[1:].partition("]")
        port = tail.removeprefix(":") or port
    elif hostport.count(":") == 1:
        host, _, given = hostport.partition(":")
        port = given or port
    host = host or _DEFAULT_HOST
    try:
        address = ip_address(host)
    except ValueError:
        pass
    else:
        if address.is_unspecified:
            host = _DEFAULT_HOST if address.version == 4 else "::1"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{slash}{path}"
