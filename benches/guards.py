"""What the guards keep and block on labelled pairs, and what they and the judge cost.

    python -m benches.guards --data ../shared/data

A file of pairs holds JSON lines with `a`, `b`, `same` (1: the answer to `a` answers `b`) and `category`. Kept
is the share of pairs with one answer that no guard vetoes; blocked is the share of the others that some guard
vetoes. Both in percent, kept first; brackets hold Wilson's interval of 95 %. What the judge costs is told
where the local model is installed.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import MissingExtraError, ModelNotFoundError
from binary_semantic_cache.text.guards import GUARDS, Guards
from binary_semantic_cache.text.judge import Judge
from binary_semantic_cache.text.vectors import pack, unit

__all__ = ["main"]

_ROOT = Path(__file__).parents[1]
_SETS = {
    "questions": "adversarial/fow_questions.jsonl",
    "finance": "adversarial/finance.jsonl",
    "word problems": "numbers/gsmplus.jsonl",
    "negation": "negation/semantoneg.jsonl",
    "Quora": "qqp/qqp_calib.jsonl",
}
_NAMED = {"numbers", "negation"}
_NAMED_MORE = _NAMED | {"capitals", "antonyms", "roles", "time"}
_UNIONS = {
    "numbers, negation": _NAMED,
    "+ capitals, antonyms, roles, time": _NAMED_MORE,
    "+ substitution": _NAMED_MORE | {"substitution"},
    "all": set(GUARDS),
}
_ROUNDS = 5
_MOST_TIMED = 200
_MANY = 20
_MOST_CATEGORIES = 10


Call = tuple[str, list[str]]
"""A prompt and its candidates."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, whether one answer does for both, and the guards that veto."""

    a: str
    b: str
    same: bool
    category: str
    vetoes: frozenset[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; gives the exit status."""
    given = _parser().parse_args(arguments)
    present = {name: given.data / path for name, path in _SETS.items() if (given.data / path).is_file()}
    if not present:
        print(f"no labelled pairs in {given.data}; --data FOLDER tells where they are", file=sys.stderr)
        return 2
    guards = Guards()
    pairs = {name: _examined(guards, path, str) for name, path in present.items()}
    rows = {**{name: {name} for name in GUARDS}, **_UNIONS}
    print(_table("guard", pairs, rows))
    print()
    for name in present:
        # A category of one or two pairs tells nothing.
        if 1 < len({pair.category for pair in pairs[name]}) <= _MOST_CATEGORIES:
            print(_by_category(name, pairs[name]))
            print()
    lower = {name: _examined(guards, path, str.lower) for name, path in present.items()}
    print(_table("in lower case", lower, {"capitals": {"capitals"}, "all": set(GUARDS)}))
    print()
    print(_costs(pairs, guards))
    if given.show:
        _show(pairs[given.show])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benches.guards", description="Measures the guards.")
    parser.add_argument(
        "--data", type=Path, default=_ROOT.parent / "shared" / "data", metavar="FOLDER", help="labelled pairs"
    )
    parser.add_argument("--show", choices=_SETS, help="list the pairs of one set that come out wrong")
    return parser


def _examined(guards: Guards, path: Path, change: Callable[[str], str]) -> list[Pair]:
    pairs = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            a, b = change(row["a"]), change(row["b"])
            vetoes = frozenset(veto.guard for veto in guards.check(a, [b])[0])
            pairs.append(Pair(a, b, row["same"] == 1, row["category"], vetoes))
    return pairs


def _table(head: str, sets: dict[str, list[Pair]], rows: dict[str, set[str]]) -> str:
    lines = [f"| {head} | " + " | ".join(sets) + " |", "|---|" + "---|" * len(sets)]
    for row, chosen in rows.items():
        lines.append(f"| {row} | " + " | ".join(_cell(pairs, chosen) for pairs in sets.values()) + " |")
    return "\n".join(lines)


def _by_category(name: str, pairs: list[Pair]) -> str:
    lines = [f"| {name}, all guards | pairs | kept / blocked |", "|---|--:|---|"]
    for category in sorted({pair.category for pair in pairs}):
        chosen = [pair for pair in pairs if pair.category == category]
        lines.append(f"| {category} | {len(chosen)} | {_cell(chosen, set(GUARDS))} |")
    return "\n".join(lines)


def _cell(pairs: Iterable[Pair], chosen: set[str]) -> str:
    """Kept and blocked."""
    kept = [not pair.vetoes & chosen for pair in pairs if pair.same]
    blocked = [bool(pair.vetoes & chosen) for pair in pairs if not pair.same]
    return f"{_share(kept)} / {_share(blocked)}"


def _share(outcomes: list[bool]) -> str:
    """A percentage with its interval. Source: Wilson 1927, the score interval."""
    n, z = len(outcomes), 1.96
    if n == 0:
        return "-"
    share = sum(outcomes) / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f"{100 * share:.1f} [{100 * low:.0f}-{100 * high:.0f}]"


def _costs(sets: dict[str, list[Pair]], guards: Guards) -> str:
    """What guards and judge take, each for itself, for one candidate of a prompt and for many."""
    calls = {
        name: [
            [(pair.a, [pair.b, *(other.b for other in pairs[: n - 1])]) for pair in pairs[:_MOST_TIMED]]
            for n in (1, _MANY)
        ]
        for name, pairs in sets.items()
    }
    rows = {name: [_microseconds(guards.check, some) for some in both] for name, both in calls.items()}
    try:
        embedder = LocalEmbedder()
    except (MissingExtraError, ModelNotFoundError) as exc:
        print(f"the judge is not timed: {exc}", file=sys.stderr)
    else:
        known: dict[str, NDArray[np.float32]] = {}
        for name, both in calls.items():
            rows[name] += [_microseconds(_scoring(Judge(), some, embedder, known), some) for some in both]
    head = [f"{who}, {n}" for who in ("guards", "judge") for n in ("one candidate", f"each of {_MANY}")]
    head = head[: max(len(cells) for cells in rows.values())]
    lines = ["| microseconds a candidate | " + " | ".join(head) + " |", "|---|" + "--:|" * len(head)]
    lines += [
        f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |" for name, cells in rows.items()
    ]
    return "\n".join(lines)


def _scoring(
    judge: Judge, calls: Sequence[Call], embedder: LocalEmbedder, known: dict[str, NDArray[np.float32]]
) -> Callable[[str, list[str]], object]:
    """The judge, asked like the guards: embeddings and packed vectors are at hand, as in a cache."""
    for text in {text for prompt, candidates in calls for text in (prompt, *candidates)} - known.keys():
        known[text] = unit(embedder.embed([text])[0])
    packed = {text: pack(embedding, "int8") for text, embedding in known.items()}

    def score(prompt: str, candidates: list[str]) -> object:
        return judge.score(prompt, known[prompt], candidates, [packed[text] for text in candidates])

    return score


def _microseconds(ask: Callable[[str, list[str]], object], calls: Sequence[Call]) -> float:
    """Processor time a candidate, in the best of some rounds: what else runs can only add to it."""
    times = []
    n = sum(len(candidates) for _, candidates in calls)
    for _ in range(_ROUNDS):
        began = process_time()
        for prompt, candidates in calls:
            ask(prompt, candidates)
        times.append((process_time() - began) / n)
    return min(times) * 1e6


def _show(pairs: list[Pair]) -> None:
    for pair in pairs:
        if pair.same == bool(pair.vetoes):
            print("lost" if pair.same else "served", pair.a, pair.b, *sorted(pair.vetoes), sep=" | ")


if __name__ == "__main__":
    sys.exit(main())
