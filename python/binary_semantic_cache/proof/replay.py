"""A log run through simulated caches: what they would have served, saved and got wrong."""

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import (
    BinarySemanticCacheError,
    InvalidTypeError,
    InvalidValueError,
    StoreError,
)
from binary_semantic_cache.proof.replay_agreement import Agreement
from binary_semantic_cache.proof.replay_cells import Variant
from binary_semantic_cache.proof.replay_exports import FORMATS, detected
from binary_semantic_cache.proof.replay_formats import Fields, Logged
from binary_semantic_cache.proof.replay_lines import Line, lines
from binary_semantic_cache.proof.replay_order import WINDOW, Ordered, SortedLines, in_order
from binary_semantic_cache.proof.replay_simulation import Simulation
from binary_semantic_cache.text.decision import PairGuards
from binary_semantic_cache.text.judge import Judge
from binary_semantic_cache.text.policy import Policy

__all__ = ["FORMATS", "Plan", "Replayed", "Timeline", "replay", "variants_of"]

_CHUNK = 256
"""Requests whose texts are embedded together."""
_MOST_POINTS = 128
_MOST_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to simulate, and how to read the log."""

    variants: Sequence[Variant]
    embedder: Embedder
    guards: PairGuards | None
    policy: Policy
    judge: Judge | None = None
    """What variants with `judge_from` ask."""
    agreement: Agreement | None = None
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    format: str | None = None
    """A name of `FORMATS`; `None` to find out for each file."""
    fields: Fields = field(default_factory=Fields)
    sort: bool = False
    """Sort the whole log by time on the disk first."""
    limit: int | None = None
    work_dir: Path | None = None
    """Where embeddings are kept for the next run; `None` to keep none."""
    pairs: int = 0
    """How many of the pairs served at the loosest threshold to draw for labelling."""
    seed: int = 0


@dataclass(slots=True)
class Timeline:
    """Hits so far at some points of the log, evenly spread however long it gets."""

    stride: int = 1
    points: list[tuple[int, float, list[int]]] = field(default_factory=list)
    """Requests so far, time, hits of each variant so far."""
    _steps: int = 0

    def add(self, requests: int, time: float, hits: Callable[[], list[int]]) -> None:
        """Takes a step, and notes a point if it is one's turn."""
        self._steps += 1
        if self._steps % self.stride:
            return
        self.points.append((requests, time, hits()))
        if len(self.points) > _MOST_POINTS:
            self.stride *= 2
            self.points = self.points[1::2]

    def end(self, requests: int, time: float, hits: list[int]) -> None:
        """Notes the last point if it is not there yet."""
        if not self.points or self.points[-1][0] != requests:
            self.points.append((requests, time, hits))


@dataclass(slots=True)
class Replayed:
    """What came of it."""

    requests: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    passed_over: int = 0
    """Rows of the log that are no requests to a model: spans, health checks."""
    unreadable: int = 0
    examples: list[str] = field(default_factory=list)
    """Why some rows could not be read; no text of theirs."""
    ordered: Ordered = field(default_factory=Ordered)
    first_time: float | None = None
    last_time: float | None = None
    with_answer: int = 0
    with_truth: int = 0
    with_usage: int = 0
    with_seconds: int = 0
    with_tenant: int = 0
    embedded: int = 0
    unstored: dict[str, int] = field(default_factory=dict)
    judge_from: float | None = None
    """Least cosine of what a judge was asked about; `None` where there was none."""
    variants: list[dict[str, Any]] = field(default_factory=list)
    """`Tally.summary` of each."""
    timeline: Timeline = field(default_factory=Timeline)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    """Drawn evenly of those served at the loosest threshold, as rows for `bsc label`."""
    n_pairs: int = 0


def variants_of(
    thresholds: Iterable[float],
    sizes: Iterable[int | None],
    ttls: Iterable[float | None] = (None,),
    *,
    judge_from: float | None = None,
) -> list[Variant]:
    """All combinations, each once, thresholds ascending, unlimited sizes and times last.

    Args:
        thresholds: least cosines, with `judge_from` least probabilities.
        sizes: entries; `None` for no limit.
        ttls: seconds; `None` for ever.
        judge_from: least cosine of what the judge is asked about; `None` for caches without one.

    Raises:
        InvalidValueError: a threshold is not above 0 and up to 1, a size or time is not above 0.
    """
    found = []
    for threshold in sorted(set(thresholds)):
        if not 0.0 < threshold <= 1.0:
            raise InvalidValueError(f"expected thresholds above 0 and up to 1, got {threshold}")
        for size in sorted(set(sizes), key=lambda size: size or 2**62):
            if size is not None and size < 1:
                raise InvalidValueError(f"expected sizes of 1 or more, got {size}")
            for ttl in sorted(set(ttls), key=lambda ttl: ttl or 1e300):
                if ttl is not None and not ttl > 0:
                    raise InvalidValueError(f"expected times to live above 0, got {ttl}")
                found.append(Variant(threshold, size, ttl, judge_from))
    return found


