"""OpenAIEmbedder and OllamaEmbedder against a real server: protocols, failures, secrets, threads, forks."""

import gzip
import json
import logging
import math
import os
import random
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.embedders.ollama import OllamaEmbedder
from binary_semantic_cache.embedders.openai import OpenAIEmbedder
from binary_semantic_cache.errors import EmbedderError, InvalidTypeError, InvalidValueError
from embedding_server import EmbeddingServer, altered, cut, drip, hang, raw, redirect, status, vector_of

KEY = "sk-canary-7f3a"
TEXT = "canary: the merger closes on Friday"
TEXTS = ["How do I undo a commit?", "Grüße aus Köln, 42 %", "日本語", "one more", "and the last"]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with EmbeddingServer() as running:
        yield running


@pytest.fixture
def naps() -> list[float]:
    """The pauses that were asked for, none of which was made."""
    return []


@pytest.fixture
def openai(server, naps):
    with OpenAIEmbedder("some-model", base_url=f"{server.url}/v1", api_key=KEY, sleep=naps.append) as made:
        yield made


@pytest.fixture
def ollama(server, naps):
    with OllamaEmbedder("nomic-embed-text", base_url=server.url, sleep=naps.append) as made:
        yield made


@pytest.fixture(params=["openai", "ollama"])
def embedder(request):
    return request.getfixturevalue(request.param)


def expected(texts: list[str], dimension: int = 8) -> np.ndarray:
    vectors = np.array([vector_of(text, dimension) for text in texts], dtype=np.float64)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_vectors_are_those_of_the_server_at_length_one(embedder):
    vectors = embedder.embed(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-7)


def test_it_is_an_embedder(embedder):
    assert isinstance(embedder, Embedder)


def test_no_texts_give_no_rows(embedder):
    vectors = embedder.embed([])
    assert (vectors.shape, vectors.dtype) == ((0, 8), np.float32)


@pytest.mark.parametrize("texts", ["one string", [1], ["a", None], [b"bytes"], None, 3])
def test_what_is_no_sequence_of_strings_is_refused_before_it_is_sent(embedder, server, texts):
    with pytest.raises(InvalidTypeError):
        embedder.embed(texts)
    assert server.asked == []


def test_a_lone_surrogate_is_refused_by_position_and_not_shown(embedder, server):
    with pytest.raises(InvalidValueError, match="lone surrogate at position 1") as caught:
        embedder.embed(["fine", TEXT + "\ud800"])
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert server.asked == []


def test_openai_refuses_an_empty_text_and_ollama_leaves_it_to_the_model(openai, ollama, server):
    with pytest.raises(InvalidValueError, match="position 1, got an empty string"):
        openai.embed(["a", ""])
    assert server.asked == []
    np.testing.assert_allclose(ollama.embed([""]), expected([""]), atol=1e-7)


def test_the_dimension_of_an_unknown_model_is_asked_once(embedder, server):
    assert [embedder.dimension, embedder.dimension] == [8, 8]
    assert server.texts() == [["dimension"]]


def test_the_dimension_is_learned_from_the_first_answer(embedder, server):
    embedder.embed(["a"])
    assert embedder.dimension == 8
    assert server.texts() == [["a"]]


def test_openai_sends_key_model_and_asked_dimensions(server, naps):
    with OpenAIEmbedder(base_url=f"{server.url}/v1/", api_key=KEY, dimensions=5) as made:
        np.testing.assert_allclose(made.embed(["a"]), expected(["a"], 5), atol=1e-7)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/embeddings")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": "text-embedding-3-small",
        "input": ["a"],
        "encoding_format": "float",
        "dimensions": 5,
    }


def test_openai_batches_by_count_and_by_bytes(server):
    with OpenAIEmbedder("m", base_url=f"{server.url}/v1", batch_size=2) as made:
        np.testing.assert_allclose(made.embed(TEXTS), expected(TEXTS), atol=1e-7)
    assert server.texts() == [TEXTS[:2], TEXTS[2:4], TEXTS[4:]]
    server.asked.clear()
    server.longest_text = 10**6
    long = ["ä" * 80_000, "b" * 140_000, "c", "d" * 300_001, "e"]
    with OpenAIEmbedder("m", base_url=f"{server.url}/v1") as made:
        np.testing.assert_allclose(made.embed(long), expected(long), atol=1e-7)
    assert [[text[0] for text in texts] for texts in server.texts()] == [["ä", "b"], ["c"], ["d"], ["e"]]


