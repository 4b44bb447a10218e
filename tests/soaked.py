"""The proxy of a soak, in a process of its own: its memory apart from that of clients and upstream."""

import multiprocessing
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from binary_semantic_cache.proxy.processes.allocator import keep_memory_level
from binary_semantic_cache.proxy.processes.server_log import log_to_stderr
from binary_semantic_cache.proxy.settings import KnownKey
from malloc_told import told
from proxy_server import serving
from torture import make_cache

__all__ = ["Memory", "Soaked", "soaked"]

_SECONDS = 120.0
_AGEING_SECONDS = 900.0
_PUTS_OF_AGE = 90_000
"""Two lines of the store's log each, which is cut to 100,000 at 165,536: so it has been at its longest."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the proxy's process has at one moment."""

    resident_mib: float
    malloc_mib: float
    """In use; 0.0 where glibc does not tell."""
    blocks: int
    """In use, of Python's own allocator."""


@dataclass(frozen=True, slots=True)
class Soaked:
    """The running proxy, from outside."""

    url: str
    _connection: Connection

    def memory(self) -> Memory:
        """As it is now."""
        return self._ask("memory")

    def invalidate(self) -> None:
        """Removes what one tenant has."""
        self._ask("invalidate")

    def settle(self) -> tuple[int, int]:
        """Waits until nothing is under way; entries kept, and requests that are still under way."""
        return self._ask("settle")

    def _ask(self, what: str) -> Any:
        self._connection.send(what)
        assert self._connection.poll(_SECONDS), f"no answer to {what!r}"
        return self._connection.recv()


@contextmanager
def soaked(folder: Path, upstream: str, max_entries: int, *, aged: bool) -> Iterator[Soaked]:
    """The proxy in front of `upstream`, its answers in `folder`; it ends with the context.

    Args:
        folder: of the cache's file.
        upstream: its address.
        max_entries: of the cache.
        aged: whether the file has its past: its log fills SQLite's page cache, which is no leak.
    """
    spawning = multiprocessing.get_context("spawn")
    mine, its = spawning.Pipe()
    process = spawning.Process(target=_run, args=(its, folder, upstream, max_entries, aged), daemon=True)
    process.start()
    its.close()
    try:
        assert mine.poll(_AGEING_SECONDS if aged else _SECONDS), "the proxy did not start"
        yield Soaked(mine.recv(), mine)
    finally:
        mine.close()
        process.join(_SECONDS)
        if process.is_alive():
            process.kill()
        assert process.exitcode == 0, f"the proxy ended with {process.exitcode}"


def _run(connection: Connection, folder: Path, upstream: str, max_entries: int, aged: bool) -> None:
    keep_memory_level()
    log_to_stderr("error")  # the faults are meant
    known = tuple(
        KnownKey(name=name, sha256=sha256(f"sk-{name}".encode()).hexdigest(), tenant="team")
        for name in ("carol", "dave")
    )
    tables = {
        "keys": {"known": known, "trust_seconds": 1.0},
        "cache": {"finish_abandoned": True, "timeout_seconds": 5.0},
    }
    with ExitStack() as stack:
        cache = stack.enter_context(
            make_cache(folder / "answers.db", max_entries=max_entries, timeout_seconds=5.0)
        )
        for number in range(_PUTS_OF_AGE if aged else 0):
            cache.put("how old is it", str(number))
        proxy = stack.enter_context(serving(upstream, cache, tables))
        connection.send(proxy.url)
        while True:
            try:
                asked = connection.recv()
            except EOFError:
                return
            if asked == "memory":
                proxy.records.clear()
                connection.send(_memory())
            elif asked == "invalidate":
                connection.send(len(cache.invalidate(scope="tenant:team")))
            else:
                proxy.wait_until_quiet()
                connection.send((len(cache), proxy.app.state.proxy.under_way))


def _memory() -> Memory:
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return Memory(int(found[1]) / 1024, told().used_bytes / 2**20, sys.getallocatedblocks())
