"""What the embedders behind a server say to answers that are wrong."""

import gzip
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from binary_semantic_cache.errors import EmbedderError
from embedding_server import altered, raw

pytestmark = pytest.mark.usefixtures("no_environment")


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
