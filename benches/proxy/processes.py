"""Servers in processes of their own, each on the CPUs that it is given."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["cpus", "resident_bytes_of", "started"]


def cpus() -> tuple[set[int], set[int]]:
    """Where the load and the upstream run, and where what is measured runs; the same if there is but one."""
    all_of_them = sorted(os.sched_getaffinity(0))
    return {all_of_them[0]}, {all_of_them[-1]}


@contextmanager
def started(
    module: str, *arguments: str, on: set[int], python: str = sys.executable
) -> Iterator[tuple[int, int]]:
    """A server's port and process id; it ends with the context."""
    command: Sequence[str] = [python, "-m", module, *arguments]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, on)  # children inherit it
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    finally:
        os.sched_setaffinity(0, before)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        # Some servers print more than their port.
        port = next((line for line in process.stdout if line.strip().isdigit()), None)
        if port is None:
            raise RuntimeError(f"{module} {' '.join(arguments)} did not start")
        yield int(port), process.pid
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def resident_bytes_of(process: int) -> int:
    """Resident memory of a process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
