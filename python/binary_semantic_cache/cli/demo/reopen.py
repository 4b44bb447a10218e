"""The second process of the demonstration: map a saved cache, ask it, print what it answers.

    python -m binary_semantic_cache.cli.demo.reopen FILE EMBEDDINGS.npy THRESHOLD

It gets embeddings instead of texts, so that it shows the cost of opening a cache and nothing else. It prints
one JSON object: `pid`, `entries`, `load_ms`, and `answers` as `ask` gives them.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.vector.cache import BinarySemanticCache

__all__ = ["ask", "reopen"]


def ask(cache: BinarySemanticCache, embeddings: NDArray[np.float32]) -> list[dict[str, Any] | None]:
    """What the cache answers to each embedding: the stored response and its similarity, `None` for a miss."""
    entries = [cache.get(embedding) for embedding in embeddings]
    return [
        None if entry is None else {"similarity": entry.similarity, "response": entry.response}
        for entry in entries
    ]


def reopen(path: Path, embeddings: NDArray[np.float32], threshold: float) -> dict[str, Any]:
    """Map the cache saved at `path` and ask it."""
    encoder = RustBinaryEncoder(embeddings.shape[1])
    cache = BinarySemanticCache(encoder, similarity_threshold=threshold)
    start = time.perf_counter_ns()
    cache.load(path, mmap=True)
    load_ns = time.perf_counter_ns() - start
    return {
        "pid": os.getpid(),
        "entries": len(cache),
        "load_ms": load_ns / 1e6,
        "answers": ask(cache, embeddings),
    }


if __name__ == "__main__":
    _, file, embeddings_file, threshold_text = sys.argv
    print(json.dumps(reopen(Path(file), np.load(embeddings_file, allow_pickle=False), float(threshold_text))))
