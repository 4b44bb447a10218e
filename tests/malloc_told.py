"""What glibc's malloc tells of itself."""

import ctypes
from dataclasses import dataclass

__all__ = ["Told", "is_told", "told"]


@dataclass(frozen=True, slots=True)
class Told:
    """Of all arenas together."""

    heap_bytes: int
    """From the system, for heaps: blocks in use, and free ones between them."""
    used_bytes: int
    """In use, blocks that the system gave one by one included."""


class _MallocInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`. Source: mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


_LIBC = ctypes.CDLL(None)


def is_told() -> bool:
    """Whether this C library does: glibc since 2.33."""
    return hasattr(_LIBC, "mallinfo2")


def told() -> Told:
    """As it is now; nothing where `is_told` says no."""
    if not is_told():
        return Told(0, 0)
    _LIBC.mallinfo2.restype = _MallocInfo
    info = _LIBC.mallinfo2()
    return Told(info.arena, info.uordblks + info.hblkhd)