def test_rows_are_put_in_the_order_of_their_index(openai, server):
    server.will(altered(lambda answer: {**answer, "data": random.Random(3).sample(answer["data"], 5)}))
    np.testing.assert_allclose(openai.embed(TEXTS), expected(TEXTS), atol=1e-7)


def test_rows_without_an_index_are_taken_in_their_order(openai, server):
    server.will(altered(lambda answer: {"data": [{"embedding": row["embedding"]} for row in answer["data"]]}))
    np.testing.assert_allclose(openai.embed(TEXTS), expected(TEXTS), atol=1e-7)


def test_the_environment_gives_key_and_address_at_construction(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    made = OpenAIEmbedder("m")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    with made:
        made.embed(["a"])
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_openai_itself_needs_a_key_and_another_server_does_not(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    with pytest.raises(InvalidValueError, match="set OPENAI_API_KEY"):
        OpenAIEmbedder()
    with OpenAIEmbedder("m", base_url=f"{server.url}/v1") as made:
        made.embed(["a"])
    assert "authorization" not in server.asked[0].headers


def test_ollama_asks_for_whole_texts_one_at_a_time(ollama, server):
    ollama.embed(["a", "b"])
    bodies = [asked.body for asked in server.asked]
    assert bodies == [{"model": "nomic-embed-text", "input": [text], "truncate": False} for text in "ab"]


def test_ollama_batches_when_asked_to(server):
    with OllamaEmbedder("nomic-embed-text", base_url=server.url, batch_size=3) as made:
        np.testing.assert_allclose(made.embed(TEXTS), expected(TEXTS), atol=1e-7)
    assert server.texts() == [TEXTS[:3], TEXTS[3:]]


def test_the_fingerprint_of_ollama_is_the_digest_and_changes_with_a_newer_model(ollama, server):
    assert ollama.fingerprint == f"ollama/nomic-embed-text:latest/{'0a' * 32}/l2"
    server.models["nomic-embed-text:latest"] = "1b" * 32
    with OllamaEmbedder("nomic-embed-text:latest", base_url=server.url) as later:
        assert later.fingerprint == f"ollama/nomic-embed-text:latest/{'1b' * 32}/l2"
    assert "0a" in ollama.fingerprint


def test_a_model_that_ollama_lacks_is_named_with_the_command_that_gets_it(server, naps):
    with OllamaEmbedder("other", base_url=server.url, sleep=naps.append) as made:
        with pytest.raises(EmbedderError, match="ollama pull other"):
            _ = made.fingerprint
        with pytest.raises(EmbedderError, match="404 Not Found"):
            made.embed(["a"])
    assert naps == []


@pytest.mark.parametrize("answer", [{}, [], {"models": None}, {"models": [None, {"name": 3}]}])
def test_an_odd_list_of_models_is_an_error(ollama, server, answer):
    server.will(raw(json.dumps(answer).encode()))
    with pytest.raises(EmbedderError, match="has no model"):
        _ = ollama.fingerprint


@pytest.mark.parametrize(
    ("info", "parameters", "window"),
    [
        ({"general.architecture": "bert", "bert.context_length": 512}, "", 512),
        ({"general.architecture": "qwen3", "qwen3.context_length": 32768}, "", 4096),
        ({"general.architecture": "bert", "bert.context_length": 2048}, "num_ctx       8192", 2048),
        ({"general.architecture": "bert", "bert.context_length": 8192}, 'stop "a"\nnum_ctx 1024', 1024),
        ({"general.architecture": "bert"}, "", 512),
        (None, None, 512),
    ],
)
def test_the_window_of_ollama_is_the_smaller_of_the_models_and_the_runs(
    ollama, server, info, parameters, window
):
    server.model_info, server.parameters = info, parameters
    assert [ollama.max_tokens, ollama.max_tokens] == [window, window]
    assert [asked.path for asked in server.asked] == ["/api/show"]


def test_a_given_window_is_asked_of_ollama(server):
    with OllamaEmbedder("nomic-embed-text", base_url=server.url, max_tokens=1000) as made:
        made.embed(["a"])
        assert made.max_tokens == 1000
    assert [asked.body["options"] for asked in server.asked] == [{"num_ctx": 1000}]


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


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"<html>"])
def test_what_is_no_json_is_an_error(embedder, server, body):
    server.will(raw(body))
    with pytest.raises(EmbedderError, match="no JSON"):
        embedder.embed(["a"])


