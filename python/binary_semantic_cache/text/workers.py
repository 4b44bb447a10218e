"""Threads for the asynchronous methods, apart from the event loop's own."""

import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Workers"]

_THREADS = 8

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """A pool that starts with its first use, and anew in a forked child.

    What runs in it ends in bounded time and never waits for a computation of the caller's. In the loop's
    default pool it could wait for ever behind blocking calls that wait for it in turn.
    """

    def __init__(self) -> None:
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns, called in a thread with the caller's context variables."""
        from asyncio import get_running_loop  # loaded by whoever runs a loop; others do without

        work = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        return await get_running_loop().run_in_executor(self._executor(), work)

    def close(self) -> None:
        """Lets the threads go when they are done."""
        pool, self._pool = self._pool, None
        if pool is not None and pool[0] == os.getpid():
            pool[1].shutdown(wait=False)

    def _executor(self) -> ThreadPoolExecutor:
        pool = self._pool
        if pool is None or pool[0] != os.getpid():
            pool = self._pool = os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="bsc")
        return pool[1]
