"""A worker: `python -m` of this module with `CONTROL LISTENING RECORDS`, the numbers of inherited sockets.

Started by `supervisor`, of no use by hand. The settings, which may hold keys, come over CONTROL and stand on
no command line.
"""

import asyncio
import logging
import socket
import sys
from contextlib import suppress

from binary_semantic_cache.errors import BinarySemanticCacheError
from binary_semantic_cache.proxy.processes.allocator import keep_memory_level
from binary_semantic_cache.proxy.processes.assembly import Requests, serve_requests
from binary_semantic_cache.proxy.processes.ending import Ending
from binary_semantic_cache.proxy.processes.opening import open_cache
from binary_semantic_cache.proxy.processes.relay import RecordWriter
from binary_semantic_cache.proxy.processes.server_log import log_to_stderr
from binary_semantic_cache.proxy.processes.settings_travel import read_settings
from binary_semantic_cache.proxy.processes.supervisor import NOW, READY
from binary_semantic_cache.proxy.settings import ProxySettings

__all__ = ["main"]


def main() -> int:
    """Serves until told to end; the exit status."""
    keep_memory_level()
    control, bound, records = (socket.socket(fileno=int(number)) for number in sys.argv[1:4])
    records.setblocking(False)
    settings = read_settings(control)
    log_to_stderr(settings.log.level)
    try:
        return asyncio.run(_serve(settings, control, bound, RecordWriter(records)))
    except BinarySemanticCacheError as error:
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400 - one line, as for people
        return 1


async def _serve(
    settings: ProxySettings, control: socket.socket, bound: socket.socket, writer: RecordWriter
) -> int:
    ending = Ending()
    # Both signals may come from outside beside what the supervisor says; only it knows of a second one.
    ending.listen(repeated=False)
    control.setblocking(False)

    loop = asyncio.get_running_loop()

    def told() -> None:
        message = control.recv(1)
        if message == NOW:
            ending.end_now(1)
            return
        ending.begin()
        if not message:
            # The supervisor is gone; a closed socket would be readable for ever.
            loop.remove_reader(control.fileno())

    loop.add_reader(control.fileno(), told)
    cache = await asyncio.to_thread(open_cache, settings.cache)
    try:
        requests = Requests(settings, cache, further=(writer,))
        await serve_requests(settings, requests, bound, ending, lambda: _say_ready(control))
    finally:
        loop.remove_reader(control.fileno())
        await asyncio.to_thread(cache.close)
        writer.close()
    return ending.status


def _say_ready(control: socket.socket) -> None:
    # A supervisor that died meanwhile needs no answer; its end is noticed elsewhere.
    with suppress(OSError):
        control.send(READY)


if __name__ == "__main__":
    sys.exit(main())
