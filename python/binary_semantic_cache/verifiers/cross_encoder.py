"""A cross-encoder or entailment model as a verifier: does one prompt say what the other says?"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders.arguments import check_count
from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError, VerifierError
from binary_semantic_cache.verifiers.classifier import Classifier
from binary_semantic_cache.verifiers.model_files import ModelFiles, find_label, find_model

__all__ = ["CrossEncoder"]

_ENTAILMENT = "entailment"
_MOST_THREADS = 256


class CrossEncoder:
    """Asks a model from a local folder whether two prompts agree; for `SemanticCache(verifier=...)`.

    Of one logit, the probability is its logistic function; of several, a label's share of the softmax.
    Immutable; threads may share one. A pair's score never depends on what else is asked.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        label: str | int | None = None,
        refusal_label: str | int | None = None,
        least_probability: float = 0.5,
        both_ways: bool = True,
        file_name: str | None = None,
        max_tokens: int | None = None,
        threads: int = 1,
    ) -> None:
        """Loads the model; never from a network.

        Args:
            folder: holds the network (ONNX), `tokenizer.json` and `config.json`.
            label: the label that says that the prompts agree, by its name in `config.json` or its place.
                `None`: the label `entailment`, or the only one there is.
            refusal_label: instead of `label`, one that says that they do not (`contradiction`): the
                probability is then that of all other labels together, 1 less this one's.
            least_probability: at which two prompts agree, 0.0 to 1.0.
            both_ways: the lesser of the two probabilities counts, of the prompt before the candidate and
                after. Entailment one way is not sameness: "How do I cook rice?" follows from "How do I cook
                brown rice?". `False` halves the time, for a model that was trained on sameness.
            file_name: the network's within the folder; `None` for `model.onnx` or `onnx/model.onnx`.
            max_tokens: a pair of more tokens never agrees; `None` for what the folder says.
            threads: CPU threads for one pair.

        Raises:
            InvalidTypeError, InvalidValueError: an argument has the wrong type or is out of range; there is
                no such label, or it is not clear which one agrees.
            MissingFileError: folder or file is missing.
            MissingExtraError: the extra `local` is not installed.
            VerifierError: a file is damaged, or is no classifier of pairs of texts.
        """
        self.least_probability = _probability(least_probability)
        """At which two prompts agree."""
        if not isinstance(both_ways, bool):
            raise InvalidTypeError(f"expected both_ways to be a bool, got {type(both_ways).__name__}")
        if label is not None and refusal_label is not None:
            raise InvalidValueError("expected label or refusal_label, got both")
        check_count("threads", threads, most=_MOST_THREADS)
        if max_tokens is not None:
            check_count("max_tokens", max_tokens)
        files = find_model(folder, file_name)
        self._model = Classifier(files, threads)
        self.labels = _labels(files, self._model.n_labels)
        """The names of the model's labels, in their order."""
        self._refuses = refusal_label is not None
        self._place = _place(label if refusal_label is None else refusal_label, self.labels)
        self._both_ways = both_ways
        window = self._model.max_tokens
        if max_tokens is not None and window is not None and max_tokens > window:
            raise InvalidValueError(f"expected max_tokens of at most {window}, got {max_tokens}")
        self._window = window if max_tokens is None else max_tokens

    @property
    def max_tokens(self) -> int | None:
        """The longest pair, in tokens, that is compared; `None` when there is no limit."""
        return self._window

    def count_tokens(self, first: str, second: str) -> int:
        """The tokens of the whole of a pair, with those between and around; compare with `max_tokens`."""
        return self._model.count_tokens(first, second)

    def score(self, first: str, second: str) -> float:
        """The probability that two prompts agree, 0.0 to 1.0.

        0.0 for a pair of more than `max_tokens`: what is said of half a prompt is not said of the whole.

        Raises:
            InvalidTypeError: a text is no string.
            InvalidValueError: a text is not Unicode (it has a lone surrogate).
            VerifierError: the model could not be run.
        """
        ways = [self._one_way(first, second)]
        if self._both_ways and ways[0] is not None:
            ways.append(self._one_way(second, first))
        return min(0.0 if way is None else way for way in ways)

    def scores(self, pairs: Iterable[tuple[str, str]]) -> list[float]:
        """The score of each pair, as `score` gives it for the pair alone."""
        return [self.score(first, second) for first, second in pairs]

    def __call__(self, prompt: str, candidate: str) -> bool:
        """Whether the prompts agree: the score reaches `least_probability`. Raises as `score`.

        With `both_ways` the second way is asked only if the first agrees. A pair that is too long does not
        agree, whatever `least_probability` is.
        """
        return self._agrees(prompt, candidate) and (not self._both_ways or self._agrees(candidate, prompt))

    def __repr__(self) -> str:
        role = "refusal_label" if self._refuses else "label"
        ways = f"least_probability={self.least_probability}, both_ways={self._both_ways}"
        return f"CrossEncoder({role}={self.labels[self._place]!r}, {ways})"

    def _agrees(self, first: str, second: str) -> bool:
        probability = self._one_way(first, second)
        return probability is not None and probability >= self.least_probability

    def _one_way(self, first: str, second: str) -> float | None:
        """`None` for a pair that is too long."""
        logits = self._model.logits(first, second, self._window)
        if logits is None:
            return None
        probability = float(_probabilities(logits)[self._place])
        return 1.0 - probability if self._refuses else probability


def _probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each label, 0.0 to 1.0."""
    if len(logits) == 1:
        # Of zero and the logit: the logistic function, without an overflow.
        return _probabilities(np.array([logits[0], 0.0]))[:1]
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum())


def _labels(files: ModelFiles, n_labels: int) -> tuple[str, ...]:
    if files.labels is None:
        return tuple(f"LABEL_{place}" for place in range(n_labels))  # as transformers calls them
    if len(files.labels) != n_labels:
        raise VerifierError(
            f"expected {len(files.labels)} logits, as config.json names labels ({', '.join(files.labels)}), "
            f"got {n_labels} from {files.network}"
        )
    return tuple(files.labels)


def _place(label: str | int | None, labels: tuple[str, ...]) -> int:
    if label is not None:
        return find_label(label, labels)
    if len(labels) == 1:
        return 0
    if [name.casefold() for name in labels].count(_ENTAILMENT) == 1:
        return find_label(_ENTAILMENT, labels)
    raise InvalidValueError(
        f"expected the label that says that two prompts agree, got none; give label= (or refusal_label=) "
        f"one of {', '.join(labels)}"
    )


def _probability(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        raise InvalidTypeError(f"expected least_probability as a number, got {type(value).__name__}")
    if not 0.0 <= value <= 1.0:
        raise InvalidValueError(f"expected least_probability from 0.0 to 1.0, got {value}")
    return float(value)
