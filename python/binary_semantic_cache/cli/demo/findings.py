"""What one run of the demonstration found: plain values, made by `run`, told by `report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from binary_semantic_cache.cli.demo.questions import Kind

__all__ = ["Findings", "Latency", "Outcome", "Reopened", "Verdict"]

Verdict = Literal["right", "wrong", "missed"]
"""`right` and `wrong` were served; a question without a stored answer can only be `wrong` or `missed`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question: `nearest` is the most similar stored question, served or not.

    `nearest_is_right` tells whether its answer is the right one, `because` why a trap needs another answer.
    """

    kind: Kind
    question: str
    nearest: str
    similarity: float
    nearest_is_right: bool
    verdict: Verdict
    because: str | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Median and 95th percentile of `calls` single calls, in microseconds."""

    median_us: float
    p95_us: float
    calls: int


@dataclass(frozen=True, slots=True)
class Reopened:
    """The second process: who it was, how long mapping the file took, whether all answers were the same."""

    pid: int
    load_ms: float
    equal: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one run found; every figure is measured, `call_seconds` alone is the caller's assumption."""

    subject: str
    embedder: str
    threshold: float
    code_bits: int
    entries: int
    outcomes: tuple[Outcome, ...]
    latencies: dict[str, Latency]
    fill_seconds: float
    total_seconds: float
    bytes_per_entry: float
    file_bytes: int
    file: Path | None
    save_ms: float
    reopened: Reopened
    call_seconds: float

    @property
    def most_differing_bits(self) -> int:
        """The largest distance of a hit."""
        return max(bits for bits in range(self.code_bits + 1) if 1 - bits / self.code_bits >= self.threshold)

    def outcomes_of(self, kind: Kind, verdict: Verdict | None = None) -> list[Outcome]:
        """The outcomes of one kind of question, of one verdict if it is given."""
        return [o for o in self.outcomes if o.kind == kind and verdict in (None, o.verdict)]
