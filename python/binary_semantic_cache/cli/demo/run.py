"""The demonstration itself: embed, fill, ask, save, open again in a new process, measure."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity, RustBinaryEncoder
from binary_semantic_cache.cli.demo.findings import Findings, Outcome, Reopened, Verdict
from binary_semantic_cache.cli.demo.latency import measure
from binary_semantic_cache.cli.demo.questions import Asked, Questions, load
from binary_semantic_cache.cli.demo.reopen import ask
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.embedders.model_install import install
from binary_semantic_cache.errors import ModelNotFoundError, StoreError
from binary_semantic_cache.vector.cache import BinarySemanticCache

__all__ = ["run"]

_T = TypeVar("_T")


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


def run(threshold: float, model_folder: Path | None, keep: Path | None, call_seconds: float) -> Findings:
    """Run the demonstration.

    Args:
        threshold: least Hamming similarity of a hit.
        model_folder: where the local model lies or goes; `None` for the user's cache folder.
        keep: where to save the cache; `None` for a temporary file.
        call_seconds: assumed duration of one model call, passed through to the findings.

    Raises:
        EmbedderError: the model could not be installed or run.
        StoreError: the cache could not be saved, or not be opened again.
    """
    began = time.perf_counter()
    questions = load()
    progress = _Progress(6)
    embedder = _ready_embedder(model_folder, progress)
    encoder = RustBinaryEncoder(embedder.dimension)
    cache = BinarySemanticCache(encoder, max_entries=10_000, similarity_threshold=threshold)

    progress.step(
        f"embed {len(questions.stored)} questions about {questions.subject} and fill a cache with them"
    )
    filling = time.perf_counter()
    stored = _embed(embedder, [item.question for item in questions.stored], progress)
    for embedding, item in zip(stored, questions.stored, strict=True):
        cache.put(embedding, {"id": item.id, "question": item.question, "answer": item.answer})
    fill_seconds = time.perf_counter() - filling

    progress.step(f"ask {len(questions.asked)} other questions")
    texts = [item.question for item in questions.asked]
    asked = _embed(embedder, texts, progress)
    answers = ask(cache, asked)
    codes = encoder.encode(stored)
    outcomes = _judge(questions, answers, encoder.encode(asked), codes)
    stats = cache.stats()

    with tempfile.TemporaryDirectory(prefix="bsc-demo-") as folder:
        path = Path(folder) / "demo.npz" if keep is None else keep
        progress.step("save the cache")
        start = time.perf_counter_ns()
        cache.save(path)
        save_ms = (time.perf_counter_ns() - start) / 1e6
        file_bytes = path.stat().st_size

        progress.step("open the file in a new process with mmap and ask again")
        reopened = _ask_in_new_process(path, asked, threshold, answers, Path(folder))

    progress.step("measure")
    latencies = measure(cache, embedder, texts, asked, codes)
    return Findings(
        subject=questions.subject,
        embedder=embedder.fingerprint,
        threshold=threshold,
        code_bits=encoder.code_bits,
        entries=len(cache),
        outcomes=outcomes,
        latencies=latencies,
        fill_seconds=fill_seconds,
        total_seconds=time.perf_counter() - began,
        bytes_per_entry=stats.memory_bytes / stats.size,
        file_bytes=file_bytes,
        file=keep,
        save_ms=save_ms,
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


def _embed(embedder: Embedder, texts: Sequence[str], progress: _Progress) -> NDArray[np.float32]:
    return np.stack([embedder.embed([text])[0] for text in progress.bar(texts, len(texts))])


def _judge(
    questions: Questions,
    answers: Sequence[dict[str, Any] | None],
    asked: NDArray[np.uint64],
    codes: NDArray[np.uint64],
) -> tuple[Outcome, ...]:
    hamming = HammingSimilarity()
    outcomes = []
    for item, answer, code in zip(questions.asked, answers, asked, strict=True):
        # The cache says nothing about what it did not serve, so the nearest one is looked up beside it.
        row, similarity = hamming.find_nearest(code, codes, 0.0) or (0, 0.0)
        nearest = questions.stored[row]
        outcomes.append(
            Outcome(
                item.kind,
                item.question,
                nearest.question,
                similarity,
                nearest.id == item.target,
                _verdict(item, answer),
                item.because,
            )
        )
    return tuple(outcomes)


def _verdict(asked: Asked, answer: dict[str, Any] | None) -> Verdict:
    if answer is None:
        return "missed"
    return "right" if answer["response"]["id"] == asked.target else "wrong"


def _ask_in_new_process(
    path: Path,
    asked: NDArray[np.float32],
    threshold: float,
    answers: Sequence[dict[str, Any] | None],
    folder: Path,
) -> Reopened:
    embeddings = folder / "asked.npy"
    np.save(embeddings, asked)
    # -P keeps the current folder off the import path, as it is for the `bsc` command itself.
    command = [sys.executable, "-P", "-m", "binary_semantic_cache.cli.demo.reopen"]
    done = subprocess.run(  # noqa: S603 - our own interpreter and our own arguments
        [*command, str(path), str(embeddings), repr(threshold)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last_line = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise StoreError(f"the new process could not open the saved cache: {last_line[0]}")
    report = json.loads(done.stdout)
    return Reopened(report["pid"], report["load_ms"], report["answers"] == list(answers))
