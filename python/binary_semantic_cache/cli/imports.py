"""`bsc import`: exports, and older archives, into a cache file."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from binary_semantic_cache.errors import InvalidValueError, MissingFileError

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    from binary_semantic_cache.text.exchange import Export

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_EXAMPLES = """\
examples:
  bsc import answers.jsonl copy.db                    a new file: an exact copy, ids and secret included
  bsc import answers.npz answers.db --replace         entries of the same key are replaced, not kept
  bsc import answers.jsonl other.db --scope '"team"'  another store: bare prompts of this scope get new keys
  bsc import old.npz new.db --prompt-field q --answer-field text
                                                      an archive of BinarySemanticCache whose responses hold
                                                      prompt and answer; a folder of formats 2 and 3 too

All of the input is checked before anything is stored, and no pickle is run. A file of another store has
another secret: there only bare prompts of the scopes that you name (none named: the scope None) can be given
keys, all other entries are left out and counted. Embedders must agree; `bsc reembed` moves a file.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc import`."""
    parser = subparsers.add_parser(
        "import",
        help="enter an export, or an older archive, into a cache file",
        description="Enter an export, or an older archive, into a new or existing cache file.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", type=Path, metavar="IN", help="what `bsc export` wrote, or an older archive"
    )
    parser.add_argument(
        "path", type=Path, metavar="FILE", help="the file of a SemanticCache, new or existing"
    )
    parser.add_argument("--replace", action="store_true", help="replace entries of the same key")
    parser.add_argument(
        "--scope",
        action="append",
        type=_json,
        metavar="JSON",
        help="a scope whose bare prompts may get new keys; may be given several times (default: null). "
        "Of an older archive: the one scope that its answers are for",
    )
    older = parser.add_argument_group("older archives")
    older.add_argument(
        "--prompt-field", metavar="NAME", help="the field of the prompt (default: prompt, query or question)"
    )
    older.add_argument(
        "--answer-field", metavar="NAME", help="the field of the answer (default: response or answer)"
    )
    older.add_argument(
        "--embedder", default="local", metavar="NAME", help="as of `bsc reembed` (default: local)"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=_run)


def _json(text: str) -> object:
    from binary_semantic_cache.text.canonical import encode, parse_json

    try:
        scope = parse_json(text, "scope")
        encode(scope, "scope")
    except (InvalidValueError, TypeError) as exc:
        raise argparse.ArgumentTypeError(f"expected JSON, such as '\"team\"': {exc}") from exc
    return scope


def _run(namespace: argparse.Namespace) -> int:
    source: Path = namespace.source
    if not source.exists():
        raise MissingFileError(f"expected something to import, got nothing at {source}")
    if not source.is_dir() and source.suffix == ".jsonl":
        from binary_semantic_cache.text.exchange_jsonl import JSONLinesExport

        return _enter_export(namespace, JSONLinesExport(source))
    if source.is_dir() or source.suffix == ".npz":
        from binary_semantic_cache.text.exchange_npz import NpzExport, is_npz_export

        if not source.is_dir() and is_npz_export(source):
            return _enter_export(namespace, NpzExport(source))
        return _enter_archive(namespace)
    raise InvalidValueError(f"expected a file that ends in .jsonl or .npz, or a folder, got {source.name}")


def _enter_export(namespace: argparse.Namespace, export: "Export") -> int:
    from binary_semantic_cache.cli.shown import progress_bar
    from binary_semantic_cache.text.importing import import_export

    with progress_bar(2 * export.header.entries) as progress:
        done = import_export(
            export,
            namespace.path,
            overwrite=namespace.replace,
            scopes=tuple(namespace.scope or (None,)),
            progress=progress,
        )
    figures = asdict(done)
    if namespace.json:
        print(json.dumps(figures))
        return 0
    print(_sentence(figures) + f", {done.pairs:,} reported pairs")
    if done.unknown:
        print(
            f"left out {done.unknown:,} entries: the file is of another store, and they answer no bare "
            "prompt of the scopes named; --scope names one",
            file=sys.stderr,
        )
    return 0


def _enter_archive(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.cli.shown import progress_bar
    from binary_semantic_cache.embedders.from_name import embedder_from
    from binary_semantic_cache.text.adopting import ANSWER_FIELDS, PROMPT_FIELDS, adopt

    scopes = namespace.scope or [None]
    if len(scopes) > 1:
        raise InvalidValueError(f"expected one scope for the answers of an older archive, got {len(scopes)}")
    with progress_bar(None) as progress:
        done = adopt(
            namespace.source,
            namespace.path,
            embedder_from(namespace.embedder),
            prompt_fields=PROMPT_FIELDS if namespace.prompt_field is None else (namespace.prompt_field,),
            answer_fields=ANSWER_FIELDS if namespace.answer_field is None else (namespace.answer_field,),
            scope=scopes[0],
            overwrite=namespace.replace,
            progress=progress,
        )
    figures = asdict(done.imported)
    if namespace.json:
        print(json.dumps(figures | {"refused": done.refused}))
        return 0
    print(_sentence(figures))
    for reason, n in done.refused.items():
        print(f"left out {n:,} answers that no cache stores: {reason}", file=sys.stderr)
    return 0


def _sentence(figures: dict[str, int]) -> str:
    return (
        f"imported {figures['entered']:,} entries, replaced {figures['replaced']:,}, kept {figures['kept']:,}"
    )
