"""`bsc demo`: options and exit status; the work is in `run`, the words are in `report`."""

import argparse
import json
import os
import sys
from pathlib import Path

__all__ = ["add_parser"]

DESCRIPTION = """\
Fill a cache file with some hundreds of questions about Git, then ask paraphrases, unrelated questions and
traps; open the file in a new process and ask again; print what happened, and what a threshold alone would
have done. Every figure is measured in this run. The embedding model is installed first if it is missing.
"""

EXAMPLES = """\
examples:
  bsc demo
  bsc demo --threshold 0.9         stricter: fewer wrong answers, fewer hits
  bsc demo --keep git.db           keep the cache file
  bsc demo --json > report.json    every question with its outcome, and all figures
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `demo` to the subcommands of `bsc`."""
    parser = subparsers.add_parser(
        "demo",
        help="fill a cache with real questions, ask others, print what happened",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--threshold",
        type=_cosine,
        metavar="COSINE",
        help="least cosine of a semantic hit, 0 to 1 (default: the cache's own for the local model)",
    )
    parser.add_argument(
        "--model-folder", type=Path, metavar="FOLDER", help="where the local embedding model lies or goes"
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FILE",
        help="make the cache here and keep it; there must be no file yet",
    )
    parser.add_argument(
        "--call-seconds",
        type=_seconds,
        default=1.5,
        metavar="SECONDS",
        help="assumed duration of one model call, for the time saved (default 1.5)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=_run)


def _cosine(text: str) -> float:
    value = _number(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text}")
    return value


def _seconds(text: str) -> float:
    value = _number(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"expected a number, got {text}") from exc


def _run(namespace: argparse.Namespace) -> int:
    # Imported here, so that `bsc --help` does not pay for NumPy and the model's runtime.
    from binary_semantic_cache.cli.demo import report, run

    findings = run.run(
        threshold=namespace.threshold,
        model_folder=namespace.model_folder,
        keep=namespace.keep,
        call_seconds=namespace.call_seconds,
    )
    if namespace.json:
        print(json.dumps(report.as_json(findings), indent=2, ensure_ascii=False))
    else:
        colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(report.as_text(findings, colours=colours))
    return 0 if findings.reopened.equal else 1
