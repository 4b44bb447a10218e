"""`bsc label`: fifty pairs in ten minutes."""

import argparse
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from binary_semantic_cache.cli.pair_arguments import add_pair_arguments, cosine, count, pairs_of
from binary_semantic_cache.errors import InvalidValueError

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    from binary_semantic_cache.proof.candidates import Candidate

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_EXAMPLES = """\
examples:
  bsc label pairs.jsonl --out labelled.jsonl              judge pairs of a file
  bsc label pairs.csv --columns question1,question2 --out labelled.jsonl
  bsc label --from answers.db --out labelled.jsonl        pairs of a cache's prompts near the threshold
  bsc label --from answers.db --random --limit 100 --out labelled.jsonl

The question is always: would the answer to the first be right for the second, too? Keys: s same, d
different, k (or space) skip, u undo, q quit. Every label is in the file at once; the next call goes on where
this one stopped. Without a terminal, lines of the same letters or words are read from the standard input.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc label`."""
    parser = subparsers.add_parser(
        "label",
        help="judge pairs of prompts in the terminal",
        description="Show pairs of prompts, and write down whether one answer serves both.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_pair_arguments(parser, "?", "a file of pairs, as of `bsc evaluate`; labels in it are not looked at")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the labels, as JSON lines")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="the file of a cache instead: pairs of prompts of one scope near the threshold; only read",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="at most N pairs (of a cache default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of a random draw (default: 0)")
    near = parser.add_argument_group("pairs of a cache")
    near.add_argument(
        "--threshold", type=cosine, metavar="COSINE", help="the middle (default: the embedder's)"
    )
    near.add_argument(
        "--width", type=float, default=0.08, help="how far from it a cosine may lie (default: 0.08)"
    )
    near.add_argument("--random", action="store_true", help="draw evenly instead of the nearest first")
    near.add_argument("--vetoed", action="store_true", help="also pairs that guards or policy would stop")
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.cli.label_screen import Screen, run
    from binary_semantic_cache.proof.labelling import Labelling

    if (namespace.pairs is None) == (namespace.source is None):
        raise InvalidValueError("expected a file of pairs, or a cache by --from, and not both")
    candidates = _of_cache(namespace) if namespace.source else _of_file(namespace)
    if not candidates:
        print("there is nothing to label", file=sys.stderr)
        return 0
    with Labelling(candidates, namespace.out, monotonic) as labelling:
        run(labelling, Screen(sys.stdin, sys.stdout))
    return 0


def _of_file(namespace: argparse.Namespace) -> "list[Candidate]":
    from binary_semantic_cache.proof.candidates import candidates_of

    return candidates_of(pairs_of(namespace, [namespace.pairs]))


def _of_cache(namespace: argparse.Namespace) -> "list[Candidate]":
    from binary_semantic_cache.cli.shown import progress_bar
    from binary_semantic_cache.proof.neighbours import neighbours

    with progress_bar(None) as progress:
        return neighbours(
            namespace.source,
            threshold=namespace.threshold,
            width=namespace.width,
            limit=namespace.limit or 200,
            vetoed=namespace.vetoed,
            seed=namespace.seed if namespace.random else None,
            progress=progress,
        )
