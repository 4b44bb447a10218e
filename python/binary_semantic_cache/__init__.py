"""A semantic cache for LLM calls: answers given before, found by what a prompt means.

`SemanticCache` takes prompts; `BinarySemanticCache` takes embeddings, which become 256-bit codes that a SIMD
scan compares. The text level is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    from .binary_semantic_cache_rs import HammingSimilarity, RustBinaryEncoder
except ImportError as exc:
    raise ImportError(
        "Build required: the Rust extension binary_semantic_cache.binary_semantic_cache_rs "
        f"cannot be imported ({exc}); run `pip install .` or `maturin develop --release` in the source folder"
    ) from exc

from .vector.cache import BinarySemanticCache, CacheEntry, CacheStats

if TYPE_CHECKING:
    from .text.budget import Budget
    from .text.guards import Guards
    from .text.judge import Judge
    from .text.learned import LearnedPolicy
    from .text.policy import Policy
    from .text.request import Request
    from .text.semantic import SemanticCache
    from .text.verdict import Hit, Miss, MissReason

__version__ = "0.1.0"

__all__ = [
    "BinarySemanticCache",
    "Budget",
    "CacheEntry",
    "CacheStats",
    "Guards",
    "HammingSimilarity",
    "Hit",
    "Judge",
    "LearnedPolicy",
    "Miss",
    "MissReason",
    "Policy",
    "Request",
    "RustBinaryEncoder",
    "SemanticCache",
    "__version__",
]

_AT_FIRST_USE = {
    "Budget": "text.budget",
    "Guards": "text.guards",
    "Hit": "text.verdict",
    "Judge": "text.judge",
    "LearnedPolicy": "text.learned",
    "Miss": "text.verdict",
    "MissReason": "text.verdict",
    "Policy": "text.policy",
    "Request": "text.request",
    "SemanticCache": "text.semantic",
}


def __getattr__(name: str) -> Any:
    module = _AT_FIRST_USE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value
