"""Blocks of the size that asyncio receives into are the system's own each, whatever was freed before."""

import os
import subprocess
import sys

import pytest

from malloc_told import is_told

pytestmark = pytest.mark.skipif(not is_told(), reason="the C library's malloc does not tell of itself")

TAKING = """
import ctypes, sys
from binary_semantic_cache.proxy.processes.allocator import keep_memory_level
from malloc_told import told

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.free(libc.malloc(16 << 20))  # from now on malloc takes less than this from its heap
is_set = "level" in sys.argv and keep_memory_level()
before = told().heap_bytes
for _ in range(50):
    assert libc.malloc(256 << 10)
print(is_set, told().heap_bytes - before)
"""
TAKEN = 50 * 256 * 1024
FEW = TAKEN // 8
"""By this the heap may grow on another account, or not grow, as some blocks find room that it had."""


def taking(*arguments: str, **environment: str) -> tuple[str, int]:
    """Whether options were set, and by how many bytes the heap grew, in a process that takes fifty blocks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    path = os.pathsep.join(folder for folder in sys.path if folder)
    run = subprocess.run(
        [sys.executable, "-c", TAKING, *arguments],
        env=kept | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    is_set, grown = run.stdout.split()
    return is_set, int(grown)


def test_the_heap_grows_by_such_blocks_if_nothing_is_done():
    is_set, grown = taking()
    assert is_set == "False"
    assert grown > TAKEN - FEW


def test_the_heap_stays_as_it_is_once_sizes_are_fixed():
    is_set, grown = taking("level")
    assert is_set == "True"
    assert grown < FEW


@pytest.mark.parametrize(
    "environment",
    [{"MALLOC_TRIM_THRESHOLD_": "1000000"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1000000"}],
    ids=["by variables", "by tunables"],
)
def test_options_of_the_environment_are_left_alone(environment):
    is_set, _ = taking("level", **environment)
    assert is_set == "False"


def test_an_option_that_is_not_of_malloc_does_not_count():
    is_set, grown = taking("level", GLIBC_TUNABLES="glibc.pthread.rseq=0")
    assert is_set == "True"
    assert grown < FEW
