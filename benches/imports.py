"""What it takes before the first call: import times in fresh processes, and the size on the disk."""

import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import binary_semantic_cache
from benches.harness import Figure, Row
from benches.subject import Setting

__all__ = ["run"]

_OURS = "binary-semantic-cache"
_MNEME = "mneme-cache"
_TIMED = "import numpy, time; began = time.perf_counter(); {}; print((time.perf_counter() - began) * 1e3)"
_IMPORTS = {
    "base": "import binary_semantic_cache",
    "text": "from binary_semantic_cache import SemanticCache",
    _MNEME: "import mneme",
}
_MEGABYTE = 1e6


def run(setting: Setting) -> Iterator[Row]:
    """Imports with NumPy already there, then the base install with all that it pulls in."""
    rounds: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    for _ in range(setting.size(21, 3)):
        for name, statement in _IMPORTS.items():
            rounds[name].append(_milliseconds(statement))
    theirs, most = statistics.median(rounds[_MNEME]), Figure.at_most(100, "ms")
    for name, what in (
        ("base", "import, NumPy already there"),
        ("text", "import of SemanticCache, the same"),
    ):
        kept = {"ours": rounds[name], _MNEME: rounds[_MNEME]}
        yield Row(what, 1, "ms", statistics.median(rounds[name]), _MNEME, theirs, most, rounds=kept)

    ours, others = _closure(_OURS), _closure(_MNEME)
    size, their_size = (sum(map(_bytes, names)) / _MEGABYTE for names in (ours, others))
    yield Row("installed, base, all that it needs", len(ours), "MB", size, _MNEME, their_size)
    own, their_own = _bytes(_OURS) / _MEGABYTE, _bytes(_MNEME) / _MEGABYTE
    yield Row("installed, the package alone", 1, "MB", own, _MNEME, their_own)
    yield Row("packages it needs", len(ours) - 1, "", len(ours) - 1, _MNEME, len(others) - 1)


def _milliseconds(statement: str) -> float:
    command = [sys.executable, "-c", _TIMED.format(statement)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _closure(name: str) -> set[str]:
    """The package and all that it requires, extras and other platforms left out."""
    found, left = set(), [name]
    while left:
        package = left.pop()
        if package not in found:
            found.add(package)
            required = (line for line in distribution(package).requires or [] if ";" not in line)
            left += [re.split(r"[^\w.-]", line)[0].lower() for line in required]
    return found


def _bytes(name: str) -> int:
    """Bytes of a package's files, without what Python compiles; of ours where it lies, as in a wheel."""
    if name == _OURS:
        folder = Path(binary_semantic_cache.__file__).parent
        files = [path for path in folder.rglob("*") if path.is_file()]
    else:
        dist = distribution(name)
        files = [Path(str(dist.locate_file(path))) for path in dist.files or []]
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc" and path.is_file())
