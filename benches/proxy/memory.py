"""Resident memory of the proxy over many requests: hits, misses that push others out, streams."""

import sys
from contextlib import ExitStack

from benches.proxy.load import WrongReplyError, drive
from benches.proxy.processes import cpus, resident_bytes_of, started
from benches.proxy.questions import ask

__all__ = ["memory_lines"]

_KINDS = 20
_SHARED = 500
"""Questions that are asked again and again."""


def memory_lines(requests: int) -> int:
    """Prints resident memory ten times on the way, and the slope over the second half; returns 0."""
    load, measured = cpus()
    with ExitStack() as stack:
        upstream, _ = stack.enter_context(started("benches.proxy.upstream", on=load))
        address = f"http://127.0.0.1:{upstream}"
        port, process = stack.enter_context(started("benches.proxy.servers", "small", address, on=measured))
        seen: list[tuple[int, float]] = []
        for part in range(10):
            n, first = requests // 10, part * requests
            made = drive(port, _mixed, _is_right, connections=16, seconds=1e6, most=n, first=first // 10)
            done = (seen[-1][0] if seen else 0) + len(made.latencies)
            seen.append((done, resident_bytes_of(process) / 2**20))
            print(f"{done:>10,} requests  {seen[-1][1]:7.1f} MiB  {made.per_second:6.0f}/s", flush=True)
    half = seen[len(seen) // 2 :]
    slope = (half[-1][1] - half[0][1]) / (half[-1][0] - half[0][0]) * 1e6
    print(f"slope over the second half: {slope:.2f} MiB a million requests", file=sys.stdout)
    return 0


def _question(n: int) -> str:
    """One of twenty was not asked before."""
    return f"question {n % _SHARED if n % _KINDS else n} of the long run"


def _is_stream(n: int) -> bool:
    """Two of ten, hits and misses."""
    return n % 10 in (0, 1)


def _mixed(n: int) -> bytes:
    return ask(_question(n), stream=_is_stream(n))


def _is_right(n: int, reply: bytes) -> None:
    if not reply.startswith(b"HTTP/1.1 200"):
        raise WrongReplyError(reply[:300].decode())
    if not _is_stream(n) and _question(n).encode() not in reply:
        raise WrongReplyError(f"request {n}: {reply[:600]!r}")
