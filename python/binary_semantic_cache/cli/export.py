"""`bsc export`: a cache file to JSON lines or arrays."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_EXAMPLES = """\
examples:
  bsc export answers.db answers.jsonl              one JSON object an entry; bytes as base64
  bsc export answers.db answers.npz                columns that numpy.load reads
  bsc export answers.db shared.jsonl --no-secret   without what tells prompts and tenants from their hashes

An export holds prompts and answers in the clear, and is readable by its owner alone. With the store's secret
an import is an exact copy: the very same prompts are found, and scopes keep tenants apart. Without it the
hashes mean nothing elsewhere, and the export can only go back into the store it came from.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc export`."""
    parser = subparsers.add_parser(
        "export",
        help="write the entries of a cache file as JSON lines or arrays",
        description="Write all entries of a cache file to a file that other programs read.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="FILE", help="the file of a SemanticCache; only read")
    parser.add_argument("out", type=Path, metavar="OUT", help="a name that ends in .jsonl or .npz")
    parser.add_argument(
        "--secret",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write the store's secret too (default: yes)",
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.cli.shown import progress_bar, safe
    from binary_semantic_cache.text.exporting import export

    with progress_bar(None) as progress:
        done = export(namespace.path, namespace.out, secret=namespace.secret, progress=progress)
    if namespace.json:
        print(json.dumps({"entries": done.entries, "pairs": done.pairs, "secret": done.secret}))
        return 0
    print(
        f"exported {done.entries:,} entries and {done.pairs:,} reported pairs to {safe(str(namespace.out))}"
    )
    if not done.secret:
        print("without the store's secret: it can go back into this store alone", file=sys.stderr)
    return 0
