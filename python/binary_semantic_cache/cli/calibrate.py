"""`bsc calibrate`: the loosest threshold that labels can vouch for."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from binary_semantic_cache.cli.pair_arguments import (
    add_embedder_arguments,
    add_pair_arguments,
    asked_about,
    cosine,
    pairs_of,
    share,
)
from binary_semantic_cache.errors import ConfigurationError, InvalidValueError

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction
    from collections.abc import Mapping

    from binary_semantic_cache.proof.calibration import Calibration, Judged

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_EXAMPLES = """\
examples:
  bsc calibrate pairs.jsonl                        at most 2 % wrong among the answers served by meaning
  bsc calibrate pairs.jsonl --budget 0.01 --confidence 0.99
  bsc calibrate pairs.jsonl --by category          a threshold for each category, too
  bsc calibrate judged.jsonl --write bsc.toml      from judged live answers, into the proxy's configuration
  bsc calibrate pairs.jsonl --of traps --budget 0.05 --step 0.02
  bsc calibrate pairs.jsonl --judge                the least probability of the judge instead of a cosine

Pairs are those of `bsc evaluate`. Judged answers are lines of {"similarity": 0.91, "right": true, "class":
"..."}: answers that a cache served by meaning, and whether they were right. Only a sample drawn like your
traffic says something of your traffic: docs/proof.md tells what is promised and what is not.
Exit status: 3 when no threshold can be promised; nothing is written then.
"""

NO_PROMISE = 3


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc calibrate`."""
    parser = subparsers.add_parser(
        "calibrate",
        help="the loosest threshold that keeps wrong answers within a budget",
        description="Choose the loosest threshold whose upper bound on wrong answers stays within a budget.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_pair_arguments(parser, "+", "files of labelled pairs, or of judged answers")
    add_embedder_arguments(parser)
    parser.add_argument(
        "--budget", type=share, default=0.02, metavar="SHARE", help="the most wrong answers (default: 0.02)"
    )
    parser.add_argument(
        "--confidence", type=share, default=0.95, metavar="SHARE", help="how sure (default: 0.95)"
    )
    parser.add_argument(
        "--of",
        choices=("hits", "traps", "pairs"),
        default="hits",
        help="a share of what: of the answers served by meaning, of the pairs labelled different, or of all "
        "pairs (default: hits)",
    )
    parser.add_argument(
        "--by",
        choices=("category", "class"),
        help="also a threshold for each category of pairs, or class of judged answers",
    )
    parser.add_argument(
        "--step", type=share, default=0.01, help="thresholds tried are its multiples (default: 0.01)"
    )
    parser.add_argument(
        "--least",
        type=cosine,
        metavar="COSINE",
        help="the loosest that may come out (default: 0.5; of judged answers the least similarity seen)",
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="set threshold of [cache] in this TOML file"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.proof.calibration import Judged

    if namespace.judge and namespace.write:
        raise InvalidValueError(
            "expected --write without --judge, got both: the file's threshold is a cosine"
        )
    classes, embedder, least = _labels(namespace)
    every: list[Judged] = [one for judged in classes.values() for one in judged]
    if not every:
        raise InvalidValueError("expected labels of answers that a threshold decides on, got none")
    whole = _calibrated(namespace, every, least)
    by = {name: _calibrated(namespace, judged, least) for name, judged in classes.items()}
    if not namespace.by:
        by = {}
    if whole.chosen is not None and namespace.write:
        _write(namespace.write, whole.chosen.threshold)
    if namespace.json:
        figures = whole.plain() | {
            "embedder": embedder,
            "threshold_of": "probability" if namespace.judge else "cosine",
            "by": {name: one.plain() for name, one in by.items()},
            "written": str(namespace.write) if namespace.write and whole.chosen is not None else None,
        }
        print(json.dumps(figures))
    else:
        _print(namespace, whole, by, embedder)
    return 0 if whole.chosen is not None else NO_PROMISE


def _labels(namespace: argparse.Namespace) -> "tuple[Mapping[str, list[Judged]], str | None, float]":
    """The labels by class, the embedder where there is one, and the loosest threshold that may come out."""
    from binary_semantic_cache.proof.calibration import judged_of
    from binary_semantic_cache.proof.traffic import is_traffic, read_traffic

    live = [is_traffic(path) for path in namespace.pairs]
    if any(live) and not all(live):
        raise InvalidValueError("expected pairs or judged answers, got files of both")
    if live[0]:
        if namespace.judge:
            raise InvalidValueError(
                "expected pairs with --judge, got judged answers, which have a cosine alone"
            )
        if namespace.of != "hits":
            raise InvalidValueError(
                f"expected --of hits for judged answers, which are hits all, got {namespace.of}"
            )
        classes: dict[str, list[Judged]] = {}
        for path in namespace.pairs:
            for name, judged in read_traffic(path).items():
                classes.setdefault(name, []).extend(judged)
        # What a cache did not serve was not judged: nothing is known of looser thresholds.
        seen = min(one.score for judged in classes.values() for one in judged)
        loosest = round(math.ceil(round(seen / namespace.step, 6)) * namespace.step, 9)
        return classes, None, loosest if namespace.least is None else namespace.least
    pairs = pairs_of(namespace, namespace.pairs)
    if all(pair.same is None for pair in pairs):
        raise InvalidValueError("expected pairs with labels (same: 1 or 0), got none; `bsc label` makes them")
    _, embedder, asked = asked_about(namespace, pairs, None)
    names = dict.fromkeys(pair.category for pair in pairs)
    by = {name: judged_of([one for one in asked if one.pair.category == name]) for name in names}
    return by, embedder, 0.5 if namespace.least is None else namespace.least


def _calibrated(namespace: argparse.Namespace, judged: "list[Judged]", least: float) -> "Calibration":
    from binary_semantic_cache.proof.calibration import calibrated

    return calibrated(
        judged,
        budget=namespace.budget,
        confidence=namespace.confidence,
        of=namespace.of,
        least=least,
        step=namespace.step,
    )


def _write(path: Path, threshold: float) -> None:
    from binary_semantic_cache.proof.threshold_file import write_threshold

    try:
        write_threshold(path, threshold)
    except ConfigurationError as error:
        raise InvalidValueError(str(error)) from error


def _print(
    namespace: argparse.Namespace,
    whole: "Calibration",
    by: "Mapping[str, Calibration]",
    embedder: str | None,
) -> None:
    from binary_semantic_cache.cli.calibrate_shown import classes, outcome, steps
    from binary_semantic_cache.cli.shown import safe

    if embedder is not None:
        print(f"embedder   {safe(embedder.split('/')[0], 70)}")
    if namespace.judge:
        print("judge      the shipped one; the thresholds are its least probabilities")
    print("\n".join(steps(whole)))
    print("\n".join(outcome(whole)))
    if by:
        print("\n".join(["", *classes(by)]))
    if namespace.write and whole.chosen is not None:
        print(f"written to {safe(str(namespace.write))}", file=sys.stderr)
        if by:
            print("a configuration has one threshold: those of classes are for you to use", file=sys.stderr)
