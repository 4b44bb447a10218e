"""What became of the requests of some minutes, added up for the admin's page."""

from collections import Counter
from typing import Any

from binary_semantic_cache.proxy.observe import Record
from binary_semantic_cache.proxy.watching.latencies import Latencies

__all__ = ["MOST_NAMES", "OTHER", "QUANTILES", "Tally", "bounded"]

QUANTILES = (0.5, 0.95, 0.99)
MOST_NAMES = 64
OTHER = "other"


def bounded(names: Counter[str], name: str, most: int = MOST_NAMES) -> str:
    """`name`, or `other` where there are so many that one more is one too many."""
    return name if name in names or len(names) < most else OTHER


class Tally:
    """Counts, savings and times of one stretch of time; two of them can be added."""

    __slots__ = (
        "cost", "latencies", "misses", "outcomes", "refused", "saved_seconds", "tokens", "vetoes", "would_be",
    )  # fmt: skip

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.misses: Counter[str] = Counter()
        """By reason; those that passed by the cache are not among them."""
        self.vetoes: Counter[str] = Counter()
        """By guard."""
        self.refused: Counter[str] = Counter()
        """Answers that were not stored, by reason."""
        self.would_be: Counter[str] = Counter()
        """Hits of shadow mode, which were not served, by kind."""
        self.tokens = 0
        self.cost = 0.0
        self.saved_seconds = 0.0
        self.latencies: dict[str, Latencies] = {}
        """From head to last byte, by outcome."""

    def add(self, record: Record) -> None:
        """Counts one request."""
        self.outcomes[record.outcome] += 1
        if record.outcome == "miss":
            self.misses[bounded(self.misses, record.reason or "unknown")] += 1
        if record.would_be:
            self.would_be[record.would_be] += 1
        for guard in record.guards:
            self.vetoes[bounded(self.vetoes, guard)] += 1
        if record.stored and record.stored != "stored":
            self.refused[bounded(self.refused, record.stored)] += 1
        if record.saved is not None:
            self.tokens += record.saved.input_tokens + record.saved.output_tokens
            self.cost += record.saved.cost
            self.saved_seconds += record.saved.seconds
        self.latencies.setdefault(record.outcome, Latencies()).add(record.total_seconds)

    def merge(self, other: "Tally") -> None:
        """Counts all that `other` counted."""
        self.outcomes.update(other.outcomes)
        self.misses.update(other.misses)
        self.vetoes.update(other.vetoes)
        self.would_be.update(other.would_be)
        self.refused.update(other.refused)
        self.tokens += other.tokens
        self.cost += other.cost
        self.saved_seconds += other.saved_seconds
        for outcome, latencies in other.latencies.items():
            self.latencies.setdefault(outcome, Latencies()).merge(latencies)

    @property
    def n_requests(self) -> int:
        """All of them."""
        return self.outcomes.total()

    @property
    def hit_rate(self) -> float | None:
        """Hits over the requests that the cache was asked about; `None` where there were none."""
        asked = self.n_requests - self.outcomes["bypass"]
        return (self.outcomes["exact"] + self.outcomes["semantic"]) / asked if asked else None

    def as_json(self) -> dict[str, Any]:
        """For the admin API."""
        return {
            "requests": self.n_requests,
            "outcomes": {name: self.outcomes[name] for name in ("exact", "semantic", "miss", "bypass")},
            "hit_rate": self.hit_rate,
            "would_be": {name: self.would_be[name] for name in ("exact", "semantic")},
            "saved": {"tokens": self.tokens, "cost": self.cost, "seconds": self.saved_seconds},
            "misses": dict(self.misses.most_common()),
            "vetoes": dict(self.vetoes.most_common()),
            "not_stored": dict(self.refused.most_common()),
            "latency_seconds": {
                outcome: {
                    "requests": latencies.n,
                    **{f"p{round(100 * q)}": latencies.quantile(q) for q in QUANTILES},
                }
                for outcome, latencies in sorted(self.latencies.items())
            },
        }
