"""`bsc evaluate`: how often a cache is right and wrong on labelled pairs."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from binary_semantic_cache.cli.pair_arguments import (
    add_embedder_arguments,
    add_pair_arguments,
    asked_about,
    cosine,
    judge_of,
    pairs_of,
    share,
)
from binary_semantic_cache.errors import InvalidValueError

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    from binary_semantic_cache.proof.evaluation import Evaluation

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_EXAMPLES = """\
examples:
  bsc evaluate pairs.jsonl                         shares served and served wrong, by category
  bsc evaluate pairs.csv --columns question1,question2,is_duplicate
  bsc evaluate pairs.jsonl --json                  the same figures for a program to read
  bsc evaluate pairs.jsonl --html report.html      a page with curves; --png FILE a picture of them
  bsc evaluate pairs.jsonl --max-wrong 0.05        for CI: status 3 if more of the traps are served
  bsc evaluate pairs.jsonl --threshold 0.9 --limit 1000
  bsc evaluate pairs.jsonl --judge                 with the shipped judge behind the guards

A line of JSON is {"a": ..., "b": ..., "same": 1, "category": "..."}; a and b are texts or lists of chat
messages, same is 1 where the answer to a answers b. A CSV has the same columns. Either may end in .gz. Each
pair is put and looked up in a scope of its own, by the cache as it is shipped. docs/proof.md tells how to
read the figures. Exit status: 3 when there are more wrong answers than --max-wrong admits.
"""

TOO_MANY_WRONG = 3


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="how often a cache is right and wrong on labelled pairs",
        description="Ask a cache about pairs of prompts, and count what it serves rightly and wrongly.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_pair_arguments(parser, "+", "files of pairs: JSON lines, .csv or .tsv, plain or .gz")
    add_embedder_arguments(parser)
    parser.add_argument(
        "--threshold",
        type=cosine,
        metavar="COSINE",
        help="least cosine (default: the embedder's), with --judge least probability (the judge's)",
    )
    parser.add_argument(
        "--max-wrong",
        type=share,
        metavar="SHARE",
        help="the greatest share of traps served; more is exit status 3 (also the budget of the best "
        "threshold, there 0.05 by default)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="with --max-wrong: the upper end of the 95%% interval counts, not the share itself",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with curves and tables")
    parser.add_argument("--png", type=Path, metavar="FILE", help="write the curves (extra plot)")
    parser.add_argument(
        "--show", type=_amount, default=5, metavar="N", help="list so many mistakes of each kind (default: 5)"
    )
    parser.add_argument("--no-text", action="store_true", help="show no prompt anywhere")
    parser.set_defaults(run=_run)


def _amount(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text}")
    return int(text)


def _run(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.cli.evaluate_shown import lines
    from binary_semantic_cache.proof.evaluation import evaluated

    if namespace.strict and namespace.max_wrong is None:
        raise InvalidValueError("expected --max-wrong with --strict, got --strict alone")
    pairs = pairs_of(namespace, namespace.pairs)
    if namespace.max_wrong is not None and not any(pair.same is False for pair in pairs):
        raise InvalidValueError("expected pairs labelled 0 for --max-wrong, got none")
    if namespace.png:
        from binary_semantic_cache.proof.plot import require_matplotlib

        require_matplotlib()  # before minutes are spent on the figures
    threshold, embedder, asked = asked_about(namespace, pairs, namespace.threshold)
    judge = judge_of(namespace)
    evaluation = evaluated(
        asked,
        threshold=threshold,
        embedder=embedder,
        budget=namespace.max_wrong or 0.05,
        least_cosine=None if judge is None else judge.least_cosine,
    )
    if evaluation.disagreeing:
        print(
            f"bsc: {evaluation.disagreeing:,} pairs went otherwise than the curve says at this threshold; "
            "trust the shares, not the curve",
            file=sys.stderr,
        )
    texts = not namespace.no_text
    _write_files(namespace, evaluation, texts=texts)
    if namespace.json:
        print(json.dumps(evaluation.plain(show=namespace.show, texts=texts)))
    else:
        print("\n".join(lines(evaluation, show=namespace.show, texts=texts)))
    return _status(namespace, evaluation)


def _write_files(namespace: argparse.Namespace, evaluation: "Evaluation", *, texts: bool) -> None:
    from binary_semantic_cache.vector.archive.atomic import replacing

    if namespace.html:
        from binary_semantic_cache.proof.report import page

        with replacing(namespace.html) as file:
            file.write(page(evaluation, show=namespace.show, texts=texts).encode("utf-8", "replace"))
    if namespace.png:
        from binary_semantic_cache.proof.plot import png

        picture = png(evaluation)
        with replacing(namespace.png) as file:
            file.write(picture)


def _status(namespace: argparse.Namespace, evaluation: "Evaluation") -> int:
    if namespace.max_wrong is None:
        return 0
    wrong = evaluation.whole.traps
    found = wrong.interval[1] if namespace.strict else wrong.value
    if found <= namespace.max_wrong:
        return 0
    what = "the upper end of the share of traps served" if namespace.strict else "the share of traps served"
    print(f"bsc: expected {what} to be at most {namespace.max_wrong:g}, got {found:.4f}", file=sys.stderr)
    return TOO_MANY_WRONG
