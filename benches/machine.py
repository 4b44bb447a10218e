"""What the numbers were measured on, and keeping to one CPU of it."""

import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benches.fetched import pinned_peers
from binary_semantic_cache import HammingSimilarity
from binary_semantic_cache.binary_semantic_cache_rs import available_isas

__all__ = ["cpu_name", "describe", "one_cpu", "resident_bytes"]

_PACKAGES = ("numpy", "faiss-cpu", "usearch", "mneme-cache", "onnxruntime", "binary-semantic-cache")
_OPTIONAL = ("sentence-transformers", "torch")


def describe(dropped_variables: Mapping[str, str]) -> dict[str, Any]:
    """Machine, versions, load and command, for the raw file. Read before the work begins."""
    return {
        "cpu": cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "caches": dict(_caches()),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "isa": HammingSimilarity().isa,
        "isas": available_isas(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES} | dict(_optional_versions()),
        "fetched": pinned_peers(),
        "dropped_variables": dict(dropped_variables),
        "command": shlex.join(["python", "-m", "benches", *sys.argv[1:]]),
    }


def cpu_name() -> str:
    """The processor's name, with family and model where the name says little."""
    text = Path("/proc/cpuinfo").read_text()
    found = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.MULTILINE))
    name = found.get("model name", platform.machine())
    return f"{name} (family {found['cpu family']}, model {found['model']})" if "cpu family" in found else name


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keeps every thread of this process on one CPU meanwhile.

    The last one it may use: the first serves most interrupts. Threads that libraries keep are moved, too, so
    nobody computes on a second CPU unseen.
    """
    before = os.sched_getaffinity(0)
    _move_threads({max(before)})
    try:
        yield
    finally:
        _move_threads(before)


def resident_bytes() -> int:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _optional_versions() -> Iterator[tuple[str, str]]:
    for name in _OPTIONAL:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def _move_threads(cpus: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(int(thread.name), cpus)


def _caches() -> Iterator[tuple[str, str]]:
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
        yield f"L{level} {kind}", size
