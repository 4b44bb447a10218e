"""That neither the key nor a text gets from the embedders behind a server into logs or errors."""

import json
import logging
import traceback

import pytest

from binary_semantic_cache.embedders.ollama import OllamaEmbedder
from binary_semantic_cache.embedders.openai import OpenAIEmbedder
from binary_semantic_cache.errors import EmbedderError
from embedding_server import altered, cut, hang, raw, redirect, status
from http_embedders import KEY, TEXT

pytestmark = pytest.mark.usefixtures("no_environment")

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
