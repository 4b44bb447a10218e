"""What commands about pairs share: the options that say which pairs, and asking a cache about them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from binary_semantic_cache.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from binary_semantic_cache.proof.asking import Asked
    from binary_semantic_cache.proof.pairs import Pair
    from binary_semantic_cache.text.judge import Judge

__all__ = [
    "add_embedder_arguments",
    "add_pair_arguments",
    "asked_about",
    "cosine",
    "count",
    "judge_of",
    "pairs_of",
    "share",
]


def add_pair_arguments(parser: argparse.ArgumentParser, nargs: str, text: str) -> None:
    """Adds the files, and how to read them."""
    parser.add_argument("pairs", type=Path, nargs=nargs, metavar="PAIRS", help=text)
    parser.add_argument(
        "--columns",
        type=_names,
        default=(),
        metavar="A,B[,SAME[,CATEGORY]]",
        help="names of a CSV's columns (default: a, b, same, category, or else the first two)",
    )
    parser.add_argument("--no-header", action="store_true", help="the CSV's first line is a pair, too")


def add_embedder_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the embedder, the judge, and how many pairs to ask about."""
    parser.add_argument(
        "--embedder", default="local", metavar="NAME", help="as of `bsc reembed` (default: local)"
    )
    parser.add_argument(
        "--judge",
        action="store_true",
        help="ask a cache with the shipped judge; thresholds are then its probabilities, not cosines",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="ask about N pairs alone, drawn evenly")
    parser.add_argument("--seed", type=int, default=0, help="of that draw (default: 0)")


def pairs_of(namespace: argparse.Namespace, paths: "Sequence[Path]") -> "list[Pair]":
    """The pairs of the files, or as many of them as were asked for."""
    from binary_semantic_cache.proof.pairs import read_pairs, sampled

    every = [
        pair
        for path in paths
        for pair in read_pairs(path, columns=namespace.columns, header=not namespace.no_header)
    ]
    if not every:
        raise InvalidValueError(f"expected pairs in {', '.join(map(str, paths))}, got none")
    return sampled(every, getattr(namespace, "limit", None), getattr(namespace, "seed", 0))


def judge_of(namespace: argparse.Namespace, least_probability: float | None = None) -> "Judge | None":
    """The judge that was asked for, if one was."""
    if not namespace.judge:
        return None
    from binary_semantic_cache.text.judge import Judge

    return Judge() if least_probability is None else Judge(least_probability=least_probability)


def asked_about(
    namespace: argparse.Namespace, pairs: "Sequence[Pair]", threshold: float | None
) -> "tuple[float, str, list[Asked]]":
    """The cache's threshold, its embedder's fingerprint, and what it made of the pairs.

    Args:
        namespace: the options of `add_embedder_arguments`.
        pairs: what is asked.
        threshold: least cosine, with `--judge` least probability; `None` for the default.
    """
    from binary_semantic_cache.cli.shown import progress_bar
    from binary_semantic_cache.embedders.from_name import embedder_from
    from binary_semantic_cache.proof.asking import ask, texts_of
    from binary_semantic_cache.proof.remembering import RememberingEmbedder

    embedder = RememberingEmbedder(embedder_from(namespace.embedder))
    texts = texts_of(pairs)
    with progress_bar(len(texts), "text") as progress:
        embedder.learn(texts, progress)
    with progress_bar(len(pairs), "pair") as progress:
        judge = judge_of(namespace, threshold)
        least = threshold if judge is None else None
        used, asked = ask(pairs, embedder, threshold=least, judge=judge, progress=progress)
    return used, embedder.fingerprint, asked


def count(text: str) -> int:
    """A whole number from 1, for argparse."""
    try:
        n = int(text)
    except ValueError:
        n = 0
    if n < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return n


def share(text: str) -> float:
    """A number between 0 and 1, neither of them, for argparse; `2%` is 0.02."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, such as 0.02, got {text}")
    return value


def cosine(text: str) -> float:
    """A number from -1 to 1, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 2.0
    if not -1.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a cosine, -1 to 1, got {text}")
    return value


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not 2 <= len(names) <= 4 or not all(names):
        raise argparse.ArgumentTypeError(f"expected two to four names, such as a,b,same, got {text}")
    return names
