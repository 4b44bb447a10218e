"""Any model that the package sentence-transformers loads, on CPU or GPU."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders.arguments import check_name
from binary_semantic_cache.embedders.texts import checked_texts
from binary_semantic_cache.embedders.vectors import unit_vectors
from binary_semantic_cache.errors import EmbedderError, InvalidTypeError, MissingExtraError

__all__ = ["SentenceTransformersEmbedder"]


class SentenceTransformersEmbedder:
    """Embeds texts with a `SentenceTransformer`, one at a time; vectors have length 1.

    The model is loaded, and downloaded where it is not on this machine, at the first use. Threads may share
    an embedder and take turns: a tokenizer that changes its settings for each call cannot serve two at once.
    """

    def __init__(
        self,
        model_name_or_path: str,
        *,
        device: str | None = None,
        prompt: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Imports sentence-transformers; loads no model.

        Args:
            model_name_or_path: a name on the Hugging Face hub, or a folder.
            device: "cpu", "cuda", "mps"; `None` lets the package choose.
            prompt: put before each text ("query: "); `None` for the model's own default, `""` for none.
            revision: of the model on the hub: a branch, tag or commit.
            local_files_only: never ask the hub.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            InvalidTypeError: an argument has the wrong type.
            InvalidValueError: the name is empty.
        """
        check_name("model_name_or_path", model_name_or_path)
        for name, value in (("device", device), ("prompt", prompt), ("revision", revision)):
            if value is not None and not isinstance(value, str):
                raise InvalidTypeError(f"expected {name} to be a string, got {type(value).__name__}")
        _import_class()
        self._name = model_name_or_path
        self._device = device
        self._prompt = prompt
        self._revision = revision
        self._local_files_only = local_files_only
        self._lock = threading.RLock()
        self._model: Any = None
        self._fingerprint: str | None = None

    @property
    def dimension(self) -> int:
        """Length of one embedding. Loads the model.

        Raises:
            EmbedderError: the model could not be loaded, or does not tell.
        """
        model = self._loaded()
        # Earlier versions have the second name alone; later ones warn of it.
        ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        found = ask()
        if type(found) is not int or found < 1:
            raise EmbedderError(f"{self._name} does not tell its dimension")
        return found

    @property
    def fingerprint(self) -> str:
        """Names the model, the digest of its weights, how tokens become one vector, prompt and window.

        The same whichever versions of PyTorch and sentence-transformers load the model. Loads the model and,
        the first time, reads all of its weights (a second for each GB or so).

        Raises:
            EmbedderError: the model could not be loaded.
        """
        with self._lock:
            if self._fingerprint is None:
                model = self._loaded()
                # A folder's place differs between machines, its name seldom.
                name = Path(self._name).name if Path(self._name).is_dir() else self._name
                pooling = "+".join(_pooling_modes(model)) or "default"
                prompt = hashlib.sha256(self._prefix(model).encode("utf-8")).hexdigest()[:16]
                self._fingerprint = (
                    f"sentence-transformers/{name}/{_weights_digest(model)}/{pooling}"
                    f"/prompt-{prompt}/l2/{self.max_tokens}"
                )
            return self._fingerprint

    @property
    def max_tokens(self) -> int | None:
        """The model's `max_seq_length`: of a longer text only that many tokens are embedded. Loads the model.

        `None` for a model without a window, such as one of static word vectors.
        """
        found = self._loaded().max_seq_length
        return found if isinstance(found, int) else None

    def count_tokens(self, text: str) -> int:
        """The tokens of the prompt and the whole of `text`, marks of start and end included.

        Raises:
            InvalidTypeError: `text` is no string.
            InvalidValueError: `text` is not Unicode.
            EmbedderError: the model could not be loaded, or has no tokenizer of a known kind.
        """
        (item,) = checked_texts([text])
        with self._lock:
            model = self._loaded()
            whole = self._prefix(model) + item
            tokenizer = model.tokenizer
            if callable(tokenizer):
                return len(tokenizer(whole, truncation=False, verbose=False)["input_ids"])
            if hasattr(tokenizer, "encode"):  # of the package tokenizers, as models of static vectors have
                return len(tokenizer.encode(whole).ids)
        raise EmbedderError(f"{self._name} has no tokenizer that counts tokens")

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of `texts`, shape `(len(texts), dimension)`, float32, each of length 1.

        An empty text is embedded like any other. Of a text beyond `max_tokens`, the end is cut off.

        Raises:
            InvalidTypeError: `texts` is one string, or one of its items is no string.
            InvalidValueError: a text is not Unicode.
            EmbedderError: the model could not be loaded or run.
        """
        items = checked_texts(texts)
        with self._lock:
            model = self._loaded()
            if not items:
                return np.empty((0, self.dimension), dtype=np.float32)
            try:
                # Padding to the longest of a batch changes the order of additions, and so the last bits.
                answer = model.encode(
                    items,
                    prompt=self._prompt,
                    batch_size=1,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                    normalize_embeddings=True,
                )
            except Exception as exc:  # PyTorch's errors share no class of their own
                raise EmbedderError(f"{self._name} could not be run: {type(exc).__name__}") from exc
            return unit_vectors(answer, len(items), self.dimension)

    def _prefix(self, model: Any) -> str:
        if self._prompt is not None:
            return self._prompt
        return str(model.prompts.get(model.default_prompt_name) or "")

    def _loaded(self) -> Any:
        with self._lock:
            if self._model is None:
                try:
                    self._model = _import_class()(
                        self._name,
                        device=self._device,
                        revision=self._revision,
                        local_files_only=self._local_files_only,
                    )
                except MissingExtraError:
                    raise
                except Exception as exc:  # errors of the hub, of files and of PyTorch share no class
                    raise EmbedderError(f"{self._name} could not be loaded: {exc}") from exc
            return self._model


def _weights_digest(model: Any) -> str:
    """A sha256 over the values of all parameters, whatever a version of the library calls them.

    Digests of single tensors are sorted, because names and order have changed between versions; buffers are
    left out, because some of them come and go.
    """
    from torch import uint8

    digests = []
    for parameter in model.parameters():
        digest = hashlib.sha256(f"{tuple(parameter.shape)}".encode())
        # Bytes, because NumPy has no bfloat16; flat, because a scalar has no view in another type.
        flat = parameter.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(uint8).numpy())
        digests.append(digest.digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _pooling_modes(model: Any) -> list[str]:
    """The names of the pooling modes ("mean", "cls"); earlier versions tell them by a method."""
    modes: list[str] = []
    for module in model:
        found = getattr(module, "pooling_mode", None)
        if found is None and hasattr(module, "get_pooling_mode_str"):
            found = module.get_pooling_mode_str()
        if found is not None:
            modes.extend([found] if isinstance(found, str) else found)
    return modes


def _import_class() -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as exc:
        raise MissingExtraError(
            f"{exc.name} is not installed; install the extra `sentence-transformers`: "
            "pip install sentence-transformers"
        ) from exc
    return SentenceTransformer
