"""What a cache counts."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from binary_semantic_cache.fork import keep_over_fork
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.budget import BudgetClass
from binary_semantic_cache.text.decision import Judgement
from binary_semantic_cache.text.verdict import Hit, MissReason, Verdict

__all__ = ["Counters", "SemanticCacheStats"]


@dataclass(frozen=True, slots=True)
class SemanticCacheStats:
    """Counters of a cache's life in this process, and its size now."""

    entries: int
    n_bytes: int
    """Bytes of prompts, answers, codes and vectors in the store."""
    index_bytes: int
    """Bytes of the index that this process searches."""
    requests: int
    exact_hits: int
    semantic_hits: int
    misses: dict[str, int] = field(default_factory=dict)
    """By reason."""
    vetoes: dict[str, int] = field(default_factory=dict)
    """By guard: how often it kept a near prompt's answer back."""
    refusals: dict[str, int] = field(default_factory=dict)
    """Answers not stored, by reason."""
    failures: dict[str, int] = field(default_factory=dict)
    """Calls that failed or took too long, by what was called."""
    joined: int = 0
    """Requests that waited for another's computation of the same."""
    overflows: int = 0
    """Searches with more candidates than are looked at."""
    puts: int = 0
    evictions: int = 0
    reports: int = 0
    saved_calls: int = 0
    saved_tokens: int = 0
    saved_cost: float = 0.0
    saved_seconds: float = 0.0

    shadowed: int = 0
    """Misses of shadow mode: what would have been hits."""
    budget: dict[str, BudgetClass] = field(default_factory=dict)
    """Judged hits by class of requests, where there is a budget."""

    @property
    def hits(self) -> int:
        """Exact and semantic hits."""
        return self.exact_hits + self.semantic_hits

    @property
    def hit_rate(self) -> float:
        """Hits over requests, 0.0 before the first request."""
        return self.hits / self.requests if self.requests else 0.0


class Counters:
    """Counts under a lock of its own."""

    def __init__(self) -> None:
        # Re-entrant, for a signal handler or finaliser that asks the cache in the middle of this.
        self.lock = threading.RLock()
        keep_over_fork(self)
        self._numbers: Counter[str] = Counter()
        self._named: dict[str, Counter[str]] = {
            name: Counter() for name in ("misses", "vetoes", "refusals", "failures")
        }
        self._cost = self._seconds = 0.0

    def after_fork_in_child(self) -> None:
        """Nothing is under way: whoever counted let the lock go before the fork."""

    def verdict(self, verdict: Verdict) -> None:
        """Counts one request and what became of it."""
        with self.lock:
            self._numbers["requests"] += 1
            if isinstance(verdict, Hit):
                self._numbers[f"{verdict.kind}_hits"] += 1
                self._saved(verdict.saved)
            else:
                self._named["misses"][verdict.reason.value] += 1

    def judgement(self, judgement: Judgement) -> None:
        """Counts what guards and verifier did on the way to a verdict."""
        with self.lock:
            if judgement.overflow:
                self._numbers["overflows"] += 1
            for candidate in judgement.candidates:
                if candidate.refused is None:
                    continue
                for guard in {veto.guard for veto in candidate.vetoes}:
                    self._named["vetoes"][guard] += 1
                if candidate.refused in (MissReason.VERIFIER_FAILED, MissReason.VERIFIER_TIMEOUT):
                    self._named["failures"]["verifier"] += 1

    def joined(self, saving: Saving) -> None:
        """Counts a request that had another's computation."""
        with self.lock:
            self._numbers["joined"] += 1
            self._saved(saving)

    def add(self, name: str, n: int = 1) -> None:
        """Adds to one of the plain counters."""
        with self.lock:
            self._numbers[name] += n

    def add_named(self, group: str, name: str) -> None:
        """Adds one to `name` in a group: vetoes, refusals or failures."""
        with self.lock:
            self._named[group][name] += 1

    def stats(
        self, *, entries: int, n_bytes: int, index_bytes: int, budget: dict[str, BudgetClass]
    ) -> SemanticCacheStats:
        """All of it at one moment."""
        with self.lock:
            numbers, named = self._numbers, self._named
            return SemanticCacheStats(
                entries=entries,
                n_bytes=n_bytes,
                index_bytes=index_bytes,
                requests=numbers["requests"],
                exact_hits=numbers["exact_hits"],
                semantic_hits=numbers["semantic_hits"],
                misses=dict(named["misses"]),
                vetoes=dict(named["vetoes"]),
                refusals=dict(named["refusals"]),
                failures=dict(named["failures"]),
                joined=numbers["joined"],
                overflows=numbers["overflows"],
                puts=numbers["puts"],
                evictions=numbers["evictions"],
                reports=numbers["reports"],
                saved_calls=numbers["saved_calls"],
                saved_tokens=numbers["saved_tokens"],
                saved_cost=self._cost,
                saved_seconds=self._seconds,
                shadowed=named["misses"][MissReason.SHADOW.value],
                budget=budget,
            )

    def _saved(self, saving: Saving) -> None:
        self._numbers["saved_calls"] += 1
        self._numbers["saved_tokens"] += saving.input_tokens + saving.output_tokens
        self._cost += saving.cost
        self._seconds += saving.seconds
