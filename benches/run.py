"""The command: which subjects to run, in which order, and where the results go."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from benches import (
    approximate,
    archive,
    batches,
    breakdown,
    cold,
    encode,
    get,
    imports,
    lag,
    lru,
    memory,
    multi_index,
    peers,
    put,
    report,
    scopes,
    search,
    semantic,
    stores,
    text,
    threads,
)
from benches.harness import FULL, SMOKE, Row
from benches.machine import describe, one_cpu
from benches.published import PublishedUnavailableError, load_published
from benches.subject import Setting

__all__ = ["run"]

_SUBJECTS: Mapping[str, Callable[[Setting], Iterable[Row]]] = {
    "encode": encode.run,
    "search": search.run,
    "batches": batches.run,
    "scopes": scopes.run,
    "multi_index": multi_index.run,
    "approximate": approximate.run,
    "get": get.run,
    "cold": cold.run,
    "peers": peers.run,
    "lru": lru.run,
    "put": put.run,
    "archive": archive.run,
    "memory": memory.run,
    "threads": threads.run,
    "semantic": semantic.run,
    "breakdown": breakdown.run,
    "stores": stores.run,
    "lag": lag.run,
    "text": text.run,
    "imports": imports.run,
}
_ON_ALL_CPUS = {"batches", "threads", "lag"}
_RESULTS = Path(__file__).parent / "results"


def run(arguments: Sequence[str], *, dropped_variables: Mapping[str, str]) -> int:
    """Runs the subjects asked for; prints the table; returns the exit status.

    Results that are not equal end the run with a traceback; a figure that is not reached does not.
    """
    given = _parser().parse_args(arguments)
    chosen = [name for name in _SUBJECTS if not given.only or name in given.only]
    machine = describe(dropped_variables)
    setting = _setting(smoke=given.smoke)
    machine["published"] = setting.published and {
        "wheel": setting.published.wheel,
        "sha256": setting.published.digest,
    }
    rows: list[Row] = []
    began = perf_counter()
    for name in chosen:
        _say(f"{name}: {perf_counter() - began:.0f} s")
        with nullcontext() if name in _ON_ALL_CPUS else one_cpu():
            for row in _SUBJECTS[name](setting):
                _say(f"  {row.what}, n = {row.n:,}, against {row.contender or 'nobody'}")
                # Figures are for full sizes and a quiet machine.
                rows.append(replace(row, figure=None) if given.smoke else row)
    machine["seconds"] = round(perf_counter() - began, 1)
    print(report.table(rows))
    folder = given.out or (None if given.smoke else _RESULTS)
    if folder is None:
        _say("a smoke run: nothing was written (--out FOLDER writes)")
    else:
        label = "-".join([*(["smoke"] if given.smoke else []), *(chosen if given.only else [])])
        _say(f"raw results: {report.write(rows, machine, folder, label)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benches",
        description="Times this package against NumPy, FAISS, usearch and other semantic caches.",
        epilog="example: python -m benches --only encode search",
    )
    parser.add_argument("--smoke", action="store_true", help="small sizes: does everything run and agree?")
    parser.add_argument("--only", nargs="+", choices=_SUBJECTS, metavar="NAME", help=", ".join(_SUBJECTS))
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write (default: benches/results)"
    )
    return parser


def _setting(*, smoke: bool) -> Setting:
    effort = SMOKE if smoke else FULL
    try:
        return Setting(effort, smoke, load_published())
    except PublishedUnavailableError as exc:
        _say(f"published package: not available: {exc}")
        return Setting(effort, smoke, None, str(exc))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
