"""Where the local model lives, and what its folder says about itself.

    model.onnx      the network, made by `model_convert`
    tokenizer.json  as published
    LICENSE NOTICE  of the weights
    manifest.json   names, sizes, digests, origin; without it the folder counts as empty

A folder holds one model in one precision and appears whole, by a rename: see `model_install`.
"""

import hashlib
import importlib.util
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from binary_semantic_cache.errors import EmbedderError, ModelNotFoundError

__all__ = [
    "DATA_PACKAGE",
    "DIMENSION",
    "MANIFEST_FILE",
    "MODEL_FILE",
    "MODEL_NAME",
    "OUR_FILES",
    "TOKENIZER_FILE",
    "WINDOW",
    "FileRecord",
    "Manifest",
    "Precision",
    "default_model_folder",
    "describe_file",
    "find_model_folder",
    "read_manifest",
    "read_verified",
]

Precision = Literal["int8", "float32"]

MODEL_NAME = "all-MiniLM-L6-v2"
DIMENSION = 384
WINDOW = 256  # tokens: what the model was trained on, although it has 512 positions

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
MANIFEST_FILE = "manifest.json"
OUR_FILES = frozenset({MODEL_FILE, TOKENIZER_FILE, MANIFEST_FILE, "LICENSE", "NOTICE"})

DATA_PACKAGE = "binary_semantic_cache_minilm"  # a wheel with the int8 model inside, see packaging/model-wheel

_MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size and digest of one file, as it was written."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` says."""

    model: str
    precision: Precision
    files: Mapping[str, FileRecord]
    origin: str
    made_with: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Names the model, its bytes and all that shapes its vectors."""
        network, tokenizer = self.files[MODEL_FILE].sha256, self.files[TOKENIZER_FILE].sha256
        return f"{self.model}/{self.precision}/{network}/{tokenizer[:16]}/mean/l2/{WINDOW}"

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return json.dumps({"version": _MANIFEST_VERSION, **asdict(self)}, indent=2) + "\n"


def default_model_folder(precision: Precision = "int8") -> Path:
    """Where `bsc model install` puts the model and `LocalEmbedder` looks for it.

    `BSC_MODEL_DIR` names the folder outright; else it lies in `$XDG_CACHE_HOME`, or `~/.cache` without that.
    """
    if chosen := os.environ.get("BSC_MODEL_DIR"):
        return Path(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    name = MODEL_NAME if precision == "int8" else f"{MODEL_NAME}-{precision}"
    return cache / "binary-semantic-cache" / "models" / name


def find_model_folder(precision: Precision = "int8") -> Path:
    """The default folder, or the data package's when nothing is installed there and the package is."""
    folder = default_model_folder(precision)
    if precision == "int8" and not (folder / MANIFEST_FILE).exists():
        package = importlib.util.find_spec(DATA_PACKAGE)
        if package is not None and package.origin is not None:
            return Path(package.origin).parent / "model"
    return folder


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the model in `folder`; the files themselves are not read.

    Raises:
        ModelNotFoundError: there is no model in `folder`.
        EmbedderError: the manifest is damaged, or of a version this package does not read.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise ModelNotFoundError(
            f"no model in {folder}; install it with: {_install_command(folder)}"
        ) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise EmbedderError(f"cannot read {path}: {exc}; {_REPAIR}") from exc
    try:
        fields = json.loads(text)
        version = fields.pop("version")
        files = {str(name): FileRecord(**record) for name, record in fields.pop("files").items()}
        manifest = Manifest(files=files, **fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise EmbedderError(f"{path} is damaged; {_REPAIR}") from exc
    if version != _MANIFEST_VERSION or manifest.model != MODEL_NAME:
        expected = f"{MODEL_NAME!r}, manifest version {_MANIFEST_VERSION}"
        raise EmbedderError(f"{path}: expected {expected}, got {manifest.model!r}, {version!r}; {_REPAIR}")
    if (
        manifest.precision not in get_args(Precision)
        or not isinstance(manifest.origin, str)
        or not isinstance(manifest.made_with, dict)
        or not {MODEL_FILE, TOKENIZER_FILE} <= manifest.files.keys() <= OUR_FILES
    ):
        raise EmbedderError(f"{path} is damaged; {_REPAIR}")
    return manifest


def read_verified(folder: Path, name: str, manifest: Manifest) -> bytes:
    """The bytes of one file of the model, once their digest is the manifest's.

    Raises:
        EmbedderError: the file is missing, cannot be read or has changed.
    """
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise EmbedderError(f"cannot read {path}: {exc.strerror}; {_REPAIR}") from exc
    found, expected = describe_file(content), manifest.files[name]
    if found != expected:
        raise EmbedderError(
            f"{path} is damaged: expected {expected.bytes} bytes, sha256 {expected.sha256}, "
            f"got {found.bytes} bytes, sha256 {found.sha256}; {_REPAIR}"
        )
    return content


def _install_command(folder: Path) -> str:
    """The command that puts a model into `folder`."""
    command = "bsc model install"
    # Whoever reads this in a service's journal lacks the service's environment, which may name the folder.
    if not os.environ.get("BSC_MODEL_DIR"):
        if folder == default_model_folder("int8"):
            return command
        if folder == default_model_folder("float32"):
            return f"{command} --precision float32"
    return f"{command} --folder {shlex.quote(str(folder))}"


def describe_file(content: bytes) -> FileRecord:
    """The record that a manifest keeps of a file with this content."""
    return FileRecord(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


_REPAIR = "build it again with: bsc model install --force"