@pytest.mark.parametrize(
    "answer", [None, 3, [], {}, {"data": None}, {"data": [3]}, {"embeddings": 3}, {"data": "ab"}]
)
def test_json_of_another_shape_is_an_error(embedder, server, answer):
    server.will(raw(json.dumps(answer).encode()))
    with pytest.raises(EmbedderError, match="got something else"):
        embedder.embed(["a", "b"])


def edit_rows(change: Callable[[list[list[Any]]], Any]) -> Any:
    """A misdeed that changes the vectors, in either protocol."""

    def edit(answer: dict[str, Any]) -> dict[str, Any]:
        if "embeddings" in answer:
            return {"embeddings": change(answer["embeddings"])}
        rows = change([row["embedding"] for row in answer["data"]])
        return {"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]}

    return altered(edit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, rows[0]], "expected 1 vectors, got 2"),
        (lambda rows: [], "expected 1 vectors, got 0"),
        (lambda rows: [row[:-1] for row in rows], "expected vectors of 8 dimensions, got 7"),
        (lambda rows: [[] for _ in rows], "expected vectors of 8 dimensions, got 0"),
        (lambda rows: [[math.nan, *row[1:]] for row in rows], "finite"),
        (lambda rows: [[1e39, *row[1:]] for row in rows], "finite"),
        (lambda rows: [[0.0] * 8 for row in rows], "got one of zeros"),
        (lambda rows: [[None, *row[1:]] for row in rows], "something else"),
        (lambda rows: [["1.5", *row[1:]] for row in rows], "something else"),
        (lambda rows: [[[1.0], *row[1:]] for row in rows], "something else"),
        (lambda rows: [10**400] * len(rows), "something else"),
        (lambda rows: [3.0] * len(rows), "array of shape"),
        (lambda rows: [None] * len(rows), "something else"),
        (lambda rows: [{"a": 1}] * len(rows), "something else"),
    ],
)
def test_vectors_that_are_wrong_are_an_error(embedder, server, change, message):
    embedder.embed(["a"])
    server.will(edit_rows(change))
    with pytest.raises(EmbedderError, match=message):
        embedder.embed(["b"])


@pytest.mark.parametrize("indices", [[0, 0], [0, 2], [-1, 0], ["0", 1], [True, 0], [None, 1], [0.0, 1]])
def test_indices_that_are_not_each_place_once_are_an_error(openai, server, indices):
    def renumber(answer):
        return {"data": [{**row, "index": i} for row, i in zip(answer["data"], indices, strict=True)]}

    server.will(altered(renumber))
    with pytest.raises(EmbedderError, match="expected each index from 0 to 1 once"):
        openai.embed(["a", "b"])


def test_an_endless_answer_is_given_up(openai, server):
    server.will(raw(b" " * (3 << 20)))
    with pytest.raises(EmbedderError, match="answered with more than 1572864 bytes"):
        openai.embed(["a"])


def test_a_compressed_answer_is_read_and_a_damaged_one_is_an_error(openai, server):
    packed = gzip.compress(json.dumps({"data": [{"embedding": [3.0, 4.0]}]}).encode())
    server.will(raw(packed, {"Content-Encoding": "gzip"}), raw(b"nonsense", {"Content-Encoding": "gzip"}))
    np.testing.assert_allclose(openai.embed(["a"]), [[0.6, 0.8]], atol=1e-7)
    with pytest.raises(EmbedderError, match="no readable answer: DecodingError"):
        openai.embed(["a"])


def test_a_redirect_is_not_followed(embedder, server):
    with EmbeddingServer() as elsewhere:
        server.will(redirect(f"{elsewhere.url}/v1/embeddings"))
        with pytest.raises(EmbedderError, match="307 Temporary Redirect; redirects are not followed"):
            embedder.embed(["a"])
        assert elsewhere.asked == []


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(server, monkeypatch):
    with EmbeddingServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with OllamaEmbedder("nomic-embed-text", base_url=server.url) as made:
            assert made.embed(["a"]).shape == (1, 8)
        with (
            OllamaEmbedder("m", base_url="http://elsewhere.invalid", max_retries=0) as made,
            pytest.raises(EmbedderError, match="404"),
        ):
            made.embed(["a"])
        assert [asked.path for asked in proxy.asked] == ["http://elsewhere.invalid/api/embed"]


