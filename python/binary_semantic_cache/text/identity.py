"""What a store is filled by: embedder, formula and layout of vectors in one line."""

import json
import re
from dataclasses import dataclass

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.errors import CorruptFileError

__all__ = ["Identity", "identity", "parse_identity"]

_MOST_BITS = 1 << 20
_MOST_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Identity:
    """What `identity` says, taken apart."""

    embedder: str
    dimension: int
    code_bits: int
    seed: int | None
    projection: str

    @property
    def code_bytes(self) -> int:
        """Length of a code: whole words of 64 bits."""
        return (self.code_bits + 63) // 64 * 8


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


def parse_identity(line: str) -> Identity:
    """The parts of what `identity` made, from a source that may not be trusted.

    Raises:
        CorruptFileError: it is nothing that `identity` makes.
    """
    try:
        parts = json.loads(line) if len(line) <= _MOST_CHARACTERS else None
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, dict):
        raise CorruptFileError("expected a JSON object that names the embedder")
    for name, kinds in (
        ("embedder", (str,)),
        ("dimension", (int,)),
        ("code_bits", (int,)),
        ("seed", (int, type(None))),
        ("projection", (str,)),
    ):
        if type(parts.get(name)) not in kinds:
            raise CorruptFileError(f"{name}: expected {kinds[0].__name__}")
    for name in ("dimension", "code_bits"):
        if not 1 <= parts[name] <= _MOST_BITS:
            raise CorruptFileError(f"{name}: expected 1 to {_MOST_BITS}, got a number beyond")
    if not re.fullmatch(r"[0-9a-f]{0,64}", parts["projection"]):
        raise CorruptFileError("projection: expected hexadecimal digits")
    if json.dumps(parts, sort_keys=True) != line:
        raise CorruptFileError("expected the form in which a cache writes it")
    return Identity(*(parts[name] for name in ("embedder", "dimension", "code_bits", "seed", "projection")))