def replay(paths: Sequence[Path], plan: Plan, progress: Callable[[int], object] = lambda n: None) -> Replayed:
    """Runs logs, one after the other as one stream, through the simulated caches.

    Memory holds the index of what the caches hold, not the log: see `docs/replay.md`.

    Args:
        paths: files; `-` for the standard input.
        plan: what to simulate.
        progress: called with the bytes read since the last call.

    Raises:
        InvalidValueError: nothing in the logs could be read as a request.
        MissingFileError, CorruptFileError, StoreError: see `replay_lines.lines`.
        FingerprintError: `work_dir` holds embeddings of another embedder.
        EmbedderError: the embedder failed.
    """
    found, draw = Replayed(), random.Random(plan.seed)

    def paired(first: str, second: str, similarity: float, right: bool | None) -> None:
        found.n_pairs += 1
        place = len(found.pairs)
        if place >= plan.pairs:
            # Vitter 1985, Random sampling with a reservoir, algorithm R.
            place = draw.randrange(found.n_pairs)
            if place >= plan.pairs:
                return
            found.pairs[place] = {}
        else:
            found.pairs.append({})
        found.pairs[place] = {
            "id": f"replay-{found.n_pairs}",
            "a": first,
            "b": second,
            "same": None if right is None else int(right),
            "category": f"cosine {int(similarity * 50) / 50:.2f}",
            "similarity": round(similarity, 4),
        }

    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bsc-replay-")))
            if plan.work_dir is not None:
                plan.work_dir.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreError(f"{plan.work_dir}: {exc.strerror or exc}") from exc
        simulation = Simulation(
            plan.variants,
            embedder=plan.embedder,
            folder=folder,
            embeddings_folder=plan.work_dir,
            guards=plan.guards,
            policy=plan.policy,
            judge=plan.judge,
            agreement=plan.agreement,
            prices=dict(plan.prices),
            paired=paired if plan.pairs else None,
        )
        stack.callback(simulation.close)
        rows: Iterable[Line] = (line for path in paths for line in lines(path, progress))
        reading = _Reading(plan, found)
        if plan.sort:
            rows = reading.sorted(rows, folder, stack)
        requests = in_order(reading.requests(rows), found.ordered, 0 if plan.sort else WINDOW)
        while chunk := list(islice(requests, _CHUNK)):
            simulation.feed(chunk)
            _note(found, simulation, chunk)
        found.timeline.end(found.requests, found.last_time or 0.0, simulation.hits())
        found.embedded = simulation.embeddings.embedded
        found.unstored = simulation.unstored
        found.judge_from = simulation.cells[0].variant.judge_from
        found.variants = [
            tally.summary(entries=cell.n, evictions=cell.evictions)
            for tally, cell in zip(simulation.tallies, simulation.cells, strict=True)
        ]
    if not found.requests:
        why = f": {found.examples[0]}" if found.examples else ""
        raise InvalidValueError(f"expected requests in the log, got none that can be read{why}")
    return found


def _note(found: Replayed, simulation: Simulation, chunk: Sequence[tuple[float, Logged]]) -> None:
    for _, request in chunk:
        found.with_answer += request.answer is not None
        found.with_truth += request.truth is not None
        found.with_usage += request.usage is not None
        found.with_seconds += request.seconds is not None
        found.with_tenant += request.tenant is not None
        if request.time is not None:
            found.first_time = request.time if found.first_time is None else found.first_time
            found.last_time = request.time
    found.requests += len(chunk)
    found.timeline.add(found.requests, chunk[-1][0], simulation.hits)


class _Reading:
    """Rows as requests, with what could not be read counted."""

    def __init__(self, plan: Plan, found: Replayed) -> None:
        self._plan = plan
        self._found = found
        self._formats: dict[str, str] = {}
        self._n = 0

    def requests(self, rows: Iterable[Line]) -> Iterator[Logged]:
        for line in rows:
            if self._plan.limit is not None and self._n >= self._plan.limit:
                return
            request = self._read(line)
            if request is not None:
                self._n += 1
                yield request

    def sorted(self, rows: Iterable[Line], folder: Path, stack: ExitStack) -> Iterable[Line]:
        """The rows by time; they are read a second time when their turn comes."""
        kept = SortedLines(folder)
        stack.callback(kept.close)
        silent = _Reading(self._plan, Replayed())
        for line in rows:
            request = silent._read(line)
            kept.add(line, None if request is None else request.time)
        return kept

    def _read(self, line: Line) -> Logged | None:
        found = self._found
        try:
            if not isinstance(line.row, Mapping):
                raise InvalidTypeError("expected a JSON object, got something else")
            name = self._plan.format or self._formats.get(line.path)
            if name is None:
                name = self._formats[line.path] = detected(line.row, self._plan.fields)
            request = FORMATS[name](line.row, self._plan.fields)
        except BinarySemanticCacheError as exc:
            found.unreadable += 1
            if len(found.examples) < _MOST_EXAMPLES:
                found.examples.append(f"{line.path}:{line.number}: {exc}")
            return None
        if request is None:
            found.passed_over += 1
            return None
        found.formats[name] += 1
        return request
