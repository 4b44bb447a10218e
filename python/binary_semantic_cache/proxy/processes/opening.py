"""The cache that the settings describe, warm: its model is loaded and has been used once."""

import logging

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.embedders.absent import AbsentEmbedder
from binary_semantic_cache.embedders.from_name import embedder_from
from binary_semantic_cache.errors import EmbedderError
from binary_semantic_cache.proxy.processes.comparing import judge_of, verifier_of
from binary_semantic_cache.proxy.processes.overseeing import budget_of, learned_of
from binary_semantic_cache.proxy.settings import CacheSettings
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.guards import Guards
from binary_semantic_cache.text.identity import parse_identity
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["open_cache"]

_logger = logging.getLogger(__name__)

_NO_EMBEDDER = "none"
"""Fingerprint of a file that was begun for exact repeats where no model is installed."""
_CODE_BITS, _SEED = 256, 42


def open_cache(settings: CacheSettings) -> SemanticCache:
    """Opens the cache; takes as long as its model takes to load.

    For exact repeats alone no embedder is made, whatever the file was filled with.

    Raises:
        EmbedderError: the embedder could not be made: not installed, unknown, without its library.
        FingerprintError: the file was filled with another embedder.
        StoreError: the file could not be opened, or the one that the budget is counted in.
        ConfigurationError: a judge of answers is not there, or the verifier's model.
    """
    if not settings.semantic:
        return _opened(settings, *_without_embedder(settings))
    embedder = embedder_from(settings.embedder)
    cache = _opened(settings, embedder, _CODE_BITS, _SEED)
    try:
        embedder.embed(["warm"])
    except EmbedderError as exc:
        # A server of embeddings that is down today must not keep the proxy down: until it is back, all
        # that is asked for the first time is a miss.
        _logger.warning("embedder %s does not work yet: %s", settings.embedder, exc)
    return cache


def _opened(settings: CacheSettings, embedder: Embedder, code_bits: int, seed: int) -> SemanticCache:
    # Without hits by meaning there is nothing to oversee.
    guards, is_judged = Guards(), settings.judge and settings.semantic
    verifier = verifier_of(settings.verifier) if settings.semantic else None
    return SemanticCache(
        settings.path or None,
        embedder=embedder,
        threshold=settings.threshold,
        max_entries=settings.max_entries,
        max_bytes=settings.max_bytes,
        eviction=settings.eviction,
        ttl_seconds=settings.ttl_seconds,
        sliding_ttl=settings.sliding_ttl,
        policy=Policy(exact_only=settings.exact_only),
        guards=guards,
        judge=judge_of(settings.verifier, guards) if is_judged else None,
        verifier=verifier,
        budget=budget_of(settings.budget) if settings.semantic else None,
        learned=learned_of(settings.learned) if settings.semantic else None,
        mode="shadow" if settings.mode == "shadow" else "on",
        timeout_seconds=settings.timeout_seconds,
        max_response_bytes=settings.max_response_bytes,
        tool_calls=settings.tool_calls,
        prices=settings.prices,
        code_bits=code_bits,
        seed=seed,
    )


def _without_embedder(settings: CacheSettings) -> tuple[Embedder, int, int]:
    """What stands for the embedder of the file, with the file's bits of a code and seed."""
    filled_by = _filled_by(settings.path) if settings.path else None
    if filled_by is not None:
        found = parse_identity(filled_by)
        seed = _SEED if found.seed is None else found.seed
        return AbsentEmbedder(found.embedder, found.dimension), found.code_bits, seed
    fingerprint, dimension = _NO_EMBEDDER, 1
    if settings.embedder.partition(":")[0] == "local":
        # Its name can be had without loading it: the file may then be used for meaning later.
        try:
            named = embedder_from(settings.embedder)
            fingerprint, dimension = named.fingerprint, named.dimension
        except EmbedderError as exc:
            _logger.debug("a new file belongs to no embedder: %s", exc)
    return AbsentEmbedder(fingerprint, dimension), _CODE_BITS, _SEED


def _filled_by(path: str) -> str | None:
    store = SQLiteStore(path)
    try:
        return store.fingerprint()
    finally:
        store.close()
