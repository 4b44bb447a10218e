"""`bsc inspect`: what a cache file holds."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    from binary_semantic_cache.stores.inspect import Figures, Listed

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_EXAMPLES = """\
examples:
  bsc inspect answers.db                          counts, sizes, ages, tags
  bsc inspect answers.db --json                   the same for a program to read
  bsc inspect answers.db --entries 20             the newest entries, with their prompts
  bsc inspect answers.db --entries 5 --tag docs --prompt refund

The file is only read, also while programs use it. Prompts are shown only with --entries, answers never.
"""

_MOST_TAGS = 20
_PROMPT_WIDTH = 70


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc inspect`."""
    parser = subparsers.add_parser(
        "inspect",
        help="what a cache file holds",
        description="Count what a cache file holds, or list its newest entries.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="FILE", help="the file of a SemanticCache")
    parser.add_argument("--entries", type=_count, metavar="N", help="list the N newest entries instead")
    parser.add_argument("--tag", help="with --entries: only those with this tag")
    parser.add_argument("--prompt", metavar="TEXT", help="with --entries: only those whose prompt holds it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=lambda namespace: _run(parser, namespace))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, got {text}")
    return int(text)


def _run(parser: argparse.ArgumentParser, namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.stores.inspect import figures, listed

    now = time()
    if namespace.entries is None:
        if namespace.tag is not None or namespace.prompt is not None:
            parser.error("expected --entries with --tag and --prompt")
        found = figures(namespace.path, now)
        _print_json(found) if namespace.json else _print_figures(found, now)
        return 0
    for entry in listed(namespace.path, namespace.entries, tag=namespace.tag, containing=namespace.prompt):
        if namespace.json:
            print(json.dumps(entry._asdict()))
        else:
            print(_line(entry, now))
    return 0


def _line(entry: "Listed", now: float) -> str:
    from binary_semantic_cache.cli.shown import age, safe

    tags = f"  [{safe(', '.join(entry.tags), 30)}]" if entry.tags else ""
    gone = "  expired" if entry.expires_at is not None and entry.expires_at <= now else ""
    return f"{entry.id:>8}  {age(now - entry.created_at):>7}  {safe(entry.prompt, _PROMPT_WIDTH)}{tags}{gone}"


def _print_json(found: "Figures") -> None:
    print(json.dumps(asdict(found) | {"made_by": _made_by(found)}, indent=2))


def _print_figures(found: "Figures", now: float) -> None:
    from binary_semantic_cache.cli.shown import age, safe, size

    made = _made_by(found)
    for name, value in (
        ("entries", f"{found.entries:,}, {size(found.n_bytes)} of prompts, answers, codes and vectors"),
        ("embedder", safe(str(made.get("embedder", "none: no cache has filled it")))),
        ("code bits", safe(str(made.get("code_bits", "none")))),
        ("epoch", f"{found.epoch or 'none'}, schema version {found.schema_version}"),
        ("oldest", "none" if found.oldest is None else age(now - found.oldest)),
        ("newest", "none" if found.newest is None else age(now - found.newest)),
        ("expiring", f"{found.expiring:,}, of which {found.expired:,} have expired"),
        ("kinds", ", ".join(f"{safe(kind)} {n:,}" for kind, n in found.kinds.items()) or "none"),
        ("no code", f"{found.without_code:,} that only the very same request finds"),
        ("scopes", f"{found.scopes:,}, the largest {', '.join(map(str, found.largest_scopes)) or 'none'}"),
        ("tags", _tags(found)),
        ("reported", f"{found.pairs:,} pairs that never match"),
        ("log", f"{found.log_lines:,} lines"),
        ("file", f"{size(found.file_bytes)}, write-ahead log {size(found.wal_bytes)}"),
    ):
        print(f"{name:<9}  {value}")


def _tags(found: "Figures") -> str:
    from binary_semantic_cache.cli.shown import safe

    shown = ", ".join(f"{safe(tag, 40)} {n:,}" for tag, n in list(found.tags.items())[:_MOST_TAGS])
    more = len(found.tags) - _MOST_TAGS
    return (shown or "none") + (f", and {more:,} more" if more > 0 else "")


def _made_by(found: "Figures") -> dict[str, object]:
    """The fingerprint taken apart, as far as it can be."""
    try:
        made = json.loads(found.fingerprint or "{}")
    except (ValueError, RecursionError):
        made = None
    return made if isinstance(made, dict) else {"embedder": found.fingerprint}
