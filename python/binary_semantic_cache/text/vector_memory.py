"""Re-scoring vectors that were fetched from the store, kept in memory for the next lookup."""

from collections import OrderedDict

__all__ = ["VectorMemory"]

# A bytes object and its place in the dictionary, beside its content: measured on CPython 3.11.
_OVERHEAD_BYTES = 160


class VectorMemory:
    """Packed vectors by entry id, up to a number of bytes; what came first leaves first.

    Candidates come back: entries that lie near many questions are fetched once. First in, first out, as an
    order of use would cost more at each of up to 64 candidates than it saves.

    Args:
        max_bytes: 0 to keep none.
    """

    __slots__ = ("_max_bytes", "_n_bytes", "_vectors")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._vectors: OrderedDict[int, bytes] = OrderedDict()
        self._n_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._n_bytes

    def get(self, entry_id: int) -> bytes | None:
        """The vector of an entry, if it is here."""
        return self._vectors.get(entry_id)

    def keep(self, entry_id: int, vector: bytes) -> None:
        """Takes a vector in, and lets others go for it."""
        size = len(vector) + _OVERHEAD_BYTES
        if size > self._max_bytes or entry_id in self._vectors:
            return
        self._vectors[entry_id] = vector
        self._n_bytes += size
        while self._n_bytes > self._max_bytes:
            _, oldest = self._vectors.popitem(last=False)
            self._n_bytes -= len(oldest) + _OVERHEAD_BYTES

    def forget(self, entry_id: int) -> None:
        """Lets a vector go, if it is here."""
        vector = self._vectors.pop(entry_id, None)
        if vector is not None:
            self._n_bytes -= len(vector) + _OVERHEAD_BYTES

    def clear(self) -> None:
        """Lets all go."""
        self._vectors.clear()
        self._n_bytes = 0
