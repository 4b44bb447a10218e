"""The command: runs the policies with many seeds, prints a table, writes raw results."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benches.learned.stream import Stream, embedded, read
from benches.learned.trial import Case, Outcome, hindsight, made_up, run_learned, run_static
from benches.machine import describe
from benches.report import stem
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import MissingExtraError, ModelNotFoundError
from binary_semantic_cache.text.learned import LearnedPolicy, Promise
from binary_semantic_cache.text.thresholds import default_threshold

__all__ = ["run"]

_ROOT = Path(__file__).parents[2]
_FILE = _ROOT.parent / "shared" / "data" / "qqp" / "qqp_stream_idset.jsonl.gz"
_RESULTS = _ROOT / "benches" / "results"
_NOISE = (0.0, 0.02, 0.05)
_BUDGETS: tuple[tuple[Promise, float], ...] = (("hits", 0.01), ("hits", 0.10), ("requests", 0.01))
_SHARES: dict[str, Callable[[Outcome], float]] = {
    "hits": lambda outcome: outcome.wrong_of_hits,
    "requests": lambda outcome: outcome.wrong_of_requests,
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One policy in one world, over all seeds."""

    world: str
    policy: str
    promise: str
    budget: float
    noise: float
    outcomes: Sequence[Outcome]

    @property
    def within(self) -> int:
        """Seeds whose realised share of wrong answers is within the budget."""
        return sum(_SHARES[self.promise](outcome) <= self.budget for outcome in self.outcomes)

    def line(self) -> str:
        """For the table."""
        n = len(self.outcomes)
        hits = sum(outcome.hit_rate for outcome in self.outcomes) / n
        of_hits = sum(outcome.wrong_of_hits for outcome in self.outcomes) / n
        of_requests = sum(outcome.wrong_of_requests for outcome in self.outcomes) / n
        return (
            f"| {self.world} | {self.policy} | {self.budget:.0%} of {self.promise} | {self.noise:.0%} "
            f"| {hits:.2%} | {of_hits:.2%} | {of_requests:.3%} | {self.within} of {n} |"
        )

    def plain(self) -> dict[str, Any]:
        """For the raw results."""
        return {
            "world": self.world,
            "policy": self.policy,
            "promise": self.promise,
            "budget": self.budget,
            "noise": self.noise,
            "within": self.within,
            "outcomes": [outcome.plain() for outcome in self.outcomes],
        }


_HEAD = (
    "| world | policy | budget | false labels | hits | wrong of hits | wrong of requests | within budget |\n"
    "|---|---|---|---|---|---|---|---|"
)


def run(arguments: Sequence[str]) -> int:
    """Measures; returns the exit status, 0 whether budgets were kept or not."""
    given = _parser().parse_args(arguments)
    seeds = range(2 if given.smoke else given.seeds)
    rows = _measured(
        "made up", lambda seed: made_up(seed, requests=500 if given.smoke else given.requests), seeds
    )
    machine = describe({})
    if given.file.is_file():
        try:
            embedder = LocalEmbedder()
        except (MissingExtraError, ModelNotFoundError) as exc:
            _say(f"the local embedder cannot run: {exc}")
            return 2
        questions = read(given.file, 300 if given.smoke else given.questions)
        stream = Stream(questions, embedded(questions, embedder, given.embeddings))
        machine |= {"questions": len(questions), "embedder": embedder.fingerprint}
        threshold = default_threshold(embedder.fingerprint)
        rows += _measured("questions", stream.asked, seeds, threshold)
    else:
        _say(f"no questions at {given.file} (--file FILE): the made-up world alone")
    table = "\n".join([_HEAD, *(row.line() for row in rows)])
    print(table)
    folder = given.out or (None if given.smoke else _RESULTS)
    if folder is not None:
        machine["command"] = (
            f"python -m benches.learned --questions {given.questions} --requests {given.requests}"
            f" --seeds {given.seeds}"
        )
        path = folder / f"{stem(machine, 'learned')}.json"
        folder.mkdir(parents=True, exist_ok=True)
        content = {"date": date.today().isoformat(), "machine": machine, "results": [r.plain() for r in rows]}
        path.write_text(json.dumps(content) + "\n")
        path.with_suffix(".md").write_text(table + "\n")
        _say(f"raw results: {path}")
    return 0


def _measured(
    world: str,
    asked: Callable[[int], Iterable[Case]],
    seeds: Sequence[int],
    threshold: float | None = None,
) -> list[_Row]:
    """The learned policy under each promise, budget and share of false labels; static ones beside it."""
    rows = []
    if threshold is not None:
        static = [run_static(asked(seed), threshold) for seed in seeds]
        rows.append(
            _Row(world, f"threshold {threshold:.2f}, as shipped", "hits", _BUDGETS[0][1], 0.0, static)
        )
    for promise, budget in _BUDGETS:
        best = [hindsight(partial(asked, seed), _SHARES[promise], budget) for seed in seeds]
        rows.append(_Row(world, "best threshold in hindsight", promise, budget, 0.0, best))
        for noise in _NOISE:
            what = f"{world}, {budget:.0%} of {promise}, {noise:.0%} false"
            learned = []
            for seed in tqdm(seeds, what, unit=" seeds"):
                policy = LearnedPolicy(budget, promise=promise, seed=seed)
                learned.append(run_learned(asked(seed), policy, noise=noise, seed=seed))
            rows.append(_Row(world, "learned", promise, budget, noise, learned))
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benches.learned",
        description="Measures how much the learned policy serves, and whether it keeps its budget.",
        epilog="example: python -m benches.learned --questions 20000",
    )
    parser.add_argument(
        "--file", type=Path, default=_FILE, help="questions with classes (default: %(default)s)"
    )
    parser.add_argument(
        "--questions", type=int, default=10_000, help="how many of them (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds", type=int, default=20, help="orders of the questions (default: %(default)s)"
    )
    parser.add_argument(
        "--requests", type=int, default=5000, help="of the made-up world (default: %(default)s)"
    )
    parser.add_argument(
        "--embeddings", type=Path, metavar="FILE", help="an .npy file that keeps the embeddings"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write (default: benches/results)"
    )
    parser.add_argument("--smoke", action="store_true", help="two seeds and few requests: does it run?")
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
