"""A pair of texts to logits: tokenizer and network on ONNX Runtime."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders.onnx_model import import_runtime
from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError, VerifierError
from binary_semantic_cache.fork import keep_over_fork
from binary_semantic_cache.verifiers.model_files import ModelFiles

__all__ = ["Classifier"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_WHOLE_NUMBERS: Mapping[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class Classifier:
    """Runs one pair at a time, at its own length. Safe for use from several threads and after a fork.

    Not in batches: padding and, in a quantized network, scales chosen for a whole batch would let a pair's
    logits depend on its neighbours.
    """

    def __init__(self, files: ModelFiles, threads: int) -> None:
        """Loads both.

        Args:
            files: of the model.
            threads: CPU threads for one pair.

        Raises:
            MissingExtraError: the extra `local` is not installed.
            VerifierError: a file is damaged, or the network is none that classifies pairs of texts.
        """
        _, tokenizers = import_runtime()
        self._files = files
        self._threads = threads
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(files.tokenizer))
        except Exception as exc:  # the package raises Exception itself
            raise VerifierError(f"{files.tokenizer} could not be loaded: {exc}") from exc
        # Published files pad and cut, most of them at another length than the model's.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.lock = threading.Lock()
        self._session: Any = self._loaded()
        inputs = self._session.get_inputs()
        self._inputs = {one.name: _dtype(one, files) for one in inputs}
        if "input_ids" not in self._inputs or not self._inputs.keys() <= set(_INPUTS):
            got = ", ".join(self._inputs)
            raise VerifierError(f"expected {files.network} to take some of {', '.join(_INPUTS)}, got {got}")
        outputs = [one.name for one in self._session.get_outputs()]
        self._output = "logits" if "logits" in outputs else outputs[0]
        self._length = self._fixed_length(inputs)
        keep_over_fork(self)
        self.n_labels = len(self._run(*self._encoded("", "")[1:]))
        """How many logits a pair has."""

    @property
    def max_tokens(self) -> int | None:
        """The longest pair, in tokens, marks between and around included."""
        said = [most for most in (self._files.window, self._length) if most is not None]
        return min(said, default=None)

    def count_tokens(self, first: str, second: str) -> int:
        """The tokens of the whole pair. Raises as `logits`."""
        return self._encoded(first, second)[0]

    def logits(self, first: str, second: str, limit: int | None) -> NDArray[np.float64] | None:
        """A number for each label, shape `(n_labels,)`; `None` for a pair of more than `limit` tokens.

        Raises:
            InvalidTypeError: a text is no string.
            InvalidValueError: a text has a lone surrogate.
            VerifierError: ONNX Runtime failed, or gave no finite numbers.
        """
        count, ids, kinds = self._encoded(first, second)
        return None if limit is not None and count > limit else self._run(ids, kinds)

    def after_fork_in_child(self) -> None:
        """Forgets a session whose threads the child does not have; the next use loads another."""
        if self._threads > 1:
            self._session = None

    def _encoded(self, first: str, second: str) -> tuple[int, list[int], list[int]]:
        for text in (first, second):
            if not isinstance(text, str):
                raise InvalidTypeError(f"expected two strings, got {type(text).__name__}")
        try:
            found = self._tokenizer.encode(first, second)
        except (TypeError, UnicodeEncodeError) as exc:
            raise InvalidValueError("expected Unicode text, got a string with a lone surrogate") from exc
        return len(found.ids), found.ids, found.type_ids

    def _run(self, ids: list[int], kinds: list[int]) -> NDArray[np.float64]:
        padding = 0 if self._length is None else self._length - len(ids)
        rows = {
            "input_ids": ids + [self._files.pad_id] * padding,
            "attention_mask": [1] * len(ids) + [0] * padding,
            "token_type_ids": kinds + [0] * padding,
        }
        feed = {name: np.array([rows[name]], dtype=dtype) for name, dtype in self._inputs.items()}
        try:
            found = np.asarray(self._usable().run([self._output], feed)[0], dtype=np.float64)
        except Exception as exc:  # onnxruntime's errors share no class of their own
            raise VerifierError(f"{self._files.network} could not be run: {exc}") from exc
        if found.ndim not in (1, 2) or (found.ndim == 2 and len(found) != 1) or not found.size:
            shape = list(found.shape)
            raise VerifierError(
                f"expected {self._files.network} to give one row of logits, got shape {shape}"
            )
        row = found.reshape(-1)
        if not np.isfinite(row).all():
            raise VerifierError(f"{self._files.network} gave logits that are not finite")
        return row

    def _usable(self) -> Any:
        session = self._session
        if session is None:
            with self.lock:
                session = self._session
                if session is None:
                    session = self._session = self._loaded()
        return session

    def _loaded(self) -> Any:
        onnxruntime, _ = import_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Without it, sums of two products of int8 weights saturate at 16 bits on x86-64 without VNNI, and
        # logits are off by as much as they are large. Elsewhere it changes nothing.
        # Source: session.x64quantprecision in onnxruntime_session_options_config_keys.h.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            # By its path, because a large network keeps its weights in a file beside it.
            return onnxruntime.InferenceSession(
                str(self._files.network), options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # onnxruntime's errors share no class of their own
            raise VerifierError(f"{self._files.network} could not be loaded: {exc}") from exc

    def _fixed_length(self, inputs: list[Any]) -> int | None:
        """The length that the graph insists on; `None` where it takes any."""
        (shape,) = (one.shape for one in inputs if one.name == "input_ids")
        if len(shape) != 2 or (isinstance(shape[0], int) and shape[0] != 1):
            raise VerifierError(
                f"expected {self._files.network} to take one pair, shape [1, tokens], got {list(shape)}"
            )
        return shape[1] if isinstance(shape[1], int) else None


def _dtype(declared: Any, files: ModelFiles) -> type[np.integer[Any]]:
    dtype = _WHOLE_NUMBERS.get(declared.type)
    if dtype is None:
        raise VerifierError(
            f"expected {files.network} to take whole numbers for {declared.name}, got {declared.type}"
        )
    return dtype
