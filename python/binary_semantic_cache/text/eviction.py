"""Which entry leaves a full cache: a table of policies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.stores import Saving

__all__ = ["EVICTIONS", "SAMPLE", "Eviction", "Resident", "eviction_named"]

SAMPLE = 32
"""The least recently used entries, of which one leaves. A policy over all entries would need a heap a policy;
Redis
samples in the same way. Source: Redis documentation, "Key eviction", on approximated LRU and LFU."""


@dataclass(frozen=True, slots=True)
class Resident:
    """An entry that may have to leave."""

    entry_id: int
    rank: int
    """0 for the least recently used."""
    uses: int
    """Hits since this process knows the entry."""
    saving: Saving
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Eviction:
    """A row of the table."""

    worth: Callable[[Resident], float]
    """The entry of the least worth leaves; the least recently used among equals."""
    weighs: bool
    """Whether `worth` looks at saving and bytes, which the store must be asked for."""

    def choose(self, residents: Sequence[Resident], n: int = 1) -> list[int]:
        """The ids of the `n` entries that leave."""
        ordered = sorted(residents, key=lambda resident: (self.worth(resident), resident.rank))
        return [resident.entry_id for resident in ordered[:n]]


def _money_a_byte(resident: Resident) -> float:
    # Seconds stand in where no price is known, on a scale that no price is as small as.
    saving = resident.saving
    once = saving.cost or 1e-9 * saving.seconds
    return once * (1 + resident.uses) / max(1, resident.n_bytes)


EVICTIONS: Mapping[str, Eviction] = {
    "lru": Eviction(lambda resident: 0.0, weighs=False),
    "lfu": Eviction(lambda resident: float(resident.uses), weighs=False),
    "cost": Eviction(_money_a_byte, weighs=True),
}


def eviction_named(name: str) -> Eviction:
    """The row of the table called `name`."""
    eviction = EVICTIONS.get(name)
    if eviction is None:
        raise InvalidValueError(f"expected eviction as one of {', '.join(EVICTIONS)}, got {name!r}")
    return eviction
