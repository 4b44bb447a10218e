"""The JSON header of an archive: its format, its size, and the fingerprint of the encoder it goes with."""

import json
import time
from importlib import metadata
from typing import Final

from binary_semantic_cache.errors import FingerprintError, FormatVersionError
from binary_semantic_cache.vector.archive.npz import NpzReader
from binary_semantic_cache.vector.encoder import EncoderIdentity

__all__ = ["check_header", "mismatch", "write_header"]

FORMAT: Final = "binary-semantic-cache"
VERSION: Final = 4
"""1 was the plain `.npz` of Phase 1, 2 and 3 its folders."""

_MAX_HEADER: Final = 64 * 1024
_MAX_ROWS: Final = 2**31 - 1

_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "n_entries": (int,),
    "embedding_dim": (int,),
    "code_bits": (int,),
    "seed": (int, type(None)),
    "projection_checksum": (str,),
}


def write_header(n: int, encoder: EncoderIdentity) -> bytes:
    """The header of an archive of `n` entries."""
    try:
        creator = metadata.version("binary-semantic-cache")
    except metadata.PackageNotFoundError:  # run from a source tree
        creator = "unknown"
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "n_entries": n,
        "embedding_dim": encoder.embedding_dim,
        "code_bits": encoder.code_bits,
        "seed": encoder.seed,
        "projection_checksum": encoder.projection_checksum,
        "creator": creator,
        "created_at": time.time(),
    }
    return json.dumps(fields).encode()


def check_header(npz: NpzReader, encoder: EncoderIdentity) -> int:
    """The number of entries, once format, version and fingerprint are as they must be."""
    member = npz.find("header.npy", "|u1", (None,))
    if member.data_size > _MAX_HEADER:
        raise npz.corrupt(f"header.npy: expected at most {_MAX_HEADER} bytes, got {member.data_size}")
    # The checksum is always verified here: a flipped bit must not pass for another seed.
    text = npz.read(member, verify=True).tobytes()
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise npz.corrupt(f"header.npy: no JSON: {exc}") from exc
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise npz.corrupt(f"header.npy: not the header of a {FORMAT} file")
    version = header.get("version")
    if type(version) is not int:
        raise npz.corrupt(f"header.npy: version: expected an integer, got {type(version).__name__}")
    if version != VERSION:
        raise FormatVersionError(f"{npz.path}: version: expected {VERSION}, got {str(version)[:80]}")
    for field, kinds in _FIELDS.items():
        if type(header.get(field)) not in kinds:
            names = " or ".join(kind.__name__ for kind in kinds)
            raise npz.corrupt(
                f"header.npy: {field}: expected {names}, got {type(header.get(field)).__name__}"
            )
    for field in ("embedding_dim", "code_bits"):
        if header[field] != getattr(encoder, field):
            raise mismatch(npz, field, getattr(encoder, field), header[field])
    # A projection given as a matrix has no seed; then its checksum alone decides.
    if None not in (header["seed"], encoder.seed) and header["seed"] != encoder.seed:
        raise mismatch(npz, "seed", encoder.seed, header["seed"])
    if header["projection_checksum"] != encoder.projection_checksum:
        raise mismatch(npz, "projection_checksum", encoder.projection_checksum, header["projection_checksum"])
    n: int = header["n_entries"]
    if not 0 <= n <= _MAX_ROWS:
        raise npz.corrupt(f"header.npy: n_entries: expected 0 to {_MAX_ROWS}, got {n}")
    return n


def mismatch(npz: NpzReader, field: str, expected: object, got: object) -> FingerprintError:
    """The error that says two encoders differ in `field`."""
    return FingerprintError(
        f"{npz.path}: {field}: expected {expected} as this cache's encoder has, got {str(got)[:80]}"
    )
