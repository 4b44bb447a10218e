"""The judge: how likely it is that the answer to one prompt answers another.

It weighs what the guards let pass: the cosine, whither the two embeddings differ, what is left over of the
words. A model belongs to the embedder that it was trained with. `docs/judge.md` says how it was made and how
well it does.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import TextJudge
from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError, MissingFileError
from binary_semantic_cache.text.guards import Guards

__all__ = ["Judge"]

_EMBEDDER = "all-MiniLM-L6-v2"
# At most 5 % of its own traps, in domains left out, reach it: the upper 95 % bound.
_LEAST_PROBABILITY = 0.904
# Below it no pair of the quality benchmark reaches that probability.
_LEAST_COSINE = 0.66


class Judge:
    """Gives probabilities. Immutable; threads may share one.

    Args:
        least_probability: of a semantic hit, 0.0 to 1.0. Lower it for more hits and more wrong answers.
        least_cosine: candidates further away are not looked at, -1.0 to 1.0.
        verify_between: from the first of these probabilities up to the second, the cache's verifier says
            whether a candidate is served; below them nobody is asked and nothing served, from the second on
            nobody is asked and it is. `least_probability` must lie between. `None`: the verifier, if there is
            one, is asked about all that reach `least_probability`.
        guards: give what is known of words; `None` for the shipped tables.
        model: a file made by `make train-judge`; `None` for the shipped one.
        embedder: how the fingerprint begins of the embedder that the model was trained with.

    Raises:
        InvalidTypeError, InvalidValueError: an argument has the wrong type or is out of range.
        MissingFileError: there is no file `model`.
        CorruptFileError: the model is damaged. FormatVersionError: it has another format.
    """

    def __init__(
        self,
        *,
        least_probability: float = _LEAST_PROBABILITY,
        least_cosine: float = _LEAST_COSINE,
        verify_between: tuple[float, float] | None = None,
        guards: Guards | None = None,
        model: str | Path | None = None,
        embedder: str = _EMBEDDER,
    ) -> None:
        self.least_probability = _between("least_probability", least_probability, 0.0)
        """The least probability of a semantic hit."""
        self.least_cosine = _between("least_cosine", least_cosine, -1.0)
        """The least cosine of a candidate."""
        self.verify_between = None if verify_between is None else _zone(verify_between, least_probability)
        """Where the cache's verifier decides: from the first up to the second; `None` for no such zone."""
        self.embedder = embedder
        """How the fingerprint begins of the embedder that it is for."""
        shipped = resources.files(__package__) / "models" / f"{_EMBEDDER}.judge"
        try:
            text = shipped.read_text("ascii") if model is None else Path(model).read_text("ascii")
        except FileNotFoundError as exc:
            raise MissingFileError(f"expected a judge's model, got nothing at {exc.filename}") from exc
        except UnicodeDecodeError as exc:
            raise InvalidValueError(f"expected a judge's model in ASCII, got other bytes in {model}") from exc
        self._native = TextJudge((guards or Guards()).native, text)

    @property
    def embedding_dim(self) -> int:
        """Numbers of an embedding."""
        return self._native.embedding_dim

    def may_serve(self, probability: float) -> bool:
        """Whether a candidate is not refused at once; a verifier may still be asked."""
        return probability >= (
            self.least_probability if self.verify_between is None else self.verify_between[0]
        )

    def is_sure(self, probability: float) -> bool:
        """Whether a candidate is served without the verifier's word."""
        return self.verify_between is not None and probability >= self.verify_between[1]

    def score(
        self,
        prompt: str,
        embedding: NDArray[np.float32],
        candidates: Sequence[str],
        packed: Sequence[bytes],
    ) -> list[float | None]:
        """For each candidate, the probability that its answer answers the prompt, 0.0 to 1.0.

        The interpreter is released meanwhile. Time is linear in the length of the texts.

        Args:
            prompt: the new prompt; analysed once.
            embedding: of `prompt`, of length 1, shape `(embedding_dim,)`.
            candidates: stored prompts.
            packed: their embeddings as entries keep them (`binary_semantic_cache.text.vectors.pack`).

        Returns:
            `None` where no embedding is kept, or one that does not fit.

        Raises:
            DimensionError: `candidates` and `packed` are not equally many.
        """
        return self._native.score(prompt, embedding, candidates, packed)

    def __repr__(self) -> str:
        zone = "" if self.verify_between is None else f", verify_between={self.verify_between}"
        return f"Judge(least_probability={self.least_probability}, least_cosine={self.least_cosine}{zone})"


def _zone(bounds: tuple[float, float], least: float) -> tuple[float, float]:
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise InvalidTypeError(f"expected verify_between as two probabilities, got {bounds!r}")
    low, high = (_between("verify_between", bound, 0.0) for bound in bounds)
    if not low <= least <= high:
        raise InvalidValueError(
            f"expected verify_between around least_probability {least}, got {low} to {high}"
        )
    return low, high


def _between(name: str, value: float, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        raise InvalidTypeError(f"expected {name} as a number, got {type(value).__name__}")
    if not least <= value <= 1.0:
        raise InvalidValueError(f"expected {name} from {least} to 1.0, got {value}")
    return float(value)
