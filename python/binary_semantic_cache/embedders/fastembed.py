"""Any model that the package fastembed runs: ONNX on the CPU, without PyTorch."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders.arguments import check_count, check_name
from binary_semantic_cache.embedders.quiet_runtime import keep_onnxruntime_quiet
from binary_semantic_cache.embedders.texts import checked_texts
from binary_semantic_cache.embedders.vectors import unit_vectors
from binary_semantic_cache.errors import EmbedderError, InvalidValueError, MissingExtraError

__all__ = ["FastEmbedEmbedder"]

# Where the tokenizer cannot be reached: the window of the BERT models that most of fastembed's are.
_DEFAULT_WINDOW = 512
_CHUNK_BYTES = 1 << 20


class FastEmbedEmbedder:
    """Embeds texts with fastembed's `TextEmbedding`, one at a time; vectors have length 1.

    The model is loaded, and downloaded where it is not on this machine, at the first use. Threads may share
    an embedder and take turns.
    """

    def __init__(
        self,
        model_name: str = "BAAI/bge-small-en-v1.5",
        *,
        cache_dir: str | Path | None = None,
        threads: int | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Imports fastembed; loads no model.

        Args:
            model_name: one of `TextEmbedding.list_supported_models()`.
            cache_dir: where models are kept; `None` for fastembed's own choice, a temporary folder.
            threads: CPU threads for one text; `None` for ONNX Runtime's choice.
            local_files_only: never download.

        Raises:
            MissingExtraError: fastembed is not installed.
            InvalidTypeError: an argument has the wrong type.
            InvalidValueError: fastembed has no such model, or `threads` is below 1.
        """
        check_name("model_name", model_name)
        if threads is not None:
            check_count("threads", threads)
        known = {model["model"].casefold(): model for model in _import_class().list_supported_models()}
        found = known.get(model_name.casefold())
        if found is None:
            raise InvalidValueError(
                f"expected a model that fastembed has, got {model_name!r}; "
                "TextEmbedding.list_supported_models() lists them"
            )
        self._name = str(found["model"])
        self._dimension = int(found["dim"])
        self._cache_dir = None if cache_dir is None else str(cache_dir)
        self._threads = threads
        self._local_files_only = local_files_only
        self._lock = threading.RLock()
        self._model: Any = None
        self._counter: Any = None
        self._fingerprint: str | None = None

    @property
    def dimension(self) -> int:
        """Length of one embedding."""
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Names the model, the digest of its files and how fastembed makes one vector of the tokens'.

        Loads the model and, the first time, reads its files. Where this version of fastembed does not tell
        which they are, the version takes the place of the digest.

        Raises:
            EmbedderError: the model could not be loaded, or its files could not be read.
        """
        with self._lock:
            if self._fingerprint is None:
                inner = self._loaded().model
                # The class chooses between mean and first token, and has changed for some models.
                self._fingerprint = f"fastembed/{self._name}/{self._digest(inner)}/{type(inner).__name__}/l2"
            return self._fingerprint

    @property
    def max_tokens(self) -> int | None:
        """Where the tokenizer cuts a text off; `None` if it does not, 512 if fastembed hides it.

        Loads the model.

        Raises:
            EmbedderError: the model could not be loaded.
        """
        tokenizer = getattr(self._loaded().model, "tokenizer", None)
        if tokenizer is None:
            return _DEFAULT_WINDOW
        truncation = tokenizer.truncation
        return None if truncation is None else int(truncation["max_length"])

    def count_tokens(self, text: str) -> int:
        """The tokens of the whole of `text`, marks of start and end included. Loads the model.

        Raises:
            InvalidTypeError: `text` is no string.
            InvalidValueError: `text` is not Unicode.
            EmbedderError: the model could not be loaded, or fastembed hides its tokenizer.
        """
        (item,) = checked_texts([text])
        with self._lock:
            if self._counter is None:
                tokenizer = getattr(self._loaded().model, "tokenizer", None)
                if tokenizer is None:
                    raise EmbedderError(f"{self._name} has no tokenizer that counts tokens")
                # The model's own cuts and pads.
                counter = type(tokenizer).from_str(tokenizer.to_str())
                counter.no_truncation()
                counter.no_padding()
                self._counter = counter
            return len(self._counter.encode(item).ids)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of `texts`, shape `(len(texts), dimension)`, float32, each of length 1.

        An empty text is embedded like any other. Of a text beyond `max_tokens`, the end is cut off.

        Raises:
            InvalidTypeError: `texts` is one string, or one of its items is no string.
            InvalidValueError: a text is not Unicode.
            EmbedderError: the model could not be loaded or run.
        """
        items = checked_texts(texts)
        if not items:
            return np.empty((0, self._dimension), dtype=np.float32)
        with self._lock:
            model = self._loaded()
            try:
                # Quantized models choose scales for each batch: neighbours would change a text's vector.
                rows = list(model.embed(items, batch_size=1))
            except Exception as exc:  # onnxruntime's errors share no class of their own
                raise EmbedderError(f"{self._name} could not be run: {type(exc).__name__}") from exc
        return unit_vectors(rows, len(items), self._dimension)

    def _loaded(self) -> Any:
        with self._lock:
            if self._model is None:
                try:
                    self._model = _import_class()(
                        model_name=self._name,
                        cache_dir=self._cache_dir,
                        threads=self._threads,
                        local_files_only=self._local_files_only,
                    )
                except MissingExtraError:
                    raise
                except Exception as exc:  # errors of downloads, files and onnxruntime share no class
                    raise EmbedderError(f"{self._name} could not be loaded: {exc}") from exc
            return self._model

    def _digest(self, inner: Any) -> str:
        folder = getattr(inner, "_model_dir", None)
        description = getattr(inner, "model_description", None)
        if folder is None or description is None:
            from importlib.metadata import version

            return f"fastembed-{version('fastembed')}"
        names = {description.model_file, *description.additional_files, "tokenizer.json"}
        digest = hashlib.sha256()
        try:
            for path in sorted(Path(folder) / name for name in names):
                if path.is_file():
                    digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
                    with path.open("rb") as file:
                        while chunk := file.read(_CHUNK_BYTES):
                            digest.update(chunk)
        except OSError as exc:
            raise EmbedderError(f"cannot read the files of {self._name}: {exc}") from exc
        return digest.hexdigest()


def _import_class() -> Any:
    keep_onnxruntime_quiet()
    try:
        from fastembed import TextEmbedding
    except ImportError as exc:
        raise MissingExtraError(
            f"{exc.name} is not installed; install the extra `fastembed`: pip install fastembed"
        ) from exc
    return TextEmbedding
