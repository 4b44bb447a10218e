"""The demonstration itself: embed, fill, ask, open again in a new process, measure."""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity, RustBinaryEncoder
from binary_semantic_cache.cli.demo.findings import Alone, Findings, Outcome, Reopened, Served
from binary_semantic_cache.cli.demo.known import TimedEmbedder
from binary_semantic_cache.cli.demo.latency import measure
from binary_semantic_cache.cli.demo.questions import Asked, Kind, Questions, load
from binary_semantic_cache.cli.demo.reopen import ask
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.embedders.model_install import install
from binary_semantic_cache.errors import ModelNotFoundError, StoreError
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.vectors import radius
from binary_semantic_cache.text.verdict import Hit, Verdict

__all__ = ["run"]

_T = TypeVar("_T")

HAMMING_THRESHOLD = 0.84375
"""Similarity, 40 of 256 bits apart, at which 70 of 100 hits of int8 all-MiniLM-L6-v2 were right on 10,000
questions full of near misses. Fixed before the demonstration's questions were written, not tuned on them."""


class _Progress:
    """Numbered step lines on stderr, and a bar inside a long step when somebody watches."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0

    def step(self, line: str) -> None:
        self._done += 1
        print(f"[{self._done}/{self._steps}] {line}", file=sys.stderr, flush=True)

    def note(self, line: str) -> None:
        print(f"      {line}", file=sys.stderr, flush=True)

    def bar(self, items: Iterable[_T], total: int) -> Iterator[_T]:
        yield from tqdm(
            items,
            total=total,
            leave=False,
            unit=" questions",
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
        )


def run(
    threshold: float | None, model_folder: Path | None, keep: Path | None, call_seconds: float
) -> Findings:
    """Run the demonstration.

    Args:
        threshold: least cosine of a semantic hit; `None` for the cache's own.
        model_folder: where the local model lies or goes; `None` for the user's cache folder.
        keep: where to make the cache file; `None` for a temporary one.
        call_seconds: assumed duration of one model call, passed through to the findings.

    Raises:
        EmbedderError: the model could not be installed or run.
        StoreError: the cache file could not be made or opened again, or there is one already.
    """
    began = time.perf_counter()
    if keep is not None and keep.exists():
        raise StoreError(f"expected no file yet at {keep}, where the cache is to be made")
    questions = load()
    progress = _Progress(5)
    embedder = TimedEmbedder(_ready_embedder(model_folder, progress))
    with tempfile.TemporaryDirectory(prefix="bsc-demo-") as folder:
        path = Path(folder) / "demo.db" if keep is None else keep
        with SemanticCache(path, embedder=embedder, threshold=threshold, max_entries=10_000) as cache:
            return _shown(cache, path, Path(folder), questions, embedder, progress, keep, call_seconds, began)


def _shown(
    cache: SemanticCache,
    path: Path,
    folder: Path,
    questions: Questions,
    embedder: TimedEmbedder,
    progress: "_Progress",
    keep: Path | None,
    call_seconds: float,
    began: float,
) -> Findings:
    progress.step(f"embed {len(questions.stored)} questions about {questions.subject} and fill a cache file")
    filling = time.perf_counter()
    for item in progress.bar(questions.stored, len(questions.stored)):
        cache.put(item.question, {"id": item.id, "question": item.question, "answer": item.answer})
    fill_seconds = time.perf_counter() - filling

    progress.step(f"ask {len(questions.asked)} other questions, and all stored ones once more")
    asked = [item.question for item in questions.asked]
    outcomes = tuple(
        _outcome(item, cache.lookup(item.question))
        for item in progress.bar(questions.asked, len(questions.asked))
    )
    repeats = [(item, cache.lookup(item.question)) for item in questions.stored]
    answers = ask(cache, asked)
    stored_embeddings = np.concatenate([embedder.embed([item.question]) for item in questions.stored])
    asked_embeddings = np.concatenate([embedder.embed([text]) for text in asked])

    progress.step("open the file in a new process and ask again")
    reopened = _ask_in_new_process(
        path, asked, asked_embeddings, embedder.fingerprint, cache.threshold, answers, folder
    )
    progress.step("measure")
    encoder = RustBinaryEncoder(embedder.dimension)
    codes = encoder.encode(stored_embeddings)
    stored = [item.question for item in questions.stored]
    latencies = measure(cache, embedder, stored, asked, asked_embeddings, codes)
    cache.store.compact()
    size = cache.stats()
    return Findings(
        subject=questions.subject,
        embedder=embedder.fingerprint,
        threshold=cache.threshold,
        radius=radius(cache.threshold, encoder.code_bits),
        entries=len(cache),
        outcomes=outcomes,
        alone=(
            _hamming_alone(questions, codes, encoder.encode(asked_embeddings)),
            _cosine_alone(questions, stored_embeddings, asked_embeddings, cache.threshold),
        ),
        repeats=len(repeats),
        repeats_right=sum(
            isinstance(verdict, Hit) and verdict.kind == "exact" and _answer_id(verdict) == item.id
            for item, verdict in repeats
        ),
        latencies=latencies,
        fill_seconds=fill_seconds,
        total_seconds=time.perf_counter() - began,
        bytes_per_entry=size.index_bytes / size.entries,
        file_bytes=sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")),
        file=keep,
        reopened=reopened,
        call_seconds=call_seconds,
    )


def _ready_embedder(folder: Path | None, progress: _Progress) -> Embedder:
    progress.step("load the embedding model")
    try:
        embedder = LocalEmbedder(folder)
    except ModelNotFoundError:
        progress.note("the model is not installed yet: installing it, once")
        install(folder=folder, progress=progress.note)
        embedder = LocalEmbedder(folder)
    embedder.embed(["the first call loads the model"])
    return embedder


def _outcome(asked: Asked, verdict: Verdict) -> Outcome:
    if isinstance(verdict, Hit):
        right = _answer_id(verdict) == asked.target
        served: Served = "right" if right else "wrong"
        return Outcome(
            asked.kind,
            asked.question,
            verdict.prompt,
            verdict.similarity,
            right,
            served,
            because=asked.because,
        )
    reason = f"{verdict.reason.value}: {verdict.detail}" if verdict.detail else verdict.reason.value
    nearest = verdict.nearest
    return Outcome(
        asked.kind,
        asked.question,
        "" if nearest is None else nearest.prompt or "",
        0.0 if nearest is None else nearest.similarity,
        False,
        "missed",
        reason,
        asked.because,
    )


def _answer_id(hit: Hit) -> object:
    assert isinstance(hit.response, dict)
    return hit.response["id"]


def _hamming_alone(questions: Questions, codes: NDArray[np.uint64], asked: NDArray[np.uint64]) -> Alone:
    hamming = HammingSimilarity()
    nearest = [hamming.find_nearest(code, codes, 0.0) or (0, 0.0) for code in asked]
    return _alone("Hamming similarity", HAMMING_THRESHOLD, questions, nearest)


def _cosine_alone(
    questions: Questions, stored: NDArray[np.float32], asked: NDArray[np.float32], threshold: float
) -> Alone:
    cosines = asked @ stored.T
    nearest = [(int(row.argmax()), float(row.max())) for row in cosines]
    return _alone("cosine", threshold, questions, nearest)


def _alone(name: str, threshold: float, questions: Questions, nearest: Sequence[tuple[int, float]]) -> Alone:
    counts: Counter[tuple[Kind, bool]] = Counter()
    for item, (row, similarity) in zip(questions.asked, nearest, strict=True):
        if similarity >= threshold:
            counts[item.kind, questions.stored[row].id == item.target] += 1
    return Alone(
        name,
        threshold,
        counts["paraphrase", True],
        counts["paraphrase", False],
        counts["unrelated", False],
        counts["trap", False],
    )


def _ask_in_new_process(
    path: Path,
    asked: Sequence[str],
    embeddings: NDArray[np.float32],
    fingerprint: str,
    threshold: float,
    answers: Sequence[dict[str, Any] | None],
    folder: Path,
) -> Reopened:
    given, vectors = folder / "asked.json", folder / "asked.npy"
    asking = {"texts": asked, "fingerprint": fingerprint, "threshold": threshold}
    given.write_text(json.dumps(asking), "utf-8")
    np.save(vectors, embeddings)
    # -P keeps the current folder off the import path, as it is for the `bsc` command itself.
    command = [sys.executable, "-P", "-m", "binary_semantic_cache.cli.demo.reopen"]
    done = subprocess.run(  # noqa: S603 - our own interpreter and our own arguments
        [*command, str(path), str(given), str(vectors)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last_line = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise StoreError(f"the new process could not open the cache file: {last_line[0]}")
    report = json.loads(done.stdout)
    return Reopened(report["pid"], report["open_ms"], report["answers"] == list(answers))
