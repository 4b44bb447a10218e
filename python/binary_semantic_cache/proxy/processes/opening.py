"""The cache that the settings describe, warm: its model is loaded and has been used once."""

import logging

from binary_semantic_cache.embedders.from_name import embedder_from
from binary_semantic_cache.errors import EmbedderError
from binary_semantic_cache.proxy.processes.overseeing import budget_of, learned_of
from binary_semantic_cache.proxy.settings import CacheSettings
from binary_semantic_cache.text.judge import Judge
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["open_cache"]

_logger = logging.getLogger(__name__)


def open_cache(settings: CacheSettings) -> SemanticCache:
    """Opens the cache; takes as long as its model takes to load.

    Raises:
        EmbedderError: the embedder could not be made: not installed, unknown, without its library.
        FingerprintError: the file was filled with another embedder.
        StoreError: the file could not be opened, or the one that the budget is counted in.
        ConfigurationError: a judge of answers is not there.
    """
    embedder = embedder_from(settings.embedder)
    cache = SemanticCache(
        settings.path or None,
        embedder=embedder,
        threshold=settings.threshold,
        max_entries=settings.max_entries,
        max_bytes=settings.max_bytes,
        eviction=settings.eviction,
        ttl_seconds=settings.ttl_seconds,
        sliding_ttl=settings.sliding_ttl,
        policy=Policy(exact_only=settings.exact_only),
        judge=Judge() if settings.judge else None,
        budget=budget_of(settings.budget),
        learned=learned_of(settings.learned),
        mode="shadow" if settings.mode == "shadow" else "on",
        timeout_seconds=settings.timeout_seconds,
        max_response_bytes=settings.max_response_bytes,
        tool_calls=settings.tool_calls,
        prices=settings.prices,
    )
    try:
        embedder.embed(["warm"])
    except EmbedderError as exc:
        # A server of embeddings that is down today must not keep the proxy down: until it is back, all
        # that is asked for the first time is a miss.
        _logger.warning("embedder %s does not work yet: %s", settings.embedder, exc)
    return cache
