"""Pairs of prompts in a cache's file that are worth a label: near the threshold, and passed by the guards."""

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.errors import CorruptFileError, InvalidValueError
from binary_semantic_cache.proof.candidates import Candidate, candidate_id
from binary_semantic_cache.stores.reading import entries, meta_of, reading
from binary_semantic_cache.text.guards import Guards
from binary_semantic_cache.text.identity import parse_identity
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.thresholds import default_threshold
from binary_semantic_cache.text.vectors import unpack

__all__ = ["neighbours"]

_MOST_OF_A_SCOPE = 20_000
"""The newest so many entries of a scope are compared with each other: 200 million cosines, some seconds."""
_ROWS = 512


def neighbours(
    path: Path,
    *,
    threshold: float | None = None,
    width: float = 0.08,
    limit: int = 200,
    vetoed: bool = False,
    seed: int | None = None,
    progress: Callable[[int], object] = lambda n: None,
) -> list[Candidate]:
    """Pairs of prompts of one scope whose cosine lies in the grey zone, those nearest the threshold first.

    The newer prompt of a pair is `b`. Prompts that a guard tells apart, or whose class is never matched by
    meaning, are left out: no threshold serves them.

    Args:
        path: the file of a cache; only read.
        threshold: the middle of the zone; `None` for the default of the embedder that filled the file.
        width: how far the zone reaches to either side.
        limit: the most pairs to give.
        vetoed: also pairs that guards or policy would stop.
        seed: draw the pairs of the zone evenly instead of the nearest first.
        progress: called with the number of entries read since the last call.

    Raises:
        InvalidValueError: `width` is not positive.
        MissingFileError, CorruptFileError, FormatVersionError, StoreError: see `stores.reading`.
    """
    if not width > 0.0:
        raise InvalidValueError(f"expected a width above 0, got {width}")
    found_in: dict[bytes, deque[tuple[str, NDArray[np.float32]]]] = defaultdict(
        lambda: deque(maxlen=_MOST_OF_A_SCOPE)
    )
    with reading(path) as db:
        fingerprint = meta_of(db).get("fingerprint")
        if fingerprint is None:
            raise CorruptFileError(
                f"{path}: no cache has filled it, or it is damaged; see `bsc verify {path}`"
            )
        made = parse_identity(fingerprint.decode("utf-8", "replace"))
        middle = default_threshold(made.embedder) if threshold is None else threshold
        for stored in entries(db, path):
            progress(1)
            if stored.entry.vector:
                vector = unpack(stored.entry.vector, made.dimension)
                found_in[stored.entry.scope].append((stored.entry.prompt, vector))
    prompts = {scope: [prompt for prompt, _ in found] for scope, found in found_in.items()}
    zone = [
        (abs(cosine - middle), cosine, scope, i, j)
        for scope, found in found_in.items()
        for cosine, i, j in _near([vector for _, vector in found], middle, width)
    ]
    if seed is None:
        zone.sort(key=lambda one: (one[0], one[3], one[4]))
    else:
        random.Random(seed).shuffle(zone)
    passes = _passing(vetoed=vetoed)
    candidates: list[Candidate] = []
    for _, cosine, scope, i, j in zone:
        if len(candidates) >= limit:
            break
        a, b = prompts[scope][i], prompts[scope][j]
        if a != b and passes(a, b):
            candidates.append(Candidate(candidate_id(a, b), a, b, "near", round(cosine, 4)))
    return candidates


def _near(
    vectors: list[NDArray[np.float32]], middle: float, width: float
) -> Iterator[tuple[float, int, int]]:
    """Cosines inside the zone with the places of both, each pair once, the older first."""
    unit = np.stack(vectors)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), np.float32(1e-12))
    for first in range(0, len(unit), _ROWS):
        rows = unit[first : first + _ROWS] @ unit[first:].T
        for i, j in np.argwhere(np.abs(rows - middle) <= width):
            if j > i:
                yield float(rows[i, j]), first + int(i), first + int(j)


def _passing(*, vetoed: bool) -> Callable[[str, str], bool]:
    if vetoed:
        return lambda a, b: True
    guards, policy = Guards(), Policy()

    def passes(a: str, b: str) -> bool:
        return not policy.classify(a) and not policy.classify(b) and not guards.check(b, [a])[0]

    return passes
