"""A semantic cache for LLM calls: embeddings become 256-bit codes, a SIMD scan finds the nearest one."""

try:
    from .binary_semantic_cache_rs import HammingSimilarity, RustBinaryEncoder
except ImportError as exc:
    raise ImportError(
        "Build required: the Rust extension binary_semantic_cache.binary_semantic_cache_rs "
        f"cannot be imported ({exc}); run `pip install .` or `maturin develop --release` in the source folder"
    ) from exc

from .vector.cache import BinarySemanticCache, CacheEntry, CacheStats

__version__ = "0.1.0"

__all__ = [
    "BinarySemanticCache",
    "CacheEntry",
    "CacheStats",
    "HammingSimilarity",
    "RustBinaryEncoder",
    "__version__",
]
