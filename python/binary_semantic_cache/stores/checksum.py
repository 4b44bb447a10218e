"""Checksums of entries in a file whose format has none: a flipped bit must not become an answer.

The sum of an entry is the exclusive or of three parts: what never changes, code and vector, expiry. So
moving an expiry or giving an entry another code needs no reading of the answer, and damage that was there
before stays seen. 64 bits of BLAKE2b: against accidents, not against one who writes to the file on purpose.
"""

from hashlib import blake2b
from struct import pack
from typing import Any

import msgpack

__all__ = ["CHECKSUM_BYTES", "checksum", "moved"]

CHECKSUM_BYTES = 8

# Copying a hasher that has read its person is faster than making one.
_LASTING = blake2b(digest_size=CHECKSUM_BYTES, person=b"bsc lasting")
_PLACE = blake2b(digest_size=CHECKSUM_BYTES, person=b"bsc place")
_EXPIRY = blake2b(digest_size=CHECKSUM_BYTES, person=b"bsc expiry")


def checksum(lasting: tuple[Any, ...], code: bytes, vector: bytes, expires_at: float | None) -> bytes:
    """8 bytes that differ, but for one chance in 2**64, for values that differ in anything, types included.

    Raises:
        TypeError, ValueError, OverflowError: a value is of a type that no entry holds.
    """
    whole = _part(_LASTING, msgpack.packb(lasting)) ^ _of_place(code, vector) ^ _of_expiry(expires_at)
    return whole.to_bytes(CHECKSUM_BYTES)


def moved(
    before: bytes,
    *,
    place: tuple[tuple[bytes, bytes], tuple[bytes, bytes]] | None = None,
    expiry: tuple[float | None, float | None] | None = None,
) -> bytes:
    """The checksum after a change.

    Args:
        before: the checksum.
        place: code and vector before, code and vector after.
        expiry: before and after.
    """
    whole = int.from_bytes(before)
    if place is not None:
        whole ^= _of_place(*place[0]) ^ _of_place(*place[1])
    if expiry is not None:
        whole ^= _of_expiry(expiry[0]) ^ _of_expiry(expiry[1])
    return whole.to_bytes(CHECKSUM_BYTES)


def _of_place(code: bytes, vector: bytes) -> int:
    return _part(_PLACE, b"%d:%b%b" % (len(code), code, vector))


def _of_expiry(expires_at: float | None) -> int:
    return 0 if expires_at is None else _part(_EXPIRY, pack("<d", expires_at))


def _part(empty: "blake2b", data: bytes) -> int:
    hasher = empty.copy()
    hasher.update(data)
    return int.from_bytes(hasher.digest())
