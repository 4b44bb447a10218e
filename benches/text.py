"""Text to embedding and code: in Rust, against the same model on other runtimes."""

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benches.fetched import UnavailableError
from benches.harness import Case, Contender, Row, UnequalResultsError, measure
from benches.runtimes import (
    FASTEMBED,
    SENTENCE_TRANSFORMERS,
    Embed,
    fastembed_model,
    sentence_transformers_model,
)
from benches.subject import Setting
from binary_semantic_cache import Hit, RustBinaryEncoder, SemanticCache
from binary_semantic_cache.embedders.local import LocalEmbedder, Runtime
from binary_semantic_cache.embedders.model_install import install
from binary_semantic_cache.embedders.text_encoder import TextEncoder

__all__ = ["run"]

_THEIRS = "tokenizers, ONNX Runtime, encoder"
_PLAIN = "with ONNX Runtime"
_WORDS = (
    "what is the capital of the country where people travel in winter when it rains a lot on all of these "
    "mountains and which road leads there from the north"
)
_SHORT = 4
"""Longer words only: the guards take no notice of some others."""
_TOKENS = (8, 12, 16, 64, 256)
_LEAST_COSINE = 0.98
"""Two versions of ONNX Runtime differ by as much, see `embedders/local.py`; int8 and float32 by less."""

_START = """
import numpy, time
began = time.perf_counter()
from binary_semantic_cache.embedders.local import LocalEmbedder
LocalEmbedder(runtime={runtime!r}).embed(["What is the capital of France?"])
print((time.perf_counter() - began) * 1e3)
"""


@dataclass(frozen=True, slots=True)
class _Others:
    """The model on the runtimes of other packages, and why some are missing."""

    embed: Mapping[str, Embed]
    missing: Mapping[str, str]


def run(setting: Setting) -> Iterator[Row]:
    """One text at five lengths, a whole look-up, and the first text of a process."""
    folder = install()
    with TemporaryDirectory(prefix="bsc-bench-") as made:
        others = _others(folder, Path(made))
        yield from _encodings(setting, folder, others)
        yield from _lookups(setting, others)
    yield _first_text(setting)


def _others(model_folder: Path, made: Path) -> _Others:
    openers: dict[str, Callable[[], Embed]] = {
        FASTEMBED: lambda: fastembed_model(model_folder, made),
        SENTENCE_TRANSFORMERS: sentence_transformers_model,
    }
    embed, missing = {}, {}
    for name, opened in openers.items():
        try:
            embed[name] = opened()
        except UnavailableError as exc:
            missing[name] = f"not available: {exc}"
    return _Others(embed, missing)


def _encodings(setting: Setting, folder: Path, others: _Others) -> Iterator[Row]:
    encoder = RustBinaryEncoder(384)
    ours = TextEncoder(folder, encoder)
    local = LocalEmbedder(folder, runtime="onnxruntime")
    theirs: dict[str, Embed] = {_THEIRS: local.embed, **others.embed}
    for tokens in _TOKENS[:2] if setting.smoke else _TOKENS:
        texts = [_text(tokens, start) for start in range(8)]
        lengths = {local.count_tokens(text) for text in texts}
        what = f"text to code, {tokens} tokens"
        if lengths != {tokens}:
            raise UnequalResultsError(f"{what}: expected texts of {tokens} tokens, got {lengths}")
        for name, embed in theirs.items():
            _check(f"{what}, {name}", ours, embed, texts)
        inputs = [([text],) for text in texts]
        contenders = [
            Contender(name, _encoding(embed, encoder), cycle(inputs)) for name, embed in theirs.items()
        ]
        missing = others.missing if tokens == _TOKENS[0] else {}
        case = Case(what, 1, Contender("ours", ours.encode, cycle(inputs)), contenders, missing)
        yield from measure(case, setting.effort)


def _encoding(embed: Embed, encoder: RustBinaryEncoder) -> Callable[[list[str]], object]:
    def encode(texts: list[str]) -> tuple[object, object]:
        embeddings = embed(texts)
        return embeddings, encoder.encode(embeddings)

    return encode


def _text(tokens: int, start: int) -> str:
    """Words of one token each, between the two marks."""
    words = _WORDS.split()
    return " ".join(words[(start + i) % len(words)] for i in range(tokens - 2))


def _check(what: str, ours: TextEncoder, embed: Embed, texts: list[str]) -> None:
    embeddings, codes = ours.encode(texts)
    cosines = (embeddings * embed(texts)).sum(axis=1)
    if cosines.min() < _LEAST_COSINE:
        raise UnequalResultsError(f"{what}: expected cosines above {_LEAST_COSINE}, got {cosines.min():.4f}")
    if not np.array_equal(codes, RustBinaryEncoder(384).encode(embeddings)):
        raise UnequalResultsError(f"{what}: expected the codes of the embeddings, got others")


def _lookups(setting: Setting, others: _Others) -> Iterator[Row]:
    """A question of a `SemanticCache` in memory: the same again, in other words, and like nothing stored.

    Beside it what the other runtimes take for the embedding of that question alone.
    """
    runtimes: tuple[Runtime, Runtime] = ("rust", "onnxruntime")
    caches = {name: SemanticCache(embedder=LocalEmbedder(runtime=name)) for name in runtimes}
    words = sorted({word for word in _WORDS.split() if len(word) > _SHORT})
    stored = [f"How do I reset the {word} of my account?" for word in words]
    asked = {
        "exact": stored,
        "semantic": [f"How can I reset the {word} of my account?" for word in words],
        None: [f"Which {word} grows best in the shade of a tree?" for word in words],
    }
    for cache in caches.values():
        for prompt in stored:
            cache.put(prompt, "an answer")
    for kind, prompts in asked.items():
        what = f"look-up from text, {f'a hit, {kind}' if kind else 'embedded, a miss'}"
        for name, cache in caches.items():
            kinds = {_kind(cache, prompt) for prompt in prompts}
            if kinds != {kind}:
                raise UnequalResultsError(f"{what}: expected {kind}, got {kinds} from {name}")
        inputs = [(prompt,) for prompt in prompts]
        ours, theirs = (caches[name].lookup for name in runtimes)
        contenders = [Contender(_PLAIN, theirs, cycle(inputs))]
        contenders += [
            Contender(f"the embedding alone: {name}", embed, cycle([([prompt],) for prompt in prompts]))
            for name, embed in others.embed.items()
        ]
        case = Case(what, len(stored), Contender("ours", ours, cycle(inputs)), contenders)
        yield from measure(case, setting.effort)
    for cache in caches.values():
        cache.close()


def _kind(cache: SemanticCache, prompt: str) -> str | None:
    verdict = cache.lookup(prompt)
    return verdict.kind if isinstance(verdict, Hit) else None


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
