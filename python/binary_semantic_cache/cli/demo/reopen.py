"""The second process of the demonstration: open the cache file, ask it, print what it answers.

    python -m binary_semantic_cache.cli.demo.reopen FILE ASKED.json EMBEDDINGS.npy

ASKED.json holds `texts`, `fingerprint` and `threshold`. It prints one JSON object: `pid`, `entries`,
`open_ms`, and `answers` as `ask` gives them.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from binary_semantic_cache.cli.demo.known import KnownEmbedder
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["ask", "reopen"]


def ask(cache: SemanticCache, texts: Sequence[str]) -> list[dict[str, Any] | None]:
    """What the cache answers to each text: response and similarity, `None` for a miss."""
    verdicts = [cache.lookup(text) for text in texts]
    return [
        {"similarity": round(verdict.similarity, 6), "response": verdict.response} if verdict else None
        for verdict in verdicts
    ]


def reopen(path: Path, asked: Path, embeddings: Path) -> dict[str, Any]:
    """Opens the cache file at `path` and asks it."""
    given = json.loads(asked.read_text("utf-8"))
    vectors = np.load(embeddings, allow_pickle=False)
    embedder = KnownEmbedder(given["fingerprint"], dict(zip(given["texts"], vectors, strict=True)))
    start = time.perf_counter_ns()
    cache = SemanticCache(path, embedder=embedder, threshold=given["threshold"])
    open_ns = time.perf_counter_ns() - start
    with cache:
        return {
            "pid": os.getpid(),
            "entries": len(cache),
            "open_ms": open_ns / 1e6,
            "answers": ask(cache, given["texts"]),
        }


if __name__ == "__main__":
    print(json.dumps(reopen(*map(Path, sys.argv[1:4]))))
