"""Where answers are kept: the `Store` protocol; each store is a module of its own.

A store is a log of puts and deletes in commit order, and the bodies that the puts named. Every process that
opens the store folds the log into an index of its own and searches there; a store never searches and never
embeds.

What every store promises:

- A put is whole or not there: no change is visible without its body.
- Ids grow and are never given twice within an epoch.
- `changes` leaves nothing out and keeps the order of commits, or raises `CursorLostError`.
- `get` and `find` never give a body of another scope, code or key, and never one past its expiry.
- When `delete`, `clear` or `replace` returned, no later `get` of the same store gives what they removed.
- A put that returned is visible to every later `find` and `get` of the same store.

What none promises: that another process's index sees a put at once, the order of eviction across processes,
or that two puts of one key at the same moment make one entry and not two, one of them replaced.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple, Protocol

__all__ = [
    "Change",
    "ChangeKind",
    "Entry",
    "Opened",
    "Packed",
    "Saving",
    "Store",
    "StoreStats",
    "Stored",
    "servable",
]

# A clock that was set back would make entries live longer than asked; one from the future is not trusted.
_CLOCK_SKEW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Saving:
    """What an answer cost to make, and so what serving it again saves."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    """Money, in the currency of the prices that the cache was given."""
    seconds: float = 0.0
    """How long the answer took to make."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer and all that decides who may have it."""

    key: bytes
    """16 bytes: the keyed hash of scope and text; the entry of a key replaces the one before it."""
    scope: bytes
    """16 bytes: the keyed hash of all but the text. Only requests of the same scope may have the answer."""
    owner: bytes
    """16 bytes: the keyed hash of the caller's own scope value, whatever the rest of the request."""
    code: bytes
    """The binary code as little-endian words; empty for an entry that only exact matches may have."""
    vector: bytes
    """The embedding as the cache packs it, empty for none."""
    prompt: str
    kind: str
    """How `payload` becomes the answer again."""
    payload: bytes
    created_at: float
    """Seconds since the epoch."""
    expires_at: float | None
    """Seconds since the epoch; from then on the entry is not served. `None` for never."""
    ttl_seconds: float | None = None
    """Set for an entry whose expiry moves on at each hit."""
    tags: tuple[str, ...] = ()
    saving: Saving = field(default_factory=Saving)

    @property
    def n_bytes(self) -> int:
        """What the entry counts towards a limit of bytes: prompt, answer, code and vector."""
        return len(self.prompt.encode()) + len(self.payload) + len(self.code) + len(self.vector) + 48


class Stored(NamedTuple):
    """An entry under the id that the store gave it."""

    id: int
    entry: Entry


class ChangeKind(IntEnum):
    """What a line of the log says."""

    PUT = 0
    DELETE = 1
    FORBID = 2
    CLEAR = 3


class Change(NamedTuple):
    """One line of the log, or of a snapshot."""

    kind: ChangeKind
    id: int = 0
    scope: bytes = b""
    code: bytes = b""
    pair: bytes = b""
    """Of a FORBID: the keyed hash of two texts that must never answer each other."""


class Packed(NamedTuple):
    """What the index needs of many entries, in columns of bytes."""

    ids: bytes
    """Eight bytes each, little-endian, ascending."""
    scopes: bytes
    """Sixteen bytes each."""
    codes: bytes
    """As many bytes each as a code has; empty where none of these entries has a code."""


class Opened(NamedTuple):
    """What `open` says."""

    epoch: bytes
    """Changes when ids and cursors of before mean nothing any more."""
    secret: bytes
    """32 random bytes of this store, the key of all its hashes."""


@dataclass(frozen=True, slots=True)
class StoreStats:
    """The size of a store."""

    entries: int
    n_bytes: int
    """Bytes of entries as `Entry.n_bytes` counts them."""


