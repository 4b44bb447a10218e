"""What the values of an entry must be, whoever wrote it: a cache, a failing disk, a file from elsewhere."""

import math
from collections.abc import Callable

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.errors import BinarySemanticCacheError, CorruptFileError
from binary_semantic_cache.stores import Entry
from binary_semantic_cache.text.canonical import utf8
from binary_semantic_cache.text.identity import Identity, parse_identity
from binary_semantic_cache.text.payload import decode_response
from binary_semantic_cache.text.vectors import is_exact, unpack

__all__ = ["entry_checks"]

_DIGEST_BYTES = 16
_LATEST = 1e12
"""Seconds since 1970, some 30,000 years on: a time beyond it was made by no clock."""
_MOST_CELLS = 1 << 26
"""Of a projection that is drawn for a check: 256 MiB of float32."""


def entry_checks(fingerprint: str, *, codes: bool = False) -> Callable[[Entry], str | None]:
    """What says what is wrong with an entry of a store of this fingerprint, `None` for nothing.

    Args:
        fingerprint: as `identity` makes it.
        codes: also encode each embedding that is kept as float32, and compare with the code.

    Raises:
        CorruptFileError: `fingerprint` is nothing that `identity` makes.
        FingerprintError: `codes` is asked for, and the projection cannot be drawn again.
    """
    made = parse_identity(fingerprint)
    code_of = _encoder(made) if codes else None
    spare = made.code_bytes * 8 - made.code_bits

    def wrong(entry: Entry) -> str | None:
        for name in ("key", "scope", "owner"):
            length = len(getattr(entry, name))
            if length != _DIGEST_BYTES:
                return f"{name}: expected {_DIGEST_BYTES} bytes, got {length}"
        if len(entry.code) not in (0, made.code_bytes):
            return f"code: expected {made.code_bytes} bytes, got {len(entry.code)}"
        if spare and int.from_bytes(entry.code, "little") >> made.code_bits:
            return f"code: bits beyond its {made.code_bits} are set"
        if utf8(entry.prompt) is None:
            return "prompt: a lone surrogate"
        return _wrong_times(entry) or _wrong_saving(entry) or _wrong_vector(entry) or _wrong_answer(entry)

    def _wrong_vector(entry: Entry) -> str | None:
        if not entry.vector:
            return None
        if not entry.code:
            return "vector: there is one, but no code"
        try:
            embedding = unpack(entry.vector, made.dimension)
        except CorruptFileError as exc:
            return f"vector: {exc}"
        if code_of is not None and is_exact(entry.vector) and code_of(embedding) != entry.code:
            return "code: not the one of its embedding"
        return None

    return wrong


def _wrong_times(entry: Entry) -> str | None:
    if not 0 <= entry.created_at <= _LATEST:
        return "created_at: expected seconds since 1970"
    # An expiry may lie beyond: a time to live has no limit. It must be a number to compare with.
    if entry.expires_at is not None and not (math.isfinite(entry.expires_at) and entry.expires_at >= 0):
        return "expires_at: expected seconds since 1970, or nothing"
    if entry.ttl_seconds is not None:
        if not 0 < entry.ttl_seconds < math.inf:
            return "ttl_seconds: expected a positive number of seconds, or nothing"
        if entry.expires_at is None:
            return "ttl_seconds: there are some, but no expiry"
    return None


def _wrong_saving(entry: Entry) -> str | None:
    saving = entry.saving
    if not all(0 <= n < 2**63 for n in (saving.input_tokens, saving.output_tokens)):
        return "saving: expected tokens of 0 or more"
    if not all(math.isfinite(x) for x in (saving.cost, saving.seconds)):
        return "saving: expected finite numbers"
    return None


def _wrong_answer(entry: Entry) -> str | None:
    if len(set(entry.tags)) != len(entry.tags) or any(not tag or utf8(tag) is None for tag in entry.tags):
        return "tags: expected different strings that are not empty"
    try:
        decode_response(entry.kind, entry.payload)
    except CorruptFileError as exc:
        return f"payload: {exc}"
    # A hostile MessagePack nests as deep as it is long, or asks for more memory than there is.
    except (RecursionError, MemoryError, OverflowError):
        return "payload: cannot be decoded"
    return None


def _encoder(made: Identity) -> Callable[..., bytes]:
    from binary_semantic_cache.errors import FingerprintError

    if made.seed is None or made.dimension * made.code_bits > _MOST_CELLS:
        raise FingerprintError("expected a projection drawn from a seed; codes cannot be compared")
    try:
        encoder = RustBinaryEncoder(made.dimension, made.code_bits, made.seed)
    except BinarySemanticCacheError as exc:
        raise FingerprintError(f"the projection cannot be drawn again: {exc}") from exc
    if encoder.projection_checksum[:16] != made.projection:
        raise FingerprintError("the projection was drawn in another way; codes cannot be compared")

    def code_of(embedding: object) -> bytes:
        return bytes(encoder.encode(embedding).astype("<u8").tobytes())  # type: ignore[arg-type]

    return code_of
