"""Caches in files: made, filled with entries of every kind, and read back row by row."""

import pytest

from binary_semantic_cache import Request
from binary_semantic_cache.stores.reading import entries, meta_of, reading
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache
from words import NoGuards, WordEmbedder

__all__ = ["NEAR", "QUESTION", "content", "fill", "filled", "make"]

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"


def make(path, embedder=None, **settings) -> SemanticCache:
    embedder = embedder or WordEmbedder()
    settings = {"threshold": 0.8, "policy": Policy(exact_only=()), **settings}
    return SemanticCache(path, embedder=embedder, guards=NoGuards(), **settings)


def fill(path) -> None:
    """Every kind of answer, tags, expiry, savings, scopes, a gap in the ids, and a reported pair."""
    with make(path, sliding_ttl=True) as cache:
        cache.put("to be removed", "x", tags=["gone"])
        cache.put(QUESTION, "Paris", tags=["geography", "ünï\u2028"], took_seconds=1.25)
        cache.put("bytes please", b"\x00\xff", scope={"tenant": "a"}, ttl_seconds=3600)
        cache.put("data", {"a": [1, 2.5, None, 2**80], "usage": {"input_tokens": 3, "output_tokens": 4}})
        cache.put("word " * 100, "too long for a code")
        cache.put(Request.from_prompt("turn", model="m", system="s"), "from a request")
        cache.put("who wrote this", "wrong")
        cache.report(cache.lookup("who really wrote this"))
        cache.put("who wrote this", "right")
        cache.invalidate(tag="gone")


@pytest.fixture
def filled(tmp_path):
    """The path of a file that `fill` has filled."""
    path = tmp_path / "c.db"
    fill(path)
    return path


def content(path):
    with reading(path) as db:
        pairs = {pair for (pair,) in db.execute("SELECT pair FROM pair")}
        meta = meta_of(db)
        tags = {tuple(row) for row in db.execute("SELECT tag, id FROM tag")}
        return list(entries(db, path)), pairs, tags, meta["secret"], meta["fingerprint"]
