"""What one run of the demonstration found: plain values, made by `run`, told by `report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from binary_semantic_cache.cli.demo.questions import Kind

__all__ = ["Alone", "Findings", "Latency", "Outcome", "Reopened", "Served"]

Served = Literal["right", "wrong", "missed"]
"""`right` and `wrong` were served; a question without a stored answer can only be `wrong` or `missed`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question.

    `nearest` is the stored question that was served, or the one that came nearest. `nearest_is_right` tells
    whether its answer is the right one, `reason` why nothing was served, `because` why a trap needs another
    answer.
    """

    kind: Kind
    question: str
    nearest: str
    similarity: float
    nearest_is_right: bool
    verdict: Served
    reason: str | None = None
    because: str | None = None


@dataclass(frozen=True, slots=True)
class Alone:
    """What a threshold alone, on one measure of nearness, would have done with the same questions."""

    measure: str
    threshold: float
    paraphrases_right: int
    paraphrases_wrong: int
    unrelated_wrong: int
    traps_wrong: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Median and 95th percentile of `calls` single calls, in microseconds."""

    median_us: float
    p95_us: float
    calls: int


@dataclass(frozen=True, slots=True)
class Reopened:
    """The second process: who it was, how long opening the file took, whether all answers were the same."""

    pid: int
    open_ms: float
    equal: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one run found; every figure is measured, `call_seconds` alone is the caller's assumption."""

    subject: str
    embedder: str
    threshold: float
    radius: int
    """Bits within which candidates are looked for."""
    entries: int
    outcomes: tuple[Outcome, ...]
    alone: tuple[Alone, ...]
    repeats: int
    """Stored questions asked once more, word for word."""
    repeats_right: int
    latencies: dict[str, Latency]
    fill_seconds: float
    total_seconds: float
    bytes_per_entry: float
    file_bytes: int
    file: Path | None
    reopened: Reopened
    call_seconds: float

    def outcomes_of(self, kind: Kind, verdict: Served | None = None) -> list[Outcome]:
        """The outcomes of one kind of question, of one verdict if it is given."""
        return [o for o in self.outcomes if o.kind == kind and verdict in (None, o.verdict)]
