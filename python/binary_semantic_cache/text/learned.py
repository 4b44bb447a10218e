"""From judged matches, how near a prompt must come to each entry before its answer may be served.

One threshold for all entries is too loose for some and too strict for others. Here each entry has a curve of
its own, the probability that its answer is right at a similarity, and the labels of the other entries are
what is believed of it before it has any. The curve is a logistic one, `c / (1 + exp(-g * (s - t)))`; what is
not known of `t` (where it rises), `g` (how steeply) and `c` (how high it ends) is a weight for each point of
a grid. So nothing is fitted by an optimiser, and a label is a row added.

Source of the rule over requests: vCache (Schroeder et al. 2025, arXiv 2502.03771), section 4. The grid, the
pooled prior and the ceiling `c` are this package's; `docs/budget.md` has what was measured.
"""

import random
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.fork import keep_over_fork
from binary_semantic_cache.text.confidence import interval
from binary_semantic_cache.text.judging import AnswerJudge, same_answer

__all__ = ["Choice", "LearnedPolicy", "Outlook", "Promise"]

Promise = Literal["hits", "requests"]
"""What the budget is a share of."""

_PROMISES: Final = ("hits", "requests")
_LEAST, _STEPS = 0.50, 200
"""Similarities are told apart in steps of 1/400 from here to 1.0; below it nothing is served."""
_RISES = np.linspace(0.50, 1.05, 56)
_SLOPES = np.array([10.0, 20.0, 40.0, 80.0, 160.0])
_CEILINGS = np.array([1.0, 0.99, 0.95, 0.8])
"""Labels are wrong now and then, and so are answers to the very words: a curve need not end at 1."""
_LABELS = 64
"""Kept of an entry: the newest."""
_ENTRIES = 4096
"""With labels, of 5 kB each; beyond it the one labelled longest ago is forgotten."""
_POOL_ENTRIES, _POOL_EVERY, _POOL_GROWTH = 20, 200, 10
"""The prior is taken anew after so many labels, or a tenth of all, whichever is more."""
_POOL_STEPS = 8
_DOUBT = 10.0
"""What the prior keeps of knowing nothing, in entries."""
_LEAST_LIKELY = 1e-3
"""A label is never quite impossible: one mistake of a judge must not rule out what is true."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do with a candidate."""

    serve: bool
    right: float
    """Probability that its answer is right, as far as is known."""
    audit: bool = False
    """It would have been served, but is asked anew to see whether that would have been right."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would be done with a candidate, without doing it."""

    right: float
    """Probability that its answer is right, as far as is known."""
    needed: float
    """The least such probability of what may be served at all."""
    on_trial: bool
    """It is fit to be served, and asked anew all the same until the labels prove the budget over hits."""
    served: float
    """Share of such requests that would be served, 0.0 to 1.0; chance decides which."""
    labels: int
    """Labels that the entry has by itself."""

    def __str__(self) -> str:
        known = f"right with {self.right:.3f} by {self.labels} labels of its own and those of all others"
        if self.on_trial:
            return f"{known}: fit to be served, and asked anew until the budget is proven"
        if self.served == 0.0:
            return f"{known}, {self.needed:.3f} needed: asked anew"
        return f"{known}: served in {100 * self.served:.0f} of 100 requests, else asked anew"


@dataclass(slots=True)
class _Seen:
    """What is known of one entry."""

    labels: deque[tuple[int, int]]
    """Right or not, and the step of the similarity."""
    log_likelihood: NDArray[np.float32]
    """Of these labels under each curve."""


