"""A whole get against other semantic caches: a text whose vector is known in, the stored answer out."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benches.fetched import UnavailableError
from benches.harness import Case, Contender, Row, check_equal, measure
from benches.peer_caches import MOST, PEERS, Peer, Rows, open_peers
from benches.reading import read_once
from benches.semantic import Precomputed, word
from benches.subject import Setting
from benches.vectors import CODE_BITS, embeddings, near
from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder, SemanticCache

__all__ = ["run"]

_DIMENSION = 384
_COSINE = 0.81
"""A similarity of 0.80 of codes: `cos(0.2 pi)`."""
_HAMMING = 0.80
_ASKED = 16
_LOOKUP = "SemanticCache.lookup, text and guards read"
_IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class _Questions:
    stored: list[str]
    answers: list[str]
    hits: list[tuple[str, str]]
    """What is asked, and the stored answer that it is to have."""
    misses: list[str]


def run(setting: Setting) -> Iterator[Row]:
    """Hits and misses at three sizes, in caches that hold the same."""
    for n in (500,) if setting.smoke else (1000, 10_000, 100_000):
        with TemporaryDirectory() as folder, TemporaryDirectory(dir=_memory_folder()) as memory:
            yield from _at(setting, n, Path(folder), Path(memory))


def _memory_folder() -> Path | None:
    return _IN_MEMORY if _IN_MEMORY.is_dir() else None


def _at(setting: Setting, n: int, folder: Path, memory: Path) -> Iterator[Row]:
    embedder = Precomputed()
    rows = embedder.rows
    questions = _questions(n, rows)
    encoder = RustBinaryEncoder(_DIMENSION, CODE_BITS, 42)
    ours = BinarySemanticCache(encoder, n, _HAMMING)
    ours.put_many(np.stack([rows[text] for text in questions.stored]), questions.answers)
    missing = {}
    try:
        names = [name for name in PEERS if n <= MOST.get(name, n)]
        peers = open_peers(names, rows, _DIMENSION, n, _COSINE, folder, memory)
    except UnavailableError as exc:
        peers, missing = [], {"other caches": f"not available: {exc}"}
    for peer in peers:
        peer.add(questions.stored, questions.answers)
    with SemanticCache(embedder=embedder, threshold=_COSINE, max_entries=n) as lookups:
        for text, answer in zip(questions.stored, questions.answers, strict=True):
            lookups.put(text, answer)
        everyone = [Peer(_LOOKUP, lambda *_: None, lambda text: _said(lookups, text)), *peers]
        asked: dict[str, list[tuple[str, str | None]]] = {
            "hit": [*questions.hits],
            "miss": [(text, None) for text in questions.misses],
        }
        for kind, pairs in asked.items():
            what = f"whole get, {kind}"
            for text, expected in pairs:
                entry = ours.get(rows[text])
                check_equal(what, "BinarySemanticCache", expected, entry and entry.response)
                for peer in everyone:
                    check_equal(what, peer.name, expected, peer.answer(text))
            texts = [(text,) for text, _ in pairs]
            contenders = [Contender(peer.name, peer.answer, cycle(texts)) for peer in peers]
            contenders.insert(0, Contender(_LOOKUP, lookups.lookup, cycle(texts)))
            contenders.insert(0, read_once(n * CODE_BITS // 8))
            vectors = cycle([(rows[text],) for text, _ in pairs])
            case = Case(what, n, Contender("ours", ours.get, vectors), contenders, missing)
            yield from measure(case, setting.effort)
    for peer in peers:
        peer.close()


def _questions(n: int, rows: Rows) -> _Questions:
    """Fills `rows` with unit vectors; what is to hit lies at a cosine of 0.97 or so, the rest far off."""
    vectors = embeddings(n, _DIMENSION, seed=11)
    chosen = list(range(0, n, n // _ASKED))[:_ASKED]
    stored = [f"How do I repair a {word(i)}?" for i in range(n)]
    answers = [f"an answer to: {text}" for text in stored]
    hits = [(f"How can I repair a {word(i)}?", answers[i]) for i in chosen]
    misses = [f"Which {word(i)} grows best in the shade of a tree?" for i in chosen]
    near_vectors, far_vectors = near(vectors[chosen], seed=12), embeddings(_ASKED, _DIMENSION, seed=13)
    for texts, group in (
        (stored, vectors),
        ([text for text, _ in hits], near_vectors),
        (misses, far_vectors),
    ):
        group /= np.linalg.norm(group, axis=1, keepdims=True)
        rows.update(zip(texts, group, strict=True))
    return _Questions(stored, answers, hits, misses)


def _said(cache: SemanticCache, text: str) -> object:
    verdict = cache.lookup(text)
    return verdict.response if verdict else None
