"""Embedding to entry: the cache over one index, and the archive that keeps it on disk."""

from binary_semantic_cache.vector.cache import BinarySemanticCache, CacheEntry, CacheStats

__all__ = ["BinarySemanticCache", "CacheEntry", "CacheStats"]
