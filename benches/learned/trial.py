"""One run of a policy through a row of cases."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from binary_semantic_cache.text.learned import LearnedPolicy

__all__ = ["Case", "Outcome", "hindsight", "made_up", "run_learned", "run_static"]


@dataclass(slots=True)
class Case:
    """A request: its nearest entry, if there is one, and whether that one's answer would be right."""

    entry_id: int | None = None
    similarity: float = 0.0
    right: bool = False
    served: bool = False
    """Set by who decides; a request that was not served may join the cache."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run's requests."""

    requests: int
    hits: int
    wrong: int
    labels: int = 0
    threshold: float | None = None

    @property
    def hit_rate(self) -> float:
        """Hits over requests."""
        return self.hits / self.requests

    @property
    def wrong_of_hits(self) -> float:
        """Wrong over hits; 0.0 without any."""
        return self.wrong / self.hits if self.hits else 0.0

    @property
    def wrong_of_requests(self) -> float:
        """Wrong over requests."""
        return self.wrong / self.requests

    def plain(self) -> dict[str, int | float | None]:
        """For the raw results."""
        return asdict(self)


def made_up(seed: int, *, requests: int = 18_000, entries: int = 150) -> Iterator[Case]:
    """A world of entries with logistic curves that rise at 0.86, give or take 0.04, asked by Zipf's law."""
    rng = np.random.default_rng(seed)
    rise = rng.normal(0.86, 0.04, entries)
    share = 1.0 / np.arange(1, entries + 1)
    who = rng.choice(entries, requests, p=share / share.sum())
    similarity = rng.uniform(0.6, 1.0, requests)
    right = rng.random(requests) < 1.0 / (1.0 + np.exp(-60.0 * (similarity - rise[who])))
    for case in zip(who.tolist(), similarity.tolist(), right.tolist(), strict=True):
        yield Case(*case)


def run_learned(cases: Iterable[Case], policy: LearnedPolicy, *, noise: float, seed: int) -> Outcome:
    """The policy decides, and is told of what it did not serve; a share `noise` of the labels is false."""
    lies = np.random.default_rng([seed, 1])
    requests = hits = wrong = 0
    for case in cases:
        requests += 1
        if case.entry_id is None:
            continue
        case.served = policy.choose(case.entry_id, case.similarity).serve
        if case.served:
            hits += 1
            wrong += not case.right
        else:
            lie = bool(lies.random() < noise)
            policy.observe(case.entry_id, case.similarity, right=case.right is not lie)
    return Outcome(requests, hits, wrong, policy.labels)


def run_static(cases: Iterable[Case], threshold: float) -> Outcome:
    """One threshold for all."""
    requests = hits = wrong = 0
    for case in cases:
        requests += 1
        case.served = case.entry_id is not None and case.similarity >= threshold
        hits += case.served
        wrong += case.served and not case.right
    return Outcome(requests, hits, wrong, threshold=threshold)


def hindsight(
    asked: Callable[[], Iterable[Case]], share: Callable[[Outcome], float], budget: float
) -> Outcome:
    """The loosest of the thresholds in steps of 0.01 that keeps the budget, and all stricter ones too.

    No policy can know it; it says what one threshold could have done.
    """
    best = run_static(asked(), 1.01)
    for step in range(100, 69, -1):
        found = run_static(asked(), step / 100)
        if share(found) > budget:
            break
        best = found
    return best
