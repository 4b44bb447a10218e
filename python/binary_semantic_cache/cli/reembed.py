"""`bsc reembed`: move a cache file to another embedder."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from binary_semantic_cache.errors import MissingFileError

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_EXAMPLES = """\
examples:
  bsc reembed answers.db                                          to the local model as it is installed now
  bsc reembed answers.db --embedder openai:text-embedding-3-small
  bsc reembed answers.db --embedder ollama:nomic-embed-text --vectors float16

The file changes at the end, all at once; an interruption leaves it as it was. Programs that have it open go
on with exact matches and must open it again for the others. Exit status 1: the embedder or the file failed.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc reembed`."""
    parser = subparsers.add_parser(
        "reembed",
        help="move a cache file to another embedder",
        description="Embed every prompt of a cache file anew.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="FILE", help="the file of a SemanticCache")
    parser.add_argument(
        "--embedder",
        default="local",
        metavar="NAME",
        help="local, local:float32, openai:MODEL, ollama:MODEL, sentence-transformers:MODEL or "
        "fastembed:MODEL (default: local)",
    )
    parser.add_argument(
        "--vectors",
        choices=("int8", "float16", "float32", "none"),
        default="int8",
        help="how embeddings are kept for re-scoring (default: int8)",
    )
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    from tqdm import tqdm

    from binary_semantic_cache.embedders.from_name import embedder_from
    from binary_semantic_cache.stores.sqlite import SQLiteStore
    from binary_semantic_cache.text.reembed import reembed

    if not namespace.path.is_file():
        raise MissingFileError(f"expected the file of a cache, got nothing at {namespace.path}")
    embedder = embedder_from(namespace.embedder)
    store = SQLiteStore(namespace.path, busy_timeout_seconds=10.0)
    try:
        with tqdm(total=store.stats().entries, unit="entry", file=sys.stderr, leave=False) as bar:
            done = reembed(store, embedder, vectors=namespace.vectors, progress=bar.update)
    finally:
        store.close()
    print(f"entries {done.entries:,}, found by meaning {done.searchable:,}")
    print(f"before  {done.before or 'no embedder'}")
    print(f"now     {done.after}")
    return 0
