"""all-MiniLM-L6-v2 on this machine's CPU: 384 dimensions, no network, no PyTorch."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders.model_folder import (
    DIMENSION,
    MODEL_FILE,
    TOKENIZER_FILE,
    WINDOW,
    Precision,
    find_model_folder,
    read_manifest,
    read_verified,
)
from binary_semantic_cache.errors import (
    EmbedderError,
    InvalidTypeError,
    InvalidValueError,
    MissingExtraError,
)

__all__ = ["INSTALL_EXTRA", "LocalEmbedder"]

INSTALL_EXTRA = "install the extra `local`: pip install onnxruntime tokenizers onnx safetensors"


class LocalEmbedder:
    """Embeds English text with all-MiniLM-L6-v2: mean of the token vectors, scaled to length 1.

    The model is loaded at the first use, after its digest is checked. Safe for use from several threads at
    once; with `threads=1` it starts none of its own.
    """

    bounded = True
    """It waits for nobody: a text takes as long as its tokens, of which there are 256 at most."""

    def __init__(
        self,
        model_folder: str | Path | None = None,
        *,
        precision: Precision | None = None,
        threads: int = 1,
    ) -> None:
        """Finds the model; loads nothing large and downloads nothing.

        Args:
            model_folder: what `bsc model install` made; `None` for the default folder of `precision`.
            precision: what the model must have; `None` for int8 in the default folder, any in another.
            threads: CPU threads for one text. More shorten long texts; for throughput, one a text is best.

        Raises:
            ModelNotFoundError: the model is not installed.
            MissingExtraError: the extra `local` is not installed.
            EmbedderError: the folder is damaged, or holds another precision.
        """
        if isinstance(threads, bool) or not isinstance(threads, int):
            raise InvalidTypeError(f"expected threads to be an int, got {type(threads).__name__}")
        if threads < 1:
            raise InvalidValueError(f"expected at least 1 thread, got {threads}")
        if precision not in (None, "int8", "float32"):
            raise InvalidValueError(f"expected precision 'int8' or 'float32', got {precision!r}")
        _import_runtime()
        self._folder = find_model_folder(precision or "int8") if model_folder is None else Path(model_folder)
        self._manifest = read_manifest(self._folder)
        if precision is not None and self._manifest.precision != precision:
            found = self._manifest.precision
            raise EmbedderError(f"expected the {precision} model in {self._folder}, got {found}")
        self._threads = threads
        self._lock = threading.Lock()
        self._network: Any = None
        self._tokenizer: Any = None

    @property
    def dimension(self) -> int:
        """Length of one embedding: 384."""
        return DIMENSION

    @property
    def fingerprint(self) -> str:
        """Names the model, the digests of its files, and how tokens become one vector."""
        return self._manifest.fingerprint

    @property
    def max_tokens(self) -> int:
        """256: of a longer text only the first 256 tokens are embedded."""
        return WINDOW

    def count_tokens(self, text: str) -> int:
        """The tokens of the whole of `text`, the two that mark its start and end included.

        More than `max_tokens` means that `embed` cuts the end off.
        """
        return len(self._token_ids(text))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of `texts`, shape `(len(texts), 384)`, float32, each of length 1.

        Raises:
            InvalidTypeError: `texts` is one string, or one of its items is no string.
            InvalidValueError: a text is not Unicode (it has a lone surrogate).
            EmbedderError: the model is damaged or could not be run.
        """
        if isinstance(texts, str):
            raise InvalidTypeError("expected a sequence of strings, got one string; write embed([text])")
        ids = [self._token_ids(text) for text in texts]
        vectors = np.empty((len(ids), DIMENSION), dtype=np.float32)
        for row, text_ids in enumerate(ids):
            # One text a run: quantization scales are chosen for each run, see model_convert.
            vectors[row] = self._run(text_ids)
        return vectors

    def _token_ids(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise InvalidTypeError(f"expected a string, got {type(text).__name__}")
        self._load()
        try:
            ids: list[int] = self._tokenizer.encode(text).ids
        except (TypeError, UnicodeEncodeError) as exc:
            raise InvalidValueError("expected Unicode text, got a string with a lone surrogate") from exc
        return ids

    def _run(self, ids: list[int]) -> NDArray[np.float32]:
        if len(ids) > WINDOW:
            ids = [*ids[: WINDOW - 1], ids[-1]]  # the end mark stays
        try:
            vector: NDArray[np.float32] = self._network.run(
                None, {"input_ids": np.array(ids, dtype=np.int64)}
            )[0]
        except Exception as exc:  # onnxruntime's errors share no class of their own
            raise EmbedderError(f"the model in {self._folder} could not be run: {exc}") from exc
        return vector

    def _load(self) -> None:
        if self._network is not None:
            return
        with self._lock:
            if self._network is not None:
                return
            onnxruntime, tokenizers = _import_runtime()
            network = read_verified(self._folder, MODEL_FILE, self._manifest)
            published = read_verified(self._folder, TOKENIZER_FILE, self._manifest)
            tokenizer = tokenizers.Tokenizer.from_str(published.decode("utf-8"))
            # The published file pads and cuts at 128 tokens.
            tokenizer.no_padding()
            tokenizer.no_truncation()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
            try:
                session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
            except Exception as exc:  # onnxruntime's errors share no class of their own
                raise EmbedderError(f"the model in {self._folder} could not be loaded: {exc}") from exc
            self._tokenizer = tokenizer
            self._network = session  # last: it tells other threads that both are there


def _import_runtime() -> tuple[Any, Any]:
    try:
        import onnxruntime
        import tokenizers
    except ImportError as exc:
        raise MissingExtraError(f"{exc.name} is not installed; {INSTALL_EXTRA}") from exc
    return onnxruntime, tokenizers