class LearnedPolicy:
    """Serves an entry where its answer is right with the probability that the budget asks for.

    Over hits, an answer is fit to be served where it is wrong with a probability of at most `budget`. First
    this is on trial: what would be served is asked anew and judged, until the upper bound of the share that
    was wrong is within the budget. It goes on trial again when the audits lift the bound over it. So the
    promise does not hang on the curves, only on labels and on a tomorrow that is like today.

    Over requests, an answer is served where it is at least as likely right as wrong, and at random with the
    probability `budget / wrong`: then at most a share `budget` of all requests is answered wrong, as far as
    the curves are right, while of the hits it may be many times that.

    May be used by many threads; decides the same for the same seed and order of calls.

    Args:
        budget: share of wrong answers, above 0 and below 0.5.
        promise: what it is a share of.
        confidence: of the upper bound over hits.
        judge: whether a kept answer is right, given one that was made anew.
        per_minute: most answers judged in a minute.
        audit: share of what would be served that is asked anew, for labels that go on coming.
        seed: of what is left to chance.

    Raises:
        InvalidTypeError, InvalidValueError: an argument has the wrong type or is out of range.
    """

    def __init__(
        self,
        budget: float = 0.01,
        *,
        promise: Promise = "hits",
        confidence: float = 0.95,
        judge: AnswerJudge = same_answer,
        per_minute: float = 600.0,
        audit: float = 0.02,
        seed: int = 0,
    ) -> None:
        self._budget = _share("budget", budget, 0.5)
        self._audit = _share("audit", audit, 1.0, zero=True)
        if promise not in _PROMISES:
            raise InvalidValueError(f"expected promise among {', '.join(_PROMISES)}, got {promise!r}")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InvalidTypeError(f"expected seed as a whole number, got {type(seed).__name__}")
        self._promise: Promise = promise
        self._confidence = confidence
        interval(0, 0, confidence)  # raises if that is none
        self._tried = self._wrong = 0
        self.judge = judge
        self.per_minute = per_minute
        self._chance = random.Random(seed)
        self._lock = threading.RLock()
        keep_over_fork(self)
        self._curves = _curves()
        likelihoods = np.stack([1.0 - self._curves, self._curves])
        self._rows = np.log(np.clip(likelihoods, _LEAST_LIKELY, None)).astype(np.float32)
        cells = self._curves.shape[1]
        self._uniform: NDArray[np.float32] = np.full(cells, 1.0 / cells, np.float32)
        self._seen: OrderedDict[int, _Seen] = OrderedDict()
        self._since_pooled = 0
        self._n_labels = 0
        self._believe(self._uniform)

    def after_fork_in_child(self) -> None:
        """Nothing is under way: whoever decided let the lock go before the fork."""

    @property
    def lock(self) -> threading.RLock:
        """Held for each call; for what keeps a lock over a fork."""
        return self._lock

    @property
    def labels(self) -> int:
        """Labels taken so far."""
        return self._n_labels

    def right(self, entry_id: int, similarity: float) -> float:
        """Probability that the entry's answer is right for a prompt of this similarity."""
        with self._lock:
            return self._right(entry_id, similarity)

    def choose(self, entry_id: int, similarity: float) -> Choice:
        """Whether to serve the entry; what is not served is asked anew, and its label is welcome."""
        with self._lock:
            outlook = self._outlook(entry_id, similarity)
            if outlook.on_trial:
                return Choice(False, outlook.right, audit=True)
            serve = outlook.served > 0.0
            if serve and self._promise == "requests":
                serve = self._chance.random() * (1.0 - outlook.right) < self._budget
            audit = serve and self._chance.random() < self._audit
            return Choice(serve and not audit, outlook.right, audit)

    def outlook(self, entry_id: int, similarity: float) -> Outlook:
        """What `choose` would come to; takes nothing from chance and changes nothing."""
        with self._lock:
            return self._outlook(entry_id, similarity)

    def _outlook(self, entry_id: int, similarity: float) -> Outlook:
        over_hits = self._promise == "hits"
        right = self._right(entry_id, similarity)
        needed = 1.0 - self._budget if over_hits else 0.5
        fit = right >= needed
        on_trial = over_hits and fit and not self._is_proven()
        served = 0.0
        if fit and not on_trial:
            wrong = 1.0 - right
            served = 1.0 - self._audit
            if not over_hits and wrong > self._budget:
                served *= self._budget / wrong
        seen = self._seen.get(entry_id)
        return Outlook(right, needed, on_trial, served, 0 if seen is None else len(seen.labels))

    def observe(self, entry_id: int, similarity: float, *, right: bool) -> None:
        """Takes a label: whether the entry's answer was right for a prompt of this similarity."""
        with self._lock:
            if self._promise == "hits" and self._right(entry_id, similarity) >= 1.0 - self._budget:
                self._tried += 1
                self._wrong += not right
            label = int(right), _step(similarity)
            seen = self._seen.get(entry_id)
            if seen is None:
                seen = self._seen[entry_id] = _Seen(deque(), np.zeros(self._curves.shape[1], np.float32))
                if len(self._seen) > _ENTRIES:
                    self._seen.popitem(last=False)
            elif len(seen.labels) == _LABELS:
                seen.log_likelihood -= self._rows[seen.labels.popleft()]
            seen.labels.append(label)
            seen.log_likelihood += self._rows[label]
            self._seen.move_to_end(entry_id)
            self._n_labels += 1
            self._since_pooled += 1
            if len(self._seen) >= _POOL_ENTRIES and self._since_pooled >= max(
                _POOL_EVERY, self._n_labels // _POOL_GROWTH
            ):
                self._since_pooled = 0
                self._pool()

    def forget(self, entry_ids: Iterable[int]) -> None:
        """Drops what is known of entries that are gone, or hold another answer now."""
        with self._lock:
            for entry_id in entry_ids:
                self._seen.pop(entry_id, None)

    def _is_proven(self) -> bool:
        return interval(self._wrong, self._tried, self._confidence)[1] <= self._budget

    def _right(self, entry_id: int, similarity: float) -> float:
        if not similarity >= _LEAST:
            return 0.0
        seen, step = self._seen.get(entry_id), _step(similarity)
        if seen is None:
            return float(self._prior_right[step])
        return float(self._posterior(seen) @ self._curves[step])

    def _posterior(self, seen: _Seen) -> NDArray[np.float32]:
        weights: NDArray[np.float32] = self._log_prior + seen.log_likelihood
        weights = np.exp(weights - weights.max())
        weights /= weights.sum()
        return weights

    def _pool(self) -> None:
        """Steps of expectation and maximisation for the prior, which start from the one believed so far.

        Source: Laird 1978, Nonparametric maximum likelihood estimation of a mixing distribution, section 3.
        """
        likely = np.stack([seen.log_likelihood for seen in self._seen.values()])
        likely = np.exp(likely - likely.max(axis=1, keepdims=True))
        n, prior = len(likely), self._prior
        for _ in range(_POOL_STEPS):
            mean = prior * (likely.T @ (1.0 / (likely @ prior))) / n
            prior = (n * mean + _DOUBT * self._uniform) / (n + _DOUBT)
        self._believe(prior)

    def _believe(self, prior: NDArray[np.float32]) -> None:
        self._prior = prior.astype(np.float32)
        self._log_prior = np.log(self._prior)
        self._prior_right = self._curves @ prior


def _curves() -> NDArray[np.float64]:
    """Probability of a right answer, `(steps, cells)`: a row for each similarity, a column for each curve."""
    similarities = np.linspace(_LEAST, 1.0, _STEPS + 1)
    rise, slope, ceiling = (grid.ravel() for grid in np.meshgrid(_RISES, _SLOPES, _CEILINGS, indexing="ij"))
    right: NDArray[np.float64] = ceiling / (1.0 + np.exp(-slope * (similarities[:, None] - rise)))
    return right


def _step(similarity: float) -> int:
    """The row of a similarity: the one below it, so that nothing is taken for nearer than it is."""
    return min(_STEPS, max(0, int((similarity - _LEAST) * (_STEPS / (1.0 - _LEAST)) + 1e-9)))


def _share(name: str, value: float, most: float, *, zero: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"expected {name} as a share, got {type(value).__name__}")
    if not (0.0 <= value < most if zero else 0.0 < value < most):
        least = "from 0" if zero else "above 0"
        raise InvalidValueError(f"expected {name} {least} and below {most:g}, got {value}")
    return float(value)
