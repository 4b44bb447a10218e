"""`bsc`: parse the command line, run one subcommand, turn errors into one line and an exit status.

Exit status: 0 done, 1 a typed error of this package, 2 wrong usage, 3 more wrong answers than were admitted,
130 interrupted, 141 when the reader of our output left.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from binary_semantic_cache import __version__
from binary_semantic_cache.cli import (
    calibrate,
    demo,
    evaluate,
    export,
    imports,
    inspect,
    label,
    model,
    reembed,
    replay,
    serve,
    verify,
)
from binary_semantic_cache.errors import BinarySemanticCacheError

__all__ = ["build_parser", "main"]

DESCRIPTION = "A semantic cache for LLM calls: 256-bit codes, exact Hamming search, answers in microseconds."

EXAMPLES = """\
examples:
  bsc demo                         fill a cache with questions, ask others, print what happened
  bsc demo --json > report.json    the same figures for a program to read
  bsc model install                fetch, verify and convert the local embedding model
  bsc model show                   where the model lies, its size and fingerprint
  bsc inspect answers.db           what a cache file holds
  bsc verify answers.db            whether it is sound; --repair keeps what is
  bsc export answers.db out.jsonl  its entries as JSON lines, or as arrays in out.npz
  bsc import out.jsonl copy.db     an export, or an older archive, into a cache file
  bsc reembed answers.db           move a cache file to another embedder
  bsc serve --demo                 a caching proxy in front of a model's API, with one to try
  bsc evaluate pairs.jsonl         how often it is right and wrong on labelled pairs
  bsc calibrate pairs.jsonl        the threshold that keeps wrong answers within a budget
  bsc label pairs.jsonl --out labelled.jsonl
                                   judge pairs in the terminal
  bsc replay requests.jsonl        what a cache would have saved on a log

`bsc COMMAND --help` tells more about one command.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; every subcommand sets `run`, a `(namespace) -> exit status`."""
    parser = argparse.ArgumentParser(
        prog="bsc",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bsc {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    demo.add_parser(subparsers)
    model.add_parser(subparsers)
    inspect.add_parser(subparsers)
    verify.add_parser(subparsers)
    export.add_parser(subparsers)
    imports.add_parser(subparsers)
    reembed.add_parser(subparsers)
    serve.add_parser(subparsers)
    evaluate.add_parser(subparsers)
    calibrate.add_parser(subparsers)
    label.add_parser(subparsers)
    replay.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bsc` with `argv` (default: the process's arguments).

    Returns:
        The exit status.

    Raises:
        SystemExit: by argparse, with 0 after `--help` and `--version`, with 2 after wrong usage.
    """
    try:
        try:
            return _run(argv)
        finally:
            # Without this flush a reader that left is noticed only at exit, where Python prints a traceback.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BinarySemanticCacheError as error:
        print(f"bsc: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bsc: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _silence_output()
        return 141
    except OSError as error:
        _silence_output()
        print(f"bsc: error: {error.strerror or error}", file=sys.stderr)
        return 1


def _silence_output() -> None:
    """Sends what is still buffered nowhere, so that the flush at exit has nothing to complain about."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    namespace = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] | None = getattr(namespace, "run", None)
    if run is None:
        parser.print_help(sys.stderr)
        return 2
    return run(namespace)


if __name__ == "__main__":
    sys.exit(main())
