"""Text to embedding and code: in Rust, against the same model on ONNX Runtime from Python."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle

import numpy as np

from benches.harness import Case, Contender, Row, UnequalResultsError, measure
from benches.subject import Setting
from binary_semantic_cache import RustBinaryEncoder, SemanticCache
from binary_semantic_cache.embedders.local import LocalEmbedder, Runtime
from binary_semantic_cache.embedders.model_install import install
from binary_semantic_cache.embedders.text_encoder import TextEncoder

__all__ = ["run"]

_THEIRS = "tokenizers, ONNX Runtime, encoder"
_PLAIN = "with ONNX Runtime"
_ABSENT = dict.fromkeys(
    ("fastembed", "sentence-transformers"), "not measured: it takes the model from a hub in a form of its own"
)
_WORDS = (
    "what is the capital of the country where people travel in winter when it rains a lot on all of these "
    "mountains and which road leads there from the north"
)
_TOKENS = (8, 12, 16, 64, 256)
_LEAST_COSINE = 0.98
"""Two versions of ONNX Runtime differ by as much: see `embedders/local.py`."""

_START = """
import numpy, time
began = time.perf_counter()
from binary_semantic_cache.embedders.local import LocalEmbedder
LocalEmbedder(runtime={runtime!r}).embed(["What is the capital of France?"])
print((time.perf_counter() - began) * 1e3)
"""


def run(setting: Setting) -> Iterator[Row]:
    """One text at five lengths, a whole look-up, and the first text of a process."""
    folder = install()
    encoder = RustBinaryEncoder(384)
    ours = TextEncoder(folder, encoder)
    theirs = LocalEmbedder(folder, runtime="onnxruntime")

    def their_encode(texts: list[str]) -> tuple[object, object]:
        embeddings = theirs.embed(texts)
        return embeddings, encoder.encode(embeddings)

    for tokens in _TOKENS[:2] if setting.smoke else _TOKENS:
        texts = [_text(tokens, start) for start in range(8)]
        lengths = {theirs.count_tokens(text) for text in texts}
        what = f"text to code, {tokens} tokens"
        if lengths != {tokens}:
            raise UnequalResultsError(f"{what}: expected texts of {tokens} tokens, got {lengths}")
        _check(what, ours, theirs, texts)
        inputs = [([text],) for text in texts]
        case = Case(
            what,
            1,
            Contender("ours", ours.encode, cycle(inputs)),
            [Contender(_THEIRS, their_encode, cycle(inputs))],
            _ABSENT if tokens == _TOKENS[0] else {},
        )
        yield from measure(case, setting.effort)
    yield from _lookups(setting)
    yield _first_text(setting)


def _text(tokens: int, start: int) -> str:
    """Words of one token each, between the two marks."""
    words = _WORDS.split()
    return " ".join(words[(start + i) % len(words)] for i in range(tokens - 2))


def _check(what: str, ours: TextEncoder, theirs: LocalEmbedder, texts: list[str]) -> None:
    embeddings, codes = ours.encode(texts)
    cosines = (embeddings * theirs.embed(texts)).sum(axis=1)
    if cosines.min() < _LEAST_COSINE:
        raise UnequalResultsError(f"{what}: expected cosines above {_LEAST_COSINE}, got {cosines.min():.4f}")
    if not np.array_equal(codes, RustBinaryEncoder(384).encode(embeddings)):
        raise UnequalResultsError(f"{what}: expected the codes of the embeddings, got others")


def _lookups(setting: Setting) -> Iterator[Row]:
    """A question of a `SemanticCache` in memory: the same again, and one that nothing stored is like."""
    runtimes: tuple[Runtime, Runtime] = ("rust", "onnxruntime")
    caches = {name: SemanticCache(embedder=LocalEmbedder(runtime=name)) for name in runtimes}
    stored = [f"How do I reset the {word} of my account?" for word in _WORDS.split()]
    asked = [f"Which {word} grows best in the shade of a tree?" for word in _WORDS.split()]
    for cache in caches.values():
        for prompt in stored:
            cache.put(prompt, "an answer")
    for what, prompts, hit in (("an exact hit", stored, True), ("embedded, a miss", asked, False)):
        for name, cache in caches.items():
            if any(bool(cache.lookup(prompt)) is not hit for prompt in prompts):
                raise UnequalResultsError(f"{what}: expected hits to be {hit}, got others from {name}")
        inputs = [(prompt,) for prompt in prompts]
        ours, theirs = (caches[name].lookup for name in runtimes)
        case = Case(
            f"look-up from text, {what}",
            len(stored),
            Contender("ours", ours, cycle(inputs)),
            [Contender(_PLAIN, theirs, cycle(inputs))],
        )
        yield from measure(case, setting.effort)
    for cache in caches.values():
        cache.close()


def _first_text(setting: Setting) -> Row:
    """From the import of the embedder to the first vector, in a process of its own."""
    rounds: dict[str, list[float]] = {"ours": [], _PLAIN: []}
    for _ in range(setting.size(11, 2)):
        for name, runtime in (("ours", "rust"), (_PLAIN, "onnxruntime")):
            command = [sys.executable, "-c", _START.format(runtime=runtime)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rounds[name].append(float(done.stdout))
    ours, theirs = (statistics.median(times) for times in rounds.values())
    return Row("first text of a process, NumPy already there", 1, "ms", ours, _PLAIN, theirs, rounds=rounds)
