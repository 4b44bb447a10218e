"""Keeps the memory of a server that runs for months level, where glibc's malloc would let it grow.

asyncio receives into a new buffer of 256 KiB each time and shrinks it to what came. malloc takes such buffers
from the system one by one at first; but once a larger block was freed (a model's weights, say) it raises the
size from which it does, and cuts them from the heap. What is left of each then stands in the way of the next
buffer: the heap grows although most of it is free.
"""

import ctypes
import os

__all__ = ["keep_memory_level"]

_OPTIONS = {
    # From where on blocks are the system's own. glibc's first value; that it is set at all is what counts.
    "M_MMAP_THRESHOLD": (-3, 128 * 1024),
    # Set with it, as the heap's end would go back and forth between process and system otherwise.
    "M_TRIM_THRESHOLD": (-1, 4 * 1024 * 1024),
    "M_TOP_PAD": (-2, 1024 * 1024),
}
"""Numbers in glibc's malloc.h, and bytes. Source: mallopt(3)."""


def keep_memory_level() -> bool:
    """Fixes the sizes that glibc's malloc would adapt; to be called as a process starts.

    Returns:
        Whether it did: not with another allocator or C library, nor where the environment sets options of
        malloc, which then count.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc." in os.environ.get(
        "GLIBC_TUNABLES", ""
    ):
        return False
    mallopt = None if os.name != "posix" else getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(number, size) == 1 for number, size in _OPTIONS.values())
