"""`bsc verify`: whether a cache file is sound, and repairing it."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    from binary_semantic_cache.stores.salvage import Finding

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_EXAMPLES = """\
examples:
  bsc verify answers.db                          exit status 0: sound, 1: damaged
  bsc verify answers.db --codes                  also compare codes with embeddings kept as float32
  bsc verify answers.db --repair                 keep what is sound; the old file stays as answers.db.damaged
  bsc verify answers.db --repair --no-backup     keep what is sound, and nothing else
  bsc verify answers.db --json > findings.json

Without --repair the file is only read. Close the programs that use a file before repairing it. After a
repair the exit status is 0; what was lost is listed.
"""

_MOST_SHOWN = 50


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc verify`."""
    parser = subparsers.add_parser(
        "verify",
        help="check a cache file for damage, and repair it",
        description="Read everything in a cache file and say what is damaged.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="FILE", help="the file of a SemanticCache")
    parser.add_argument("--codes", action="store_true", help="compare codes with float32 embeddings")
    parser.add_argument(
        "--repair", action="store_true", help="put a new file of all that is sound in its place"
    )
    parser.add_argument(
        "--keep-backup",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with --repair: keep the old file as FILE.damaged (default: yes)",
    )
    parser.add_argument(
        "--no-backup", action="store_false", dest="keep_backup", help="the same as --no-keep-backup"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.cli.shown import progress_bar
    from binary_semantic_cache.errors import CorruptFileError
    from binary_semantic_cache.stores.salvage import Finding
    from binary_semantic_cache.stores.verify import repair, verify
    from binary_semantic_cache.text.soundness import entry_checks

    path: Path = namespace.path
    checks = partial(entry_checks, codes=namespace.codes)
    try:
        with progress_bar(None) as progress:
            found = verify(path, checks, progress)
        entries, findings = found.entries, found.findings
    except CorruptFileError as exc:
        if not namespace.repair:
            raise
        entries, findings = 0, (Finding("file", str(exc), loses=True),)
    if not findings or not namespace.repair:
        _print(namespace, {"sound": not findings, "entries": entries, "repaired": False}, findings)
        return 1 if findings else 0
    with progress_bar(entries) as progress:
        done = repair(path, checks, keep_backup=namespace.keep_backup, progress=progress)
    backup = None if done.backup is None else str(done.backup)
    summary = {
        "sound": False,
        "entries": done.entries,
        "repaired": True,
        "pairs": done.pairs,
        "backup": backup,
    }
    _print(namespace, summary, done.findings)
    return 0


def _print(namespace: argparse.Namespace, summary: dict[str, Any], findings: Sequence["Finding"]) -> None:
    from binary_semantic_cache.cli.shown import safe

    if namespace.json:
        print(json.dumps(summary | {"findings": [finding._asdict() for finding in findings]}, indent=2))
        return
    for finding in findings[:_MOST_SHOWN]:
        print(f"{finding.place}: {safe(finding.what)}{' (lost)' if finding.loses else ''}")
    if len(findings) > _MOST_SHOWN:
        print(f"... and {len(findings) - _MOST_SHOWN:,} more; --json lists all")
    if summary["repaired"]:
        lost = sum(finding.loses for finding in findings)
        print(
            f"repaired: kept {summary['entries']:,} entries and {summary['pairs']:,} reported pairs; "
            f"{lost:,} of the findings are losses"
        )
        print(f"the old file: {safe(summary['backup'] or 'removed')}")
    elif findings:
        print(f"damaged: {len(findings):,} findings, {summary['entries']:,} entries are whole")
        print(f"`bsc verify {safe(str(namespace.path))} --repair` keeps what is whole", file=sys.stderr)
    else:
        print(f"sound: {summary['entries']:,} entries")
