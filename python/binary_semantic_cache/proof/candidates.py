"""Pairs that wait for a label."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from binary_semantic_cache.proof.pairs import Messages, Pair

__all__ = ["Candidate", "candidate_id", "candidates_of"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two prompts that nobody has judged yet."""

    id: str
    """The same for the same two prompts, whatever file they come from."""
    a: str | Messages
    b: str | Messages
    category: str
    similarity: float | None = None


def candidate_id(a: str | Messages, b: str | Messages) -> str:
    """16 hexadecimal digits that name two prompts."""
    both = json.dumps([a, b], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(both.encode()).hexdigest()[:16]


def candidates_of(pairs: Iterable[Pair]) -> list[Candidate]:
    """The pairs, each once, whatever label they have."""
    found: dict[str, Candidate] = {}
    for pair in pairs:
        name = candidate_id(pair.a, pair.b)
        found.setdefault(name, Candidate(name, pair.a, pair.b, pair.category))
    return list(found.values())
