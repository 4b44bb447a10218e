"""all-MiniLM-L6-v2 on this machine's CPU: 384 dimensions, no network, no PyTorch.

The int8 model runs in Rust, or, where Rust has no kernels for the machine, on ONNX Runtime, as the float32
model does. Both run one network from one file. But dynamic quantization turns a difference in the last bit of
a sum into one of a level, and that into many: for three texts in ten the vectors differ, by up to 0.01 in
cosine, as those of two versions of ONNX Runtime do. So Rust, whose bits are the same everywhere, has a
fingerprint of its own.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder, TextModel
from binary_semantic_cache.embedders.arguments import check_count
from binary_semantic_cache.embedders.model_folder import (
    DIMENSION,
    WINDOW,
    Precision,
    find_model_folder,
    read_manifest,
)
from binary_semantic_cache.embedders.onnx_model import INSTALL_EXTRA, OnnxModel, import_runtime
from binary_semantic_cache.embedders.text_encoder import (
    MOST_THREADS,
    check_runs_in_rust,
    load_text_model,
    runs_in_rust,
    rust_fingerprint,
)
from binary_semantic_cache.embedders.texts import checked_texts
from binary_semantic_cache.errors import EmbedderError, InvalidValueError
from binary_semantic_cache.fork import keep_over_fork

__all__ = ["INSTALL_EXTRA", "LocalEmbedder", "Runtime"]

Runtime = Literal["rust", "onnxruntime"]


class LocalEmbedder:
    """Embeds English text with all-MiniLM-L6-v2: mean of the token vectors, scaled to length 1.

    The model is loaded at the first use, after its digest is checked. Safe for use from several threads at
    once, and on both sides of a fork; with `threads=1` it starts none of its own. In Rust it needs no other
    package and gives the same bits on every machine.
    """

    bounded = True
    """It waits for nobody: a text takes as long as its tokens, of which there are 256 at most."""

    def __init__(
        self,
        model_folder: str | Path | None = None,
        *,
        precision: Precision | None = None,
        threads: int = 1,
        runtime: Runtime | None = None,
    ) -> None:
        """Finds the model; loads nothing large and downloads nothing.

        Args:
            model_folder: what `bsc model install` made; `None` for the default folder of `precision`.
            precision: what the model must have; `None` for int8 in the default folder, any in another.
            threads: CPU threads. In Rust they share the texts of a call; ONNX Runtime sets all to one text.
            runtime: `None` for Rust where it can run the model, else ONNX Runtime. The vectors of the two
                differ, and so do the fingerprints: name one to open a cache that was filled with it.

        Raises:
            ModelNotFoundError: the model is not installed.
            MissingExtraError: ONNX Runtime is to run the model, and the extra `local` is not installed.
            EmbedderError: the folder is damaged or holds another precision, or one that Rust is asked to run
                and cannot.
        """
        check_count("threads", threads, most=MOST_THREADS)
        if runtime not in (None, "rust", "onnxruntime"):
            raise InvalidValueError(f"expected runtime 'rust' or 'onnxruntime', got {runtime!r}")
        if precision not in (None, "int8", "float32"):
            raise InvalidValueError(f"expected precision 'int8' or 'float32', got {precision!r}")
        self._folder = find_model_folder(precision or "int8") if model_folder is None else Path(model_folder)
        self._manifest = read_manifest(self._folder)
        if precision is not None and self._manifest.precision != precision:
            found = self._manifest.precision
            raise EmbedderError(f"expected the {precision} model in {self._folder}, got {found}")
        self._in_rust = runtime == "rust" or (runtime is None and runs_in_rust(self._manifest))
        if self._in_rust:
            check_runs_in_rust(self._manifest)
        else:
            import_runtime()
        self._threads = threads
        self._model = _Slot(self._load, kept_over_fork=self._in_rust or threads == 1)

    @property
    def dimension(self) -> int:
        """Length of one embedding: 384."""
        return DIMENSION

    @property
    def fingerprint(self) -> str:
        """Names the model, the digests of its files, how tokens become one vector, and Rust for its own."""
        return rust_fingerprint(self._manifest) if self._in_rust else self._manifest.fingerprint

    @property
    def max_tokens(self) -> int:
        """256: of a longer text only the first 256 tokens are embedded."""
        return WINDOW

    def count_tokens(self, text: str) -> int:
        """The tokens of the whole of `text`, the two that mark its start and end included.

        More than `max_tokens` means that `embed` cuts the end off.
        """
        (item,) = checked_texts([text])
        return len(self._model.get().token_ids(item))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of `texts`, shape `(len(texts), 384)`, float32, each of length 1.

        Raises:
            InvalidTypeError: `texts` is one string, or one of its items is no string.
            InvalidValueError: a text is not Unicode (it has a lone surrogate).
            EmbedderError: the model is damaged or could not be run.
        """
        return self._model.get().embed(checked_texts(texts), threads=self._threads)

    def embed_and_encode(
        self, texts: Sequence[str], encoder: RustBinaryEncoder
    ) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
        """The embeddings of `texts` as `embed` gives them, and their codes, `(len(texts), n_words)` uint64.

        In Rust one call does both. Raises as `embed`; `DimensionError` where `encoder` is for another
        dimension.
        """
        model = self._model.get()
        if isinstance(model, TextModel):
            return model.encode(checked_texts(texts), encoder, threads=self._threads)
        embeddings = model.embed(checked_texts(texts), threads=self._threads)
        return embeddings, encoder.encode(embeddings)

    def _load(self) -> TextModel | OnnxModel:
        if self._in_rust:
            return load_text_model(self._folder, self._manifest)
        return OnnxModel(self._folder, self._manifest, self._threads)


class _Slot:
    """What is loaded at the first use, once, and kept over a fork unless threads belong to it."""

    def __init__(self, load: Callable[[], TextModel | OnnxModel], *, kept_over_fork: bool) -> None:
        self._load = load
        self._kept = kept_over_fork
        self._found: TextModel | OnnxModel | None = None
        self.lock = threading.Lock()
        keep_over_fork(self)

    def get(self) -> TextModel | OnnxModel:
        if self._found is None:
            with self.lock:
                if self._found is None:
                    self._found = self._load()
                return self._found
        return self._found

    def after_fork_in_child(self) -> None:
        """Forgets a session whose threads the child does not have; the next use loads another."""
        if not self._kept:
            self._found = None
