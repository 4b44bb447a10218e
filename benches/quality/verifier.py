"""`python -m benches.quality.verifier FOLDER`: what a cross-encoder gains where the judge is in doubt.

Limits and zone come from elsewhere (`python -m training.judge zone`) and are applied once.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from tqdm import tqdm

from benches.harness import check_equal
from benches.machine import describe
from benches.quality.ablation import GreyZone, in_doubt, is_asked, served_in_doubt
from benches.quality.evidence import Evidence, Examiner, judged_outcome
from benches.quality.pairs import load
from benches.quality.shares import measured
from benches.quality.shipped import ANSWER, given
from benches.quality.tables import table, whole, with_interval
from benches.report import stem
from binary_semantic_cache import Judge, SemanticCache
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.proof.remembering import RememberingEmbedder
from binary_semantic_cache.proof.shares import Point, Share
from binary_semantic_cache.verifiers import CrossEncoder
from binary_semantic_cache.verifiers.model_files import find_model

__all__ = ["MOST_TRAPS", "Measured", "Timed", "best_in_hindsight", "measure", "run"]

_ROOT = Path(__file__).parents[2]
MOST_TRAPS = 0.05
"""The share of traps served at which methods are compared."""
_SECONDS = 60.0
"""A cache gives up on a verifier after five by default; a machine at work shall not turn that into misses."""


@dataclass(slots=True)
class Timed:
    """A verifier that notes what it gives, and how long both ways of a pair took."""

    verifier: CrossEncoder
    seconds: list[float] = field(default_factory=list)
    score: float | None = None
    """The last one; `None` since it was last reset."""

    def __call__(self, prompt: str, candidate: str) -> bool:
        """As the verifier answers, but that the second way is asked whatever came of the first."""
        began = perf_counter()
        self.score = self.verifier.score(prompt, candidate)
        self.seconds.append(perf_counter() - began)
        return self.score >= self.verifier.least_probability


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out for one set."""

    name: str
    judged: Point
    """The shipped judge alone."""
    verified: Point
    """The judge with its zone, and the verifier: what the cache itself did."""
    zone: GreyZone
    agreed: Point
    """Of the pairs asked about, those to which the verifier agreed."""
    hindsight: Point
    """With the least probability, set on these very pairs, that serves most at `MOST_TRAPS`."""
    seconds: Sequence[float]
    """Of each question."""

    def plain(self) -> dict[str, Any]:
        """As JSON; counts, no texts."""
        points = {
            "judge": self.judged, "with_verifier": self.verified, "agreed_of_asked": self.agreed,
            "hindsight": self.hindsight, "always_right": self.zone.best, "always_yes": self.zone.worst,
        }  # fmt: skip
        return {
            "set": self.name,
            "asked": [self.zone.asked.count, self.zone.asked.n],
            "milliseconds": [round(1000 * one, 2) for one in self.seconds],
        } | {
            name: {"served": [one.served.count, one.served.n], "traps": [one.traps.count, one.traps.n]}
            for name, one in points.items()
        }


def measure(
    name: str,
    pairs: Sequence[Evidence],
    embeddings: RememberingEmbedder,
    judge: Judge,
    verifier: CrossEncoder,
) -> Measured:
    """Puts the first prompt of each pair and looks up the second, each pair in a scope of its own.

    Raises:
        UnequalResultsError: the cache asked or served otherwise than its parts say.
    """
    timed = Timed(verifier)
    served: dict[int, bool] = {}
    scores: dict[int, float] = {}
    with SemanticCache(embedder=embeddings, judge=judge, verifier=timed, timeout_seconds=_SECONDS) as cache:
        for i, one in enumerate(tqdm(pairs, name, unit=" pairs")):
            scope = {"pair": i}
            timed.score = None
            cache.put(given(one.pair.a), ANSWER, scope=scope)
            served[id(one)] = bool(cache.lookup(given(one.pair.b), scope=scope))
            check_equal(one.pair.id, "asked", is_asked(judge, one), timed.score is not None)
            expected = served_in_doubt(judge, one, agrees=_agrees(verifier, timed.score))
            check_equal(one.pair.id, "served", expected, served[id(one)])
            if timed.score is not None:
                scores[id(one)] = timed.score
    asked = [one for one in pairs if id(one) in scores]
    return Measured(
        name,
        measured(pairs, lambda one: judged_outcome(one) in ("exact", "semantic")),
        measured(pairs, lambda one: served[id(one)]),
        in_doubt(pairs, judge),
        measured(asked, lambda one: _agrees(verifier, scores[id(one)])),
        best_in_hindsight(judge, pairs, [scores.get(id(one)) for one in pairs]),
        timed.seconds,
    )


