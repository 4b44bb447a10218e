"""What looks after workers, without them: commands that end at once stand for workers that cannot start."""

import asyncio
import logging
import os
import socket
import sys

import pytest

from binary_semantic_cache.proxy.processes import supervisor
from binary_semantic_cache.proxy.processes.ending import Ending
from binary_semantic_cache.proxy.processes.listening import bound_socket
from binary_semantic_cache.proxy.processes.relay import record_sockets
from binary_semantic_cache.proxy.processes.settings_travel import packed_settings, read_settings
from binary_semantic_cache.proxy.settings import ProxySettings, ServerSettings
from proxy_configurations import EVERYTHING, read

pytestmark = pytest.mark.skipif(os.name == "nt", reason="workers need a POSIX system")


def test_workers_that_never_get_ready_are_given_up(monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    caplog.set_level(logging.ERROR)
    called = []

    async def look_after():
        ending = Ending()
        reader, writer = record_sockets()
        settings = ProxySettings(server=ServerSettings(workers=2))
        with reader, writer, bound_socket("127.0.0.1", 0, "server.port") as bound:
            await supervisor.Supervisor(settings, bound, writer, ending).run(lambda: called.append(1))
        return ending.status

    assert asyncio.run(look_after()) == 1
    assert called == []
    assert "5 workers died before they were ready: giving up" in caplog.text
    assert "ended after" in caplog.text
    assert "with status 1" in caplog.text


def test_settings_arrive_as_they_were(tmp_path):
    settings = read(tmp_path, EVERYTHING, {"BSC_SERVER_ADMIN_TOKEN": "x" * 16}).settings
    here, there = socket.socketpair()
    with there:
        with here:
            here.sendall(packed_settings(settings))
        assert read_settings(there) == settings
        with pytest.raises(EOFError):
            read_settings(there)
