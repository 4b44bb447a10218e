"""Entries named by numbers, and what a store tells of those it holds."""

import struct
from dataclasses import replace

from binary_semantic_cache.stores import Entry

__all__ = ["FINGERPRINT", "NOW", "entry", "packed_state", "state"]

NOW = 1_000_000.0
FINGERPRINT = "model A"


def entry(number: int, **changes) -> Entry:
    made = Entry(
        key=number.to_bytes(16),
        scope=b"s" * 16,
        owner=b"o" * 16,
        code=number.to_bytes(8) * 4,
        vector=b"\x01" + bytes([number % 256]) * 8,
        prompt=f"question {number} für 😀",
        kind="str",
        payload=f"answer {number}".encode(),
        created_at=NOW,
        expires_at=None,
    )
    return replace(made, **changes)


def state(store) -> dict[int, tuple[bytes, bytes]]:
    """What a fold over a snapshot gives."""
    _, chunks = store.snapshot()
    return {line.id: (line.scope, line.code) for chunk in chunks for line in chunk if not line.pair}


def packed_state(store) -> dict[int, tuple[bytes, bytes]]:
    """What the columns of `packed` give, and the log after them."""
    cursor, _, chunks = store.packed()
    rows: dict[int, tuple[bytes, bytes]] = {}
    for ids, scopes, codes in chunks:
        numbers = struct.unpack(f"<{len(ids) // 8}q", ids)
        width = len(codes) // len(numbers)
        for i, number in enumerate(numbers):
            rows[number] = scopes[16 * i : 16 * i + 16], codes[width * i : width * i + width]
    assert not store.moved_past(cursor)
    return rows