def best_in_hindsight(judge: Judge, pairs: Sequence[Evidence], scores: Sequence[float | None]) -> Point:
    """What would be served at the best least probability for these pairs, at most `MOST_TRAPS` of the traps.

    To compare methods with; whoever sets a threshold on the pairs that they report sees too much of both.

    Args:
        judge: with its zone.
        pairs: all.
        scores: of each, what the verifier gave; `None` where it was not asked.
    """
    best = measured(pairs, lambda one: served_in_doubt(judge, one, agrees=False))
    served, traps = best.served, best.traps
    found = [(score, one.pair.same) for one, score in zip(pairs, scores, strict=True) if score is not None]
    for _, level in groupby(sorted(found, reverse=True), key=lambda pair: pair[0]):
        # Equal scores are served together or not at all.
        same = [label for _, label in level]
        served = Share(served.count + sum(1 for one in same if one), served.n)
        traps = Share(traps.count + sum(1 for one in same if not one), traps.n)
        if traps.value <= MOST_TRAPS:
            best = Point(served, traps)
    return best


def _agrees(verifier: CrossEncoder, score: float | None) -> bool:
    return score is not None and score >= verifier.least_probability


def shown(findings: Sequence[Measured]) -> str:
    """A line for each set."""
    rows = []
    for one in findings:
        times = sorted(1000 * seconds for seconds in one.seconds)
        cost = f"{median(times):.0f}, {times[int(0.95 * (len(times) - 1))]:.0f}" if times else "-"
        rows.append(
            [
                one.name,
                with_interval(one.zone.asked),
                whole(one.judged),
                whole(one.verified),
                whole(one.zone.best),
                whole(one.zone.worst),
                whole(one.agreed),
                whole(one.hindsight),
                cost,
            ]
        )
    head = [
        "set", "asked, of all pairs", "judge alone: served / traps", "with the verifier", "always right",
        "always yes", "agreed to, of those asked: same / traps", "in hindsight",
        "ms, both ways: median, 95th of 100",
    ]  # fmt: skip
    return table(head, rows)


def run(arguments: Sequence[str]) -> int:
    """Measures; returns the exit status."""
    options = _parser().parse_args(arguments)
    low, high = options.zone
    judge = Judge(
        least_probability=round((low + high) / 2, 3),
        least_cosine=options.least_cosine,
        verify_between=(low, high),
    )
    verifier = CrossEncoder(
        options.folder,
        label=options.label,
        refusal_label=options.refusal_label,
        least_probability=options.least_probability,
        both_ways=not options.one_way,
        file_name=options.file_name,
    )
    sets = load(options.data, full=True, smoke=options.smoke)
    if options.sets:
        sets = [one for one in sets if one.name in options.sets]
    embeddings = RememberingEmbedder(LocalEmbedder())
    examiner = Examiner(embeddings)
    findings = [measure(one.name, examiner.examine(one.pairs), embeddings, judge, verifier) for one in sets]
    print(f"{judge!r}, {verifier!r}\n\n{shown(findings)}")
    if options.out:
        network = find_model(options.folder, options.file_name).network
        machine = describe({}) | {"command": _command(options)}
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"{stem(machine, 'verifier')}.json"
        content = {
            "date": date.today().isoformat(),
            "machine": machine,
            "network_sha256": sha256(network.read_bytes()).hexdigest(),
            "judge": repr(judge),
            "verifier": repr(verifier),
            "results": [one.plain() for one in findings],
        }
        path.write_text(json.dumps(content) + "\n")
        print(f"raw results: {path}", file=sys.stderr)
    return 0


def _command(options: argparse.Namespace) -> str:
    """What bears on the figures; folders are the machine's own affair."""
    given = [
        f"--{name.replace('_', '-')} {getattr(options, name)!r}"
        for name in ("label", "refusal_label")
        if getattr(options, name) is not None
    ]
    low, high = options.zone
    zone = f"--zone {low} {high} --least-probability {options.least_probability}"
    return " ".join(["python -m benches.quality.verifier FOLDER", *given, zone])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benches.quality.verifier", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the model, as for CrossEncoder")
    parser.add_argument("--label", help="the label that agrees")
    parser.add_argument("--refusal-label", help="the label that refuses")
    parser.add_argument("--file-name", help="the network's within the folder")
    parser.add_argument("--one-way", action="store_true", help="ask in one order alone")
    parser.add_argument(
        "--zone", type=float, nargs=2, default=(0.45, 0.95), metavar=("LOW", "HIGH"), help="of the judge"
    )
    parser.add_argument("--least-cosine", type=float, default=0.50, help="of the judge")
    parser.add_argument("--least-probability", type=float, default=0.5, help="of the model")
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data", help="labelled pairs")
    parser.add_argument("--sets", nargs="*", metavar="NAME", help="of these sets alone")
    parser.add_argument("--smoke", action="store_true", help="a dozen pairs of each set")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write raw results")
    return parser


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
