"""The read limit: how long it takes to read some memory once, doing as little else as can be."""

import ctypes
from collections.abc import Callable
from itertools import repeat
from time import perf_counter_ns

import numpy as np

from benches.harness import Contender, Figure

__all__ = ["read_once"]


def read_once(n_bytes: int, figure: Figure | None = None) -> Contender:
    """A contender that reads `n_bytes` of its own once, in the quickest of three ways tried here and now.

    `bytes.find` and the C library's `memchr` (by ctypes, 0.6 us a call) look for a byte that is not there,
    with the widest loads the library has; `bitwise_or.reduce` is NumPy's quickest pass. `numpy.sum` was
    rejected: it is bound by its additions.
    """
    data = b"\1" * n_bytes
    # NumPy asks for huge pages, as our columns do; a bytes object has none.
    array = np.ones(n_bytes, np.uint8)
    words = array[: n_bytes // 8 * 8].view(np.uint64)
    memchr = ctypes.CDLL(None).memchr
    memchr.restype = ctypes.c_void_p
    memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    address = array.ctypes.data
    ways: dict[str, Callable[[], object]] = {
        "bytes.find": lambda: data.find(b"\0"),
        # `array` is named so that the memory behind `address` lives as long as this function.
        "memchr": lambda array=array: memchr(address, 0, len(array)),  # type: ignore[misc]
        "bitwise_or.reduce": lambda: np.bitwise_or.reduce(words),
    }
    name = min(ways, key=lambda way: _quickest_ns(ways[way]))
    return Contender(f"read {n_bytes:,} B once ({name})", ways[name], repeat(()), figure)


def _quickest_ns(call: Callable[[], object]) -> int:
    times = []
    for _ in range(9):
        start = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - start)
    return min(times)
