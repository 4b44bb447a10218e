"""`python -m benches.instructions`: counts, and compares with what was recorded."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from benches.instructions.scenarios import CALLS

_HERE = Path(__file__).parent
_RECORD = _HERE / "counts.json"
_MOST = 1.10
"""Counts of whole calls differ by some percent between runs, as the interpreter's memory lies elsewhere."""
_LEAST = 1 / _MOST


@dataclass(frozen=True, slots=True)
class _Counted:
    versions: Mapping[str, str]
    """What the counts depend on beside this repository."""
    instructions: Mapping[str, int]
    """Of one call of each scenario."""


def main(arguments: list[str]) -> int:
    """0 if nothing grew, or if the record is of other versions; 1 if something grew; 2 without callgrind."""
    parser = argparse.ArgumentParser(
        prog="python -m benches.instructions",
        description="Counts instructions under callgrind and compares them with the record.",
        epilog="example: python -m benches.instructions --record   (after a change meant to cost more)",
    )
    parser.add_argument("--record", action="store_true", help=f"write {_RECORD.name} anew")
    given = parser.parse_args(arguments)
    missing = [tool for tool in ("valgrind", "cc") if shutil.which(tool) is None]
    if missing:
        print(f"expected {' and '.join(missing)}; on Debian: apt-get install valgrind gcc", file=sys.stderr)
        return 2
    counted = _Counted(_versions(), _count())
    if given.record:
        _RECORD.write_text(json.dumps(asdict(counted), indent=1) + "\n")
        print(f"recorded {len(counted.instructions)} counts")
        return 0
    known = _Counted(**json.loads(_RECORD.read_text()))
    grown = _show(counted.instructions, known.instructions)
    if counted.versions != known.versions:
        others = {name: value for name, value in known.versions.items() if counted.versions[name] != value}
        print(f"not judged: the record was made with {others}; --record makes it anew")
        return 0
    if grown:
        print(f"grown by more than {_MOST - 1:.0%}: {', '.join(grown)}; --record if that is meant")
    return 1 if grown else 0


def _count() -> dict[str, int]:
    with TemporaryDirectory(prefix="bsc-instructions-") as name:
        folder = Path(name)
        marker, out = folder / "marker.so", folder / "out"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", marker, _HERE / "marker.c"], check=True)
        # One hash seed and no threads of BLAS: the same instructions each time.
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        command = [
            *("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"),
            *(sys.executable, "-m", "benches.instructions.scenarios", str(marker)),
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"callgrind ended with {done.returncode}: {done.stderr[-2000:]}")
        names = done.stdout.splitlines()
        # A part is written at each mark: those of even number hold the calls of one scenario.
        totals = [_total(Path(f"{out}.{2 * i}")) for i in range(1, len(names) + 1)]
    empty = totals[names.index("nothing")]
    counts = {name: (total - empty) // CALLS for name, total in zip(names, totals, strict=True)}
    del counts["nothing"]
    return counts


def _total(part: Path) -> int:
    found = re.search(r"^totals: (\d+)", part.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"expected totals in {part.name}, got none")
    return int(found[1])


def _show(counts: Mapping[str, int], known: Mapping[str, int]) -> list[str]:
    grown = []
    print(f"{'instructions of one call':<36}{'now':>12}{'recorded':>12}")
    for name, count in counts.items():
        before = known.get(name)
        ratio = None if before is None else count / before
        verdict = "" if ratio is None or _LEAST <= ratio <= _MOST else f"  {ratio:.2f}x"
        print(f"{name:<36}{count:>12,}{'-' if before is None else f'{before:,}':>12}{verdict}")
        if ratio is not None and ratio > _MOST:
            grown.append(name)
    return grown


def _versions() -> dict[str, str]:
    compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    return {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "rustc": compiler.stdout.strip(),
        "valgrind": valgrind.stdout.strip(),
        "machine": platform.machine(),
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
