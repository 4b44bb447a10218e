"""Text to embedding and code in one call, in Rust, without the interpreter lock."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder, TextModel
from binary_semantic_cache.embedders.arguments import check_count
from binary_semantic_cache.embedders.model_folder import (
    DIMENSION,
    MODEL_FILE,
    TOKENIZER_FILE,
    Manifest,
    read_manifest,
    read_verified,
)
from binary_semantic_cache.embedders.texts import checked_texts
from binary_semantic_cache.errors import DimensionError, EmbedderError, InvalidTypeError

__all__ = [
    "ARITHMETIC",
    "MOST_THREADS",
    "TextEncoder",
    "check_runs_in_rust",
    "load_text_model",
    "runs_in_rust",
    "rust_fingerprint",
]

ARITHMETIC = "rust1"
"""Names the order of float32 operations in `rust/text`, in fingerprints: another order, other vectors."""

MOST_THREADS = 256


class TextEncoder:
    """Tokenizer, network and projection in one call. Safe for use from several threads, and after a fork.

    The embeddings are those of `LocalEmbedder(model_folder, runtime="rust")`, the codes those of `encoder`.
    """

    def __init__(self, model_folder: str | Path, encoder: RustBinaryEncoder, *, threads: int = 1) -> None:
        """Reads the model, 23 MB, after its digest is checked.

        Args:
            model_folder: what `bsc model install` made, in int8.
            encoder: from 384 dimensions to codes.
            threads: CPU threads that share the texts of a call.

        Raises:
            ModelNotFoundError: the model is not installed.
            EmbedderError: the folder is damaged or holds another model, or Rust cannot run it here.
            DimensionError: `encoder` is for another dimension.
        """
        check_count("threads", threads, most=MOST_THREADS)
        if not isinstance(encoder, RustBinaryEncoder):
            raise InvalidTypeError(
                f"expected encoder to be a RustBinaryEncoder, got {type(encoder).__name__}"
            )
        if encoder.embedding_dim != DIMENSION:
            raise DimensionError(f"expected an encoder of dimension {DIMENSION}, got {encoder.embedding_dim}")
        folder = Path(model_folder)
        self._model = load_text_model(folder, read_manifest(folder))
        self._encoder = encoder
        self._threads = threads

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
        """The embeddings of `texts`, `(n, 384)` float32, and their codes, `(n, n_words)` uint64.

        Raises:
            InvalidTypeError: `texts` is one string, or one of its items is no string.
            InvalidValueError: a text is not Unicode (it has a lone surrogate).
        """
        return self._model.encode(checked_texts(texts), self._encoder, threads=self._threads)


def runs_in_rust(manifest: Manifest) -> bool:
    """Whether Rust has kernels for this model on this machine: int8, on x86-64 with AVX2 or AVX-512 VNNI."""
    return manifest.precision == "int8" and len(TextModel.available_isas) > 1


def rust_fingerprint(manifest: Manifest) -> str:
    """The fingerprint of the vectors that Rust makes with this model."""
    return f"{manifest.fingerprint}/{ARITHMETIC}"


def check_runs_in_rust(manifest: Manifest) -> None:
    """Refuses what `runs_in_rust` denies.

    Raises:
        EmbedderError: Rust has no kernels for this model on this machine.
    """
    if not runs_in_rust(manifest):
        raise EmbedderError(
            "expected an int8 model and a machine with AVX2 to run it in Rust, "
            f"got {manifest.precision} and {', '.join(TextModel.available_isas)}"
        )


def load_text_model(folder: Path, manifest: Manifest) -> TextModel:
    """The model in `folder`, once the digests of its files are those of `manifest`.

    Raises:
        EmbedderError: a file is damaged or missing, or Rust cannot run the model here.
    """
    check_runs_in_rust(manifest)
    network = read_verified(folder, MODEL_FILE, manifest)
    return TextModel(network, read_verified(folder, TOKENIZER_FILE, manifest))
