"""A whole lookup of `SemanticCache`, text in, answer out; embeddings are looked up, not computed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import mneme
import numpy as np
from numpy.typing import NDArray

from benches.harness import Case, Contender, Figure, Row, check_equal, measure
from benches.quality.pairs import OWN, load
from benches.subject import Setting
from benches.vectors import embeddings, near
from binary_semantic_cache import Guards, Hit, Policy, SemanticCache

__all__ = ["THRESHOLD", "Precomputed", "run", "word"]

MNEME = "mneme-cache"
_DIMENSION = 384
THRESHOLD = 0.82
_ASKED = 64
_NEIGHBOURS = 40
_SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "po", "ri", "su")


class Precomputed:
    """An embedder of texts whose vectors are known."""

    bounded = True
    max_tokens = None
    dimension = dim = _DIMENSION
    fingerprint = "precomputed"

    def __init__(self) -> None:
        self.rows: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a text."""
        return self.rows[texts[0]][np.newaxis] if len(texts) == 1 else np.stack([self.rows[t] for t in texts])


class _OneText(Precomputed):
    """The same for mneme, which asks for one text at a time, in lower case."""

    def embed(self, texts: str) -> NDArray[np.float32]:  # type: ignore[override]
        """The text's row."""
        return self.rows[texts]


@dataclass(frozen=True, slots=True)
class _Prompts:
    """What is stored, and what is asked that means the same."""

    stored: Sequence[str]
    vectors: NDArray[np.float32]
    again: Sequence[str]
    """Some of `stored`."""
    reworded: Sequence[str]
    """The same, in other words."""


def run(setting: Setting) -> Iterator[Row]:
    """Exact and semantic hits at two sizes and in two stores, and what reading two texts takes."""
    for n in (setting.size(10_000, 500), setting.size(100_000, 1000)):
        with TemporaryDirectory(prefix="bsc-bench-") as folder:
            yield from _lookups(setting, n, Path(folder))
    yield from _crowded(setting, setting.size(100_000, 1000))
    yield from _texts(setting)


def _lookups(setting: Setting, n: int, folder: Path) -> Iterator[Row]:
    embedder, plain = Precomputed(), _OneText()
    prompts = _prompts(n, embedder, plain)
    theirs = mneme.SemanticCache(
        store=mneme.MemoryStore(), embedder=plain, normalize=False, similarity_threshold=THRESHOLD
    )
    for prompt, vector in zip(prompts.stored, prompts.vectors, strict=True):
        theirs.put(prompt, _answer(prompt), embedding=vector)

    def their_answer(prompt: str) -> object:
        hit = theirs.get(prompt)
        return hit and hit.response

    most = {("memory", "exact"): 25, ("SQLite", "exact"): 60, ("SQLite", "semantic"): 150}
    figures = {which: Figure.at_most(value, "us") for which, value in most.items()}
    for store, path in (("memory", None), ("SQLite", folder / "answers.db")):
        with SemanticCache(path, embedder=embedder, threshold=THRESHOLD, max_entries=n) as cache:
            for prompt in prompts.stored:
                cache.put(prompt, _answer(prompt))
            for kind, asked in (("exact", prompts.again), ("semantic", prompts.reworded)):
                what = f"lookup, {kind} hit, {store}"
                for prompt, known in zip(asked, prompts.again, strict=True):
                    expected = kind, _answer(known)
                    check_equal(what, "SemanticCache", expected, _said(cache, prompt))
                    if store == "memory":
                        check_equal(what, MNEME, expected[1], their_answer(prompt))
                ours = Contender("ours", cache.lookup, _endless(asked), figures.get((store, kind)))
                others = [Contender(MNEME, their_answer, _endless(asked))] if store == "memory" else []
                yield from measure(Case(what, n, ours, others), setting.effort)


def _crowded(setting: Setting, n: int) -> Iterator[Row]:
    """Where many entries are near: their vectors kept in memory, against fetching them each time."""
    embedder = Precomputed()
    prompts = _prompts(n, embedder, neighbours=_NEIGHBOURS)
    with TemporaryDirectory(prefix="bsc-bench-") as name:
        path = Path(name) / "answers.db"
        with SemanticCache(path, embedder=embedder, threshold=THRESHOLD, max_entries=n) as cache:
            for prompt in prompts.stored:
                cache.put(prompt, _answer(prompt))
        sizes = {"in memory": 2**30, "fetched each time": 0}
        caches = {
            where: SemanticCache(
                path, embedder=embedder, threshold=THRESHOLD, max_entries=n, vector_memory_bytes=size
            )
            for where, size in sizes.items()
        }
        what = f"lookup, semantic hit, SQLite, {_NEIGHBOURS} entries near, vectors in memory"
        kept, fetched = caches.values()
        for prompt in prompts.reworded:
            check_equal(what, "fetched each time", _said(kept, prompt), _said(fetched, prompt))
            check_equal(what, "the kind", "semantic", _said(kept, prompt)[0])
        ours = Contender("ours", kept.lookup, _endless(prompts.reworded))
        others = [Contender("fetched each time", fetched.lookup, _endless(prompts.reworded))]
        yield from measure(Case(what, n, ours, others), setting.effort)
        for cache in caches.values():
            cache.close()


def _texts(setting: Setting) -> Iterator[Row]:
    """The guards on a pair, the policy on a text."""
    (own, *_) = load(Path("nowhere"), full=True, smoke=False)
    pairs = [(pair.b, [pair.a]) for pair in own.pairs]
    assert own.name == OWN
    check: Callable[..., object] = Guards().check
    ours = Contender("ours", check, cycle(pairs), Figure.at_most(100, "us"))
    yield from measure(Case("guards, a pair", len(pairs), ours), setting.effort)
    classify: Callable[..., object] = Policy().classify
    ours = Contender("ours", classify, cycle([(prompt,) for prompt, _ in pairs]))
    yield from measure(Case("policy, a text", len(pairs), ours), setting.effort)


def _prompts(n: int, *embedders: Precomputed, neighbours: int = 1) -> _Prompts:
    """`n` prompts with spread embeddings; the reworded ones lie near, at a cosine of about 0.97.

    With `neighbours`, the prompts come in groups of so many that all lie near each other.
    """
    vectors = embeddings(-(-n // neighbours), _DIMENSION, seed=11)
    if neighbours > 1:
        vectors = near(np.repeat(vectors, neighbours, axis=0)[:n], seed=13)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored = [f"How do I repair a {word(i)}?" for i in range(n)]
    chosen = range(0, n, max(1, n // _ASKED))[:_ASKED]
    reworded = [f"How can I repair a {word(i)}?" for i in chosen]
    for embedder in embedders:
        embedder.rows.update(zip(stored, vectors, strict=True))
        embedder.rows.update(zip(reworded, near(vectors[list(chosen)], seed=12), strict=True))
    return _Prompts(stored, vectors, [stored[i] for i in chosen], reworded)


def word(i: int) -> str:
    """A word of its own for each number, in letters: digits are another matter to the guards."""
    return "".join(_SYLLABLES[int(digit)] for digit in f"{i:06d}")


def _answer(prompt: str) -> str:
    return f"an answer to: {prompt}"


def _said(cache: SemanticCache, prompt: str) -> tuple[str, object]:
    verdict = cache.lookup(prompt)
    return (verdict.kind, verdict.response) if isinstance(verdict, Hit) else (verdict.reason.value, None)


def _endless(prompts: Sequence[str]) -> Iterator[tuple[str]]:
    return cycle([(prompt,) for prompt in prompts])
