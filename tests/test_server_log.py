"""What the proxy says of itself on standard error: no line for each request that meets the same trouble."""

import sqlite3
import subprocess
import sys

import pytest

from binary_semantic_cache.errors import StoreError
from binary_semantic_cache.stores.cause import told

BEGIN = """\
import logging
from binary_semantic_cache.proxy.processes import server_log
now = 100.0
server_log.monotonic = lambda: now
server_log.log_to_stderr("info")
logger = logging.getLogger("binary_semantic_cache.test")
"""
FULL = "an answer could not be stored: StoreError (SQLITE_FULL)"


def said(program: str) -> list[str]:
    """What a process of its own says: it takes the handlers away that others have set."""
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN + program], capture_output=True, text=True, check=True, timeout=60
    )
    return [line.partition(": ")[2] for line in ended.stderr.splitlines()]


def test_the_same_warning_is_said_once_in_a_while_and_then_how_often_it_was():
    assert said(f"""
for _ in range(1000):
    logger.warning({FULL!r})
logger.warning("another")
now += server_log._REPEAT_SECONDS
logger.warning({FULL!r})
""") == [FULL, "another", f"{FULL} (999 more of the same before)"]


def test_what_is_no_warning_is_said_each_time():
    assert said("for _ in range(3): logger.info('audit who=bearer')") == ["audit who=bearer"] * 3


def test_of_many_different_warnings_none_is_left_out():
    assert said("for n in range(1000): logger.warning('trouble %d', n)") == [
        f"trouble {n}" for n in range(1000)
    ]


def test_the_server_s_word_for_a_reply_that_was_broken_off_is_not_repeated():
    assert said("""
server = logging.getLogger("uvicorn.error")
server.error("ASGI callable returned without completing response.")
server.error("another")
""") == ["another"]


def test_a_cause_is_named_by_its_code_and_never_by_its_message(tmp_path):
    with pytest.raises(sqlite3.Error) as failed:
        sqlite3.connect(tmp_path / "none" / "a.db")
    error = StoreError("a secret prompt")
    error.__cause__ = StoreError("a secret prompt")
    error.__cause__.__cause__ = failed.value
    assert told(error) == "StoreError (SQLITE_CANTOPEN)"
    assert told(FileNotFoundError(2, "a secret prompt")) == "FileNotFoundError (ENOENT)"
    assert told(ValueError("a secret prompt")) == "ValueError"