FAILURES = [
    status(401, body=f'{{"error": {{"code": "{KEY}", "message": "{KEY} {TEXT}"}}}}'.encode()),
    status(400, body=f'{{"error": "{TEXT} {KEY}"}}'.encode()),
    status(503, body=TEXT.encode()),
    status(429, retry_after=KEY),
    raw(f"{KEY} {TEXT}".encode()),
    raw(json.dumps({"data": [{"embedding": [TEXT]}], "embeddings": [[KEY]]}).encode()),
    raw(json.dumps({"data": KEY, "embeddings": TEXT}).encode()),
    altered(lambda answer: {"embeddings": [], "data": []}),
    redirect(f"http://127.0.0.1:9/{KEY}"),
    raw(TEXT.encode(), {"Content-Encoding": "gzip"}),
    cut,
    hang,
]


@pytest.mark.parametrize("kind", ["openai", "ollama"])
@pytest.mark.parametrize("misdeed", FAILURES)
def test_neither_key_nor_text_appears_in_logs_or_errors(server, kind, misdeed, caplog):
    caplog.set_level(logging.DEBUG)
    server.will(misdeed, misdeed)
    options = {"timeout_seconds": 0.2, "max_retries": 1, "sleep": lambda _: None}
    if kind == "openai":
        made = OpenAIEmbedder("m", base_url=f"{server.url}/v1", api_key=KEY, **options)
    else:
        made = OllamaEmbedder("nomic-embed-text", base_url=server.url, **options)
    with made, pytest.raises(EmbedderError) as caught:
        made.embed([TEXT])
    shown = [
        # httpcore shows, at level DEBUG, the headers that the server sent.
        *(str(vars(record)) for record in caplog.records if not record.name.startswith("httpcore")),
        "".join(traceback.format_exception(caught.value)),
        repr(made),
        made.fingerprint if kind == "openai" else "",
    ]
    error: BaseException | None = caught.value
    while error is not None:
        shown += [str(error), repr(error), repr(error.args), repr(vars(error))]
        error = error.__cause__ or error.__context__
    # caught.traceback quotes this file's own lines, which name the constants and not their values.
    assert not [part for part in shown if KEY in part or TEXT in part]


def test_neither_key_nor_text_appears_in_the_logs_of_success(openai, caplog):
    caplog.set_level(logging.DEBUG)
    openai.embed([TEXT])
    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    assert not [r for r in caplog.records if KEY in str(vars(r)) or TEXT in str(vars(r))]


def test_a_closed_embedder_says_so(embedder):
    embedder.embed(["a"])
    embedder.close()
    embedder.close()
    with pytest.raises(EmbedderError, match="the embedder is closed"):
        embedder.embed(["a"])


def test_requests_share_a_connection(ollama, server):
    ollama.embed(["a", "b", "c"])
    assert len({asked.connection for asked in server.asked}) == 1


def test_threads_that_share_an_embedder_get_their_own_vectors(embedder):
    found: dict[int, np.ndarray] = {}
    start = threading.Barrier(8)

    def embed(number: int) -> None:
        start.wait()
        found[number] = embedder.embed([f"text {number} {part}" for part in range(6)])

    threads = [threading.Thread(target=embed, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        wanted = expected([f"text {number} {part}" for part in range(6)])
        np.testing.assert_allclose(found[number], wanted, atol=1e-7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_uses_connections_of_its_own(server):
    program = f"""
import os
from binary_semantic_cache.embedders.ollama import OllamaEmbedder
embedder = OllamaEmbedder("nomic-embed-text", base_url={server.url!r})
embedder.embed(["before"])
child = os.fork()
embedder.embed(["child" if child == 0 else "parent"])
if child == 0:
    embedder.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
embedder.embed(["after"])
embedder.close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
    connection = {asked.body["input"][0]: asked.connection for asked in server.asked}
    assert connection["before"] == connection["parent"] == connection["after"]
    assert connection["child"] != connection["before"]
