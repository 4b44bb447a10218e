"""The local model on ONNX Runtime: the float32 model, and int8 where Rust has no kernels for the machine."""

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
    Manifest,
    read_verified,
)
from binary_semantic_cache.embedders.quiet_runtime import keep_onnxruntime_quiet
from binary_semantic_cache.errors import EmbedderError, InvalidValueError, MissingExtraError

__all__ = ["INSTALL_EXTRA", "OnnxModel", "import_runtime"]

INSTALL_EXTRA = "install the extra `local`: pip install onnxruntime tokenizers onnx safetensors"


class OnnxModel:
    """Tokenizer and session, with the two methods of `TextModel` that `LocalEmbedder` calls."""

    def __init__(self, folder: Path, manifest: Manifest, threads: int) -> None:
        """Reads the model, after its digest is checked.

        Args:
            folder: where the model is.
            manifest: what its folder says of it.
            threads: CPU threads for one text.

        Raises:
            MissingExtraError: the extra `local` is not installed.
            EmbedderError: a file is damaged or missing, or ONNX Runtime refuses it.
        """
        onnxruntime, tokenizers = import_runtime()
        self._folder = folder
        network = read_verified(folder, MODEL_FILE, manifest)
        published = read_verified(folder, TOKENIZER_FILE, manifest)
        self._tokenizer = tokenizers.Tokenizer.from_str(published.decode("utf-8"))
        # The published file pads and cuts at 128 tokens.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # onnxruntime's errors share no class of their own
            raise EmbedderError(f"the model in {folder} could not be loaded: {exc}") from exc

    def token_ids(self, text: str) -> list[int]:
        """The ids of the whole of `text`, with those that mark its start and end.

        Raises:
            InvalidValueError: `text` has a lone surrogate.
        """
        try:
            ids: list[int] = self._tokenizer.encode(text).ids
        except (TypeError, UnicodeEncodeError) as exc:
            raise InvalidValueError("expected Unicode text, got a string with a lone surrogate") from exc
        return ids

    def embed(self, texts: Sequence[str], *, threads: int) -> NDArray[np.float32]:
        """The embeddings of `texts`; `threads` was told to the session.

        Raises:
            EmbedderError: ONNX Runtime failed.
        """
        ids = [self.token_ids(text) for text in texts]
        vectors = np.empty((len(ids), DIMENSION), dtype=np.float32)
        for row, text_ids in enumerate(ids):
            # One text a run: quantization scales are chosen for each run, see model_convert.
            vectors[row] = self._run(text_ids)
        return vectors

    def _run(self, ids: list[int]) -> NDArray[np.float32]:
        if len(ids) > WINDOW:
            ids = [*ids[: WINDOW - 1], ids[-1]]  # the end mark stays
        feed: dict[str, Any] = {"input_ids": np.array(ids, dtype=np.int64)}
        try:
            vector: NDArray[np.float32] = self._session.run(None, feed)[0]
        except Exception as exc:  # onnxruntime's errors share no class of their own
            raise EmbedderError(f"the model in {self._folder} could not be run: {exc}") from exc
        return vector


def import_runtime() -> tuple[Any, Any]:
    """The packages onnxruntime, which reports nothing, and tokenizers.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    keep_onnxruntime_quiet()
    try:
        import onnxruntime
        import tokenizers
    except ImportError as exc:
        raise MissingExtraError(f"{exc.name} is not installed; {INSTALL_EXTRA}") from exc
    return onnxruntime, tokenizers
