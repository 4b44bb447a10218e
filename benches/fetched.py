"""Packages to compare with, fetched once into the user's cache folder and kept out of the environment.

Several of them ask for PyTorch, or for other versions of what the environment has, and run without. Some
tests need an environment in which fastembed is not installed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["UnavailableError", "benches_cache", "fetch_peers", "pinned_peers"]

_LIST = Path(__file__).with_name("peers.txt")
_FETCH_SECONDS = 300


class UnavailableError(RuntimeError):
    """A contender cannot be had here; the message says why."""


def benches_cache() -> Path:
    """Where benchmarks keep what they fetched or made, for all runs."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "binary-semantic-cache" / "benches"


def pinned_peers() -> dict[str, str]:
    """The versions that `peers.txt` names."""
    lines = (line for line in _LIST.read_text().splitlines() if not line.startswith("#"))
    return dict(line.split("==") for line in lines)


def fetch_peers() -> Path:
    """Makes what `peers.txt` names importable, behind all that the environment has; gives its folder.

    Raises:
        UnavailableError: pip could not fetch it.
    """
    digest = hashlib.sha256(_LIST.read_bytes()).hexdigest()[:12]
    folder = benches_cache() / f"peers-{digest}-{sys.implementation.cache_tag}"
    if not folder.exists():
        _install(folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return folder


def _install(folder: Path) -> None:
    """The folder appears whole or not at all; of two runs at once, the later one's work is thrown away."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        target = Path(made) / "peers"
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        command += ["--no-deps", "--only-binary=:all:", "--target", str(target), "--requirement", str(_LIST)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_FETCH_SECONDS)
        except (OSError, subprocess.SubprocessError) as exc:
            said = (getattr(exc, "stderr", None) or str(exc)).strip().splitlines() or [type(exc).__name__]
            raise UnavailableError(said[-1].removeprefix("ERROR: ")) from exc
        shutil.rmtree(target / "bin", ignore_errors=True)
        try:
            target.rename(folder)
        except OSError:
            if not folder.exists():
                raise
