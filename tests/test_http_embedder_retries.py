"""Which failures the embedders behind a server try again, how often, and how long they wait."""

import logging
import socket

import numpy as np
import pytest

from binary_semantic_cache.embedders.ollama import OllamaEmbedder
from binary_semantic_cache.embedders.openai import OpenAIEmbedder
from binary_semantic_cache.errors import EmbedderError
from embedding_server import cut, drip, hang, status
from http_embedders import expected

pytestmark = pytest.mark.usefixtures("no_environment")


def test_a_text_beyond_the_window_is_said_to_be_so_at_once(embedder, server, naps):
    server.longest_text = 10
    with pytest.raises(EmbedderError, match=r"400 Bad Request \(context_length_exceeded\); a text is longer"):
        embedder.embed(["a text of more than ten letters"])
    assert naps == []


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504, 529])
def test_a_passing_failure_is_tried_again(embedder, server, naps, code, caplog):
    server.will(status(code), status(code))
    np.testing.assert_allclose(embedder.embed(["a"]), expected(["a"]), atol=1e-7)
    assert 0.25 <= naps[0] <= 0.5 <= naps[1] <= 1.0
    ours = [record for record in caplog.records if record.name.startswith("binary_semantic_cache")]
    assert [record.getMessage() for record in ours] == [
        f"status {code} at attempt {n} of 4; trying again" for n in (1, 2)
    ]
    assert {record.levelno for record in ours} == {logging.WARNING}


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 422])
def test_a_lasting_failure_is_not_tried_again(embedder, server, naps, code):
    server.will(status(code))
    with pytest.raises(EmbedderError, match=f"answered {code} "):
        embedder.embed(["a"])
    assert (naps, len(server.asked)) == ([], 1)


def test_an_exhausted_quota_is_not_tried_again(openai, server, naps):
    server.will(status(429, body=b'{"error": {"code": "insufficient_quota"}}'))
    with pytest.raises(EmbedderError, match=r"429 Too Many Requests \(insufficient_quota\)"):
        openai.embed(["a"])
    assert naps == []


def test_attempts_are_counted_and_end(embedder, server, naps):
    server.will(*[status(503)] * 9)
    with pytest.raises(EmbedderError, match="503 Service Unavailable at attempt 4 of 4"):
        embedder.embed(["a"])
    assert (len(naps), len(server.asked)) == (3, 4)


def test_no_retries_is_one_attempt(server, naps):
    server.will(status(500))
    with (
        OpenAIEmbedder("m", base_url=f"{server.url}/v1", max_retries=0, sleep=naps.append) as made,
        pytest.raises(EmbedderError, match="attempt 1 of 1"),
    ):
        made.embed(["a"])
    assert naps == []


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("0.5", 0.5, 0.5),
        ("-3", 0, 0),
        ("100000", 60, 60),
        ("inf", 60, 60),
        ("nan", 0.25, 0.5),
        ("soon", 0.25, 0.5),
        ("", 0.25, 0.5),
        ("Fri, 01 Jan 2100 07:28:00 GMT", 60, 60),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00", 0, 0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 0.25, 0.5),
    ],
)
def test_retry_after_is_honoured_within_a_minute(openai, server, naps, value, least, most):
    server.will(status(429, retry_after=value))
    openai.embed(["a"])
    assert least <= naps[0] <= most


def test_a_pause_beyond_the_deadline_is_not_made(server, naps):
    server.will(status(429, retry_after="30"))
    with (
        OpenAIEmbedder("m", base_url=f"{server.url}/v1", deadline_seconds=20, sleep=naps.append) as made,
        pytest.raises(EmbedderError, match=r"gave up: a pause of 30\.0 s passes the deadline of 20 s"),
    ):
        made.embed(["a"])
    assert naps == []


@pytest.mark.parametrize("misdeed", [hang, drip])
def test_a_server_that_does_not_come_to_an_end_is_left_in_time(server, naps, misdeed):
    server.will(misdeed, misdeed)
    with OllamaEmbedder(
        "nomic-embed-text", base_url=server.url, timeout_seconds=0.2, max_retries=1, sleep=naps.append
    ) as made:
        with pytest.raises(EmbedderError, match="did not answer in time at attempt 2 of 2"):
            made.embed(["a"])
        assert made.embed(["a"]).shape == (1, 8)


def test_a_cut_connection_is_tried_again(embedder, server, naps):
    server.will(cut)
    np.testing.assert_allclose(embedder.embed(["a"]), expected(["a"]), atol=1e-7)
    assert len(naps) == 1


def test_nobody_listening_is_an_error_after_the_retries(naps):
    with socket.socket() as unused:  # bound, not listening: nobody else gets the port meanwhile
        unused.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            OllamaEmbedder("m", base_url=base_url, sleep=naps.append) as made,
            pytest.raises(EmbedderError, match=r"could not be reached .*ConnectError at attempt 4 of 4"),
        ):
            made.embed(["a"])
    assert len(naps) == 3
