"""What a store is filled by: embedder, formula and layout of vectors in one line."""

import json

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder

__all__ = ["identity"]


def identity(embedder_fingerprint: str, encoder: RustBinaryEncoder) -> str:
    """Equal for caches whose codes can be compared; a store that says otherwise is refused."""
    return json.dumps(
        {
            "embedder": embedder_fingerprint,
            "dimension": encoder.embedding_dim,
            "code_bits": encoder.code_bits,
            "seed": encoder.seed,
            "projection": encoder.projection_checksum[:16],
        },
        sort_keys=True,
    )