class Store(Protocol):
    """Keeps entries; used by any number of threads. Every method may raise `StoreError`."""

    @property
    def bounded(self) -> bool:
        """Whether every call returns within a time limit that the store keeps itself."""

    def open(self, fingerprint: str) -> Opened:
        """Makes the store ready; an empty one takes on `fingerprint`.

        Raises:
            FingerprintError: the store was filled with another embedder or formula.
        """

    def put_many(self, entries: Sequence[Entry]) -> list[int]:
        """Enters all or none, each in the place of the entry of the same key; returns their ids."""

    def find(self, key: bytes, now: float) -> Stored | None:
        """The entry of exactly this key, `None` if there is none or it has expired."""

    def get(self, entry_id: int, scope: bytes, code: bytes, now: float) -> Stored | None:
        """The entry of this id if its scope and code are these too and it has not expired."""

    def vectors(self, ids: Sequence[int]) -> list[bytes]:
        """The vectors of these entries, empty where there is none (any more)."""

    def weights(self, ids: Sequence[int]) -> list[tuple[Saving, int]]:
        """What each of these entries saves and how many bytes it counts; nothing for one that is gone."""

    def delete(self, ids: Iterable[int]) -> int:
        """Removes entries; returns how many were there."""

    def clear(self, owner: bytes | None) -> int:
        """Removes all entries, or those of one owner; returns how many."""

    def forbid(self, pair: bytes) -> None:
        """Notes two texts that must never answer each other."""

    def prolong(self, entry_id: int, expires_at: float) -> None:
        """Moves the expiry of an entry."""

    def select(
        self, *, tag: str | None = None, owner: bytes | None = None, key: bytes | None = None
    ) -> list[tuple[int, str]]:
        """`(id, prompt)` of the entries that fit all that is given."""

    def sweep(self, now: float, limit: int) -> int:
        """Removes up to `limit` expired entries; returns how many this call removed.

        It gives room back, and that is all it is for: what has expired is served by nobody, swept or not.
        Each entry is counted by one call alone, whoever else sweeps. A store of several processes may remove
        nothing while another of them is at the upkeep; call again later, not at once.
        """

    def moved_past(self, cursor: int) -> bool:
        """Whether `changes(cursor)` may have something to say; cheap."""

    def snapshot(self) -> tuple[int, Iterator[list[Change]]]:
        """A cursor, and in chunks the PUT and FORBID lines that make the present state; oldest first.

        The chunks may hold changes after the cursor as well: a change that is applied twice does no harm.
        """

    def packed(self) -> tuple[int, list[bytes], Iterator[Packed]]:
        """The same in columns: a cursor, the pairs of the FORBID lines, and the entries.

        An entry may come that is gone already, or twice; the changes after the cursor tell.
        """

    def changes(self, cursor: int, limit: int) -> tuple[list[Change], int]:
        """Up to `limit` changes after `cursor`, and the cursor behind them.

        A put whose entry is gone meanwhile may be left out.

        Raises:
            CursorLostError: the log begins after `cursor`; take a snapshot.
        """

    def flush(self) -> None:
        """Returns when every put that returned will survive what the store promises to survive."""

    def compact(self) -> None:
        """Gives room back that nothing needs any more, and makes the next snapshot fast.

        One process at a time does this; right and complete state never depends on it.

        Raises:
            StoreError: another process is at it.
        """

    def close(self) -> None:
        """Lets go of files and connections; the store may not be used after."""

    def stats(self) -> StoreStats:
        """The size now."""


def servable(entry: Entry, now: float) -> bool:
    """Whether `entry` may be served: not expired, nor from a future that a clock was set back from."""
    latest, expires_at = now + _CLOCK_SKEW_SECONDS, entry.expires_at
    if entry.created_at > latest:
        return False
    if expires_at is None:
        return True
    # A sliding entry that was used in such a future would live until then.
    used_in_future = entry.ttl_seconds is not None and expires_at - entry.ttl_seconds > latest
    return now < expires_at and not used_in_future


def prolonged(entry: Entry, expires_at: float) -> Entry:
    """`entry` with its expiry moved."""
    return replace(entry, expires_at=expires_at)


def pack(rows: Iterable[tuple[int, bytes, bytes]]) -> list[Packed]:
    """`(id, scope, code)` of entries in columns, those without a code apart."""
    with_code: list[tuple[int, bytes, bytes]] = []
    without: list[tuple[int, bytes, bytes]] = []
    for row in rows:
        (with_code if row[2] else without).append(row)
    return [
        Packed(
            struct.pack(f"<{len(some)}q", *(row[0] for row in some)),
            b"".join([row[1] for row in some]),
            b"".join([row[2] for row in some]),
        )
        for some in (with_code, without)
        if some
    ]
