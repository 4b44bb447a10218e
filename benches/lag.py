"""How long after a put in one process another one hits: exact by the key, semantic by its own index."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic_ns

import numpy as np

from benches.harness import Figure, Row
from benches.semantic import Precomputed, word
from benches.subject import Setting
from benches.vectors import embeddings, near
from binary_semantic_cache import SemanticCache

__all__ = ["run"]

_DIMENSION = 384
_THRESHOLD = 0.82
_GIVE_UP_SECONDS = 10.0


def run(setting: Setting) -> Iterator[Row]:
    """One process puts, 250 times a second; this one looks up what comes next until it hits."""
    n = setting.size(1000, 20)
    for kind in ("exact", "semantic"):
        with TemporaryDirectory(prefix="bsc-bench-") as folder:
            lags = sorted(_lags(Path(folder) / "answers.db", n, kind))
        for name, value in (
            ("median", statistics.median(lags)),
            ("99th percentile", lags[int(0.99 * (n - 1))]),
        ):
            figure = Figure.at_most(10, "ms") if name.startswith("99") else None
            what = f"lag of another process, {kind} hit, {name}"
            yield Row(what, n, "ms", value, figure=figure, rounds={"ours": lags})


def _lags(path: Path, n: int, kind: str) -> list[float]:
    """Milliseconds from the end of each put to the end of the first lookup that hits; 0 if it came before."""
    embedder = _embedder(n)
    with SemanticCache(path, embedder=embedder, threshold=_THRESHOLD) as cache:
        command = [sys.executable, "-m", __name__, str(path), str(n)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            seen = []
            for i in range(n):
                prompt = _asked(i, kind)
                give_up = monotonic_ns() + int(_GIVE_UP_SECONDS * 1e9)
                while not cache.lookup(prompt):
                    if monotonic_ns() > give_up:
                        raise RuntimeError(f"entry {i} was not seen within {_GIVE_UP_SECONDS} s")
                seen.append(monotonic_ns())
            done: list[int] = json.loads(writer.stdout.read())
    return [max(0.0, (saw - put) / 1e6) for saw, put in zip(seen, done, strict=True)]


def _asked(i: int, kind: str) -> str:
    return f"How {'do' if kind == 'exact' else 'can'} I repair a {word(i)}?"


def _embedder(n: int) -> Precomputed:
    embedder, vectors = Precomputed(), embeddings(n, _DIMENSION, seed=31)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embedder.rows.update((_asked(i, "exact"), row) for i, row in enumerate(vectors))
    embedder.rows.update((_asked(i, "semantic"), row) for i, row in enumerate(near(vectors, seed=32)))
    return embedder


def _write(path: str, n: int) -> None:
    """Puts at its own pace, and prints when each was done."""
    done = []
    with SemanticCache(path, embedder=_embedder(n), threshold=_THRESHOLD) as cache:
        next_at = monotonic_ns()
        for i in range(n):
            while monotonic_ns() < next_at:
                pass
            cache.put(_asked(i, "exact"), f"an answer to {i}")
            done.append(monotonic_ns())
            next_at += 4_000_000
    print(json.dumps(done))


if __name__ == "__main__":
    _write(sys.argv[1], int(sys.argv[2]))
