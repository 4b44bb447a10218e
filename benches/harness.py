"""Times contenders side by side: the same inputs, one round after another, medians over the rounds."""

import gc
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter, perf_counter_ns
from typing import Any

__all__ = [
    "FULL",
    "SMOKE",
    "Case",
    "Contender",
    "Effort",
    "Figure",
    "Row",
    "UnequalResultsError",
    "check_equal",
    "measure",
]


class UnequalResultsError(AssertionError):
    """Two contenders disagree, so that comparing their speed would mean nothing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What ours is to reach: against a contender, or in absolute terms."""

    text: str
    least_ratio: float | None = None
    most: float | None = None

    @classmethod
    def at_least(cls, times: float) -> "Figure":
        """The contender takes `times` as long as ours, or longer."""
        return cls(f">= {times:g}x", least_ratio=times)

    @classmethod
    def within(cls, times: float) -> "Figure":
        """Ours takes at most `times` as long as the contender."""
        return cls(f">= {1 / times:.2f}x (<= {times:g}x its time)", least_ratio=1 / times)

    @classmethod
    def at_most(cls, value: float, unit: str) -> "Figure":
        """Ours is at most `value`, whatever others do."""
        return cls(f"<= {value:g} {unit}", most=value)

    def reached(self, ours: float, ratio: float | None) -> bool:
        """Whether `ours`, or its `ratio` to the contender, is good enough."""
        if self.most is not None:
            return ours <= self.most
        return ratio is not None and self.least_ratio is not None and ratio >= self.least_ratio


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work.

    `inputs` are argument tuples for `call`, taken one after another and never ending: `itertools.cycle`. They
    are the same values for every contender, in the form that it likes best.
    """

    name: str
    call: Callable[..., object]
    inputs: Iterator[tuple[Any, ...]]
    figure: Figure | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A comparison: ours, against any number of contenders."""

    what: str
    n: int
    ours: Contender
    contenders: list[Contender] = field(default_factory=list)
    missing: Mapping[str, str] = field(default_factory=dict)
    """Contenders that cannot run here, and why."""
    calls: int | None = None
    """Calls in a sample; enough for `Effort.sample_seconds` when `None`."""
    operations: int = 1
    """What one call counts for: times are given for one operation."""
    unit: str = "us"
    before_each: Callable[[], object] | None = None
    """Called before each call, not timed: puts caches or files into the state that is to be measured."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    rounds: int
    sample_seconds: float
    case_seconds: float
    """No further round begins after this time, from the third on."""


FULL = Effort(rounds=31, sample_seconds=0.004, case_seconds=8.0)
SMOKE = Effort(rounds=3, sample_seconds=0.0002, case_seconds=1.0)
_LEAST_ROUNDS = 3
_MOST_CALLS = 2000
_UNIT_NS = {"us": 1e3, "ms": 1e6}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Times are medians over rounds; `rounds` keeps all of them."""

    what: str
    n: int
    unit: str
    ours: float | None
    contender: str = ""
    theirs: float | None = None
    figure: Figure | None = None
    note: str = ""
    rounds: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times ours the contender takes; above 1, ours is faster (or smaller)."""
        return self.theirs / self.ours if self.theirs is not None and self.ours else None

    @property
    def reached(self) -> bool | None:
        """Whether the figure is reached; `None` if there is none, or nothing to hold it against."""
        if self.figure is None or self.ours is None or (self.figure.most is None and self.ratio is None):
            return None
        return self.figure.reached(self.ours, self.ratio)


def measure(case: Case, effort: Effort) -> list[Row]:
    """One row a contender, and one for ours alone if it has a figure of its own or stands alone.

    In each round every contender has one sample: one call that is not timed, then some that are. The order
    rotates, so that nobody always comes after the same neighbour. Garbage is not collected meanwhile, and a
    result dies after the clock has stopped if a sample is one call or there is something to do before each.
    """
    everyone = [case.ours, *case.contenders]
    calls = [case.calls or _enough_calls(contender, effort) for contender in everyone]
    samples: list[list[float]] = [[] for _ in everyone]
    began = perf_counter()
    for turn in range(effort.rounds):
        if turn >= _LEAST_ROUNDS and perf_counter() - began > effort.case_seconds:
            break
        for i in (*range(turn % len(everyone), len(everyone)), *range(turn % len(everyone))):
            sample = _sample_ns(everyone[i], calls[i], case.before_each)
            samples[i].append(sample / case.operations / _UNIT_NS[case.unit])
    return _rows(case, samples)


def check_equal(what: str, name: str, ours: object, theirs: object) -> None:
    """Raises `UnequalResultsError` unless the contender `name` gave the same as ours.

    Call it for every input before the timing; compare plain values (`tolist()`), not arrays.
    """
    if ours != theirs:
        raise UnequalResultsError(f"{what}: {name} gives {theirs!r:.300}, ours {ours!r:.300}")


def _enough_calls(contender: Contender, effort: Effort) -> int:
    _sample_ns(contender, 1)
    once = max(_sample_ns(contender, 1), 100.0)
    return max(1, min(_MOST_CALLS, int(effort.sample_seconds * 1e9 / once)))


def _sample_ns(contender: Contender, calls: int, before_each: Callable[[], object] | None = None) -> float:
    first, *rest = list(islice(contender.inputs, calls + 1))
    kept = contender.call(*first)
    kept = None
    collecting = gc.isenabled()
    gc.disable()
    try:
        if before_each is not None:
            return sum(_one_ns(contender.call, args, before_each) for args in rest) / calls
        call = contender.call
        start = perf_counter_ns()
        for args in rest:
            kept = call(*args)
        stop = perf_counter_ns()
    finally:
        if collecting:
            gc.enable()
    del kept
    return (stop - start) / calls


def _one_ns(call: Callable[..., object], args: tuple[Any, ...], before: Callable[[], object]) -> int:
    before()
    start = perf_counter_ns()
    kept = call(*args)
    stop = perf_counter_ns()
    del kept
    return stop - start


def _rows(case: Case, samples: list[list[float]]) -> list[Row]:
    medians = [statistics.median(times) for times in samples]
    ours, own = medians[0], {"ours": samples[0]}
    rows = []
    if case.ours.figure is not None or not case.contenders:
        rows.append(Row(case.what, case.n, case.unit, ours, figure=case.ours.figure, rounds=own))
    for contender, theirs, times in zip(case.contenders, medians[1:], samples[1:], strict=True):
        rounds = own | {contender.name: times}
        rows.append(
            Row(case.what, case.n, case.unit, ours, contender.name, theirs, contender.figure, rounds=rounds)
        )
    rows.extend(
        Row(case.what, case.n, case.unit, ours, name, note=reason, rounds=own)
        for name, reason in case.missing.items()
    )
    return rows
