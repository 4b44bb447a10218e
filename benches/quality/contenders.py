"""What others do with the same pairs and the same embedder, and what was published of them.

mneme-cache is really run: `put` and `get` with its defaults, a namespace a pair.

GPTCache 0.1.44 is composed, not imported: its import pulls in eight packages and installs more with pip while
it runs. What decides in its usual semantic set-up (`SearchDistanceEvaluation`, FAISS) is four lines: vectors
are scaled to length 1; the distance d is the squared Euclidean one; the rank is 4.0 - d, with d cut to 0.0 to
4.0; served if the rank is at least 0.8 of 4.0. So any two texts with a cosine of 0.6 or more share an answer.
Source: gptcache 0.1.44, `similarity_evaluation/distance.py`, `adapter/adapter.py` (`rank_threshold`),
`config.py` (`similarity_threshold=0.8`), `manager/data_manager.py` (`normalize`).

Neither has a notion of a conversation: both are given the text of the last message, as GPTCache's own
pre-processing (`last_content`) does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import mneme
import numpy as np
from numpy.typing import NDArray

from benches.quality.evidence import Evidence
from binary_semantic_cache.proof.pairs import last_text
from binary_semantic_cache.proof.remembering import RememberingEmbedder

__all__ = ["GPTCACHE", "MNEME", "PUBLISHED", "Published", "ask_contenders"]

MNEME = f"mneme-cache {version('mneme-cache')}"
GPTCACHE = "GPTCache 0.1.44 (composed)"

_MOST_DISTANCE = 4.0
_LEAST_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Published:
    """A figure that somebody else measured, with the contender's own defaults and embedder."""

    contender: str
    set_name: str
    served: float | None
    traps: float
    source: str


PUBLISHED = (
    Published("RedisVL", "questions", 0.51, 0.11, "fow-cache 0.1, all its questions"),
    Published("GPTCache", "questions", 0.81, 0.81, "fow-cache 0.1, all its questions"),
    Published("GPTCache, last message", "conversations", None, 0.98, "fow-cache 0.1, all its conversations"),
)


class _OneText:
    """The embedder as mneme wants it."""

    def __init__(self, embeddings: RememberingEmbedder) -> None:
        self._embeddings = embeddings
        self.dim, self.fingerprint = embeddings.dimension, embeddings.fingerprint

    def embed(self, text: str) -> NDArray[np.float32]:
        """The embedding of one text."""
        return self._embeddings.of(text)


def ask_contenders(embeddings: RememberingEmbedder, pairs: Sequence[Evidence]) -> Mapping[str, list[bool]]:
    """Whether each contender serves the first prompt's answer for the second, pair by pair."""
    texts = [(last_text(evidence.pair.a), last_text(evidence.pair.b)) for evidence in pairs]
    return {MNEME: _mneme(embeddings, texts), GPTCACHE: [_gptcache(embeddings, *pair) for pair in texts]}


def _mneme(embeddings: RememberingEmbedder, texts: Sequence[tuple[str, str]]) -> list[bool]:
    served = []
    with mneme.SemanticCache(store=mneme.MemoryStore(), embedder=_OneText(embeddings)) as cache:
        for i, (old, new) in enumerate(texts):
            cache.put(old, "an answer", namespace=f"pair {i}")
            served.append(cache.get(new, namespace=f"pair {i}") is not None)
    return served


def _gptcache(embeddings: RememberingEmbedder, old: str, new: str) -> bool:
    kept, asked = (vector / np.linalg.norm(vector) for vector in map(embeddings.of, (old, new)))
    distance = float(((kept - asked) ** 2).sum())
    return _MOST_DISTANCE - min(max(distance, 0.0), _MOST_DISTANCE) >= _LEAST_SHARE * _MOST_DISTANCE
