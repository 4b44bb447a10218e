"""An embedder of bags of words: texts that share words are near, the same on every machine."""

import hashlib
import re

import numpy as np


class WordEmbedder:
    """Each word is a random direction; a text is the sum of its words'."""

    bounded = True
    max_tokens = 64

    def __init__(self, dimension: int = 64, name: str = "words"):
        self.dimension = dimension
        self.fingerprint = f"{name}-{dimension}"
        self.calls = 0

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def embed(self, texts):
        self.calls += len(texts)
        return np.array([self._one(text) for text in texts], np.float32).reshape(len(texts), self.dimension)

    def _one(self, text: str):
        words = re.findall(r"\w+", text.lower()) or [text]
        return sum(self._word(word) for word in words) / len(words)

    def _word(self, word: str):
        seed = int.from_bytes(hashlib.sha256(f"{self.fingerprint} {word}".encode()).digest()[:8])
        return np.random.default_rng(seed).standard_normal(self.dimension)


class NoGuards:
    """Objects to nothing."""

    def check(self, prompt, candidates):
        return [[] for _ in candidates]
