"""The entries of all simulated caches together, each text once: one search serves every cache.

An entry is in the pool as long as one of the caches holds it; which ones do is a number with a bit for each.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity, RustBinaryEncoder, cosines
from binary_semantic_cache.proof.replay_cells import Cell
from binary_semantic_cache.proof.replay_spool import VectorRows
from binary_semantic_cache.text.coding import CodedText
from binary_semantic_cache.text.decision import CANDIDATES
from binary_semantic_cache.text.vectors import VectorFormat, pack
from binary_semantic_cache.vector.index import Index

__all__ = ["Near", "Pool"]

# Stands for the place in the index of an entry that only exact matches may have. It has none, so that a log
# of one scope is searched in order, which is several times faster than by a list of places.
_UNSEARCHED = -1
_MOST_ROWS = 2**31 - 2**20
_LITTLE = np.dtype("<u8")
_FORMAT: VectorFormat = "int8"


class Near(NamedTuple):
    """Candidates of one request in the order of a search: by distance, then by row."""

    rows: list[int]
    distances: list[int]
    holders: list[int]
    """Who holds each."""
    similarities: list[float]


_NOBODY = Near([], [], [], [])


class Pool:
    """Codes, vectors and holders of entries.

    Args:
        cells: the caches.
        encoder: made the codes.
        folder: for what lies on the disk.
    """

    def __init__(self, cells: Sequence[Cell], encoder: RustBinaryEncoder, folder: Path) -> None:
        self._cells = cells
        self._bits = encoder.code_bits
        self._index = Index(HammingSimilarity(encoder.code_bits), _MOST_ROWS, unique=False, scoped=True)
        self._vectors = VectorRows(folder, len(pack(np.ones(encoder.embedding_dim, np.float32), _FORMAT)))
        self._radius = max(cell.radius for cell in cells)
        self._rows: dict[bytes, int] = {}
        self._keys: list[bytes] = []
        self.holders = array("Q")
        """By row: the bits of the caches that hold it."""
        self._scopes: dict[bytes, int] = {}
        self._digests: dict[int, bytes] = {}
        self._free_numbers: list[int] = []
        # By scope: how many searchable entries each cache holds in it.
        self._populations: dict[int, array[int]] = {}
        self._n_of: dict[int, int] = {}
        # A row of the pool has a place in the index, and one in the index a row.
        self._places = array("q")
        self._row_at = array("q")
        self._numbers = array("q")
        self._free_rows: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def row_of(self, key: bytes) -> int:
        """The row of a text, -1 if no cache holds it."""
        return self._rows.get(key, -1)

    def population(self, scope: bytes, cell: Cell) -> int:
        """How many entries of `scope` a cache holds that meaning may match."""
        number = self._scopes.get(scope)
        return 0 if number is None else self._populations[number][cell.number]

    def near(self, scope: bytes, coded: CodedText, wanted: int) -> Near:
        """The entries inside the largest radius that a cache of `wanted` may look at.

        As many as it takes for each of them to find the first `CANDIDATES` of its own.
        """
        number = self._scopes.get(scope)
        if number is None:
            return _NOBODY
        query = np.frombuffer(coded.code, _LITTLE).astype(np.uint64, copy=False)
        # A scan in order is several times faster than one over a list of rows.
        alone = self._n_of.get(number) == len(self._index)
        limit = 4 * CANDIDATES
        while True:
            # A search lets the lock go and takes it again.
            with self._index.lock:
                places, distances = self._index.within(
                    query, 1.0 - self._radius / self._bits, limit, None if alone else number
                )
            listed = [self._row_at[place] for place in places.tolist()]
            holders = [self.holders[row] for row in listed]
            far: list[int] = distances.tolist()
            if len(listed) < limit or not self._lacks(holders, far, wanted):
                break
            limit *= 4
        packed = [self._vectors[row] for row in listed]
        found = [score if score is not None else -1.0 for score in cosines(coded.embedding, packed)]
        return Near(listed, far, holders, found)

    def _lacks(self, holders: list[int], distances: list[int], wanted: int) -> bool:
        """Whether a cache may find further candidates beyond the last one."""
        held = np.array(holders, np.uint64)
        return any(
            cell.radius >= distances[-1] and np.count_nonzero(held & np.uint64(cell.bit)) < CANDIDATES
            for cell in self._cells
            if cell.bit & wanted
        )

    def vector(self, row: int) -> bytes:
        """The vector of a row that meaning may match, packed as a cache keeps it."""
        return self._vectors[row]

    def add(self, key: bytes, scope: bytes, coded: CodedText | None) -> int:
        """Takes a text in that no cache holds yet; `hold` must follow. Without `coded` it is not searched."""
        row = self._free_rows.pop() if self._free_rows else len(self._keys)
        if row == len(self._keys):
            self.holders.append(0)
            self._keys.append(b"")
            self._places.append(_UNSEARCHED)
            self._numbers.append(0)
        self._keys[row] = key
        self._rows[key] = row
        self._places[row] = _UNSEARCHED
        self._numbers[row] = 0
        if coded is not None:
            self._enter(row, self._number_of(scope), coded)
        return row

    def _enter(self, row: int, number: int, coded: CodedText) -> None:
        """Lets a row be found by searches in its scope."""
        index = self._index
        index.prepare()
        place, _ = index.add(np.frombuffer(coded.code, _LITTLE), 0.0, number)
        index.publish(place)
        if place == len(self._row_at):
            self._row_at.append(row)
        else:
            self._row_at[place] = row
        self._places[row], self._numbers[row] = place, number
        self._n_of[number] = self._n_of.get(number, 0) + 1
        self._vectors[row] = pack(coded.embedding, _FORMAT)

    def hold(self, row: int, cells: Sequence[Cell]) -> None:
        """Notes that these caches hold a row from now on."""
        population = self._populations.get(self._numbers[row])
        for cell in cells:
            self.holders[row] |= cell.bit
            if population is not None:
                population[cell.number] += 1

    def release(self, row: int, cell: Cell) -> None:
        """Notes that a cache holds a row no more; the last one takes it out of the pool."""
        self.holders[row] &= ~cell.bit
        number = self._numbers[row]
        population = self._populations.get(number)
        if population is not None:
            population[cell.number] -= 1
        if self.holders[row]:
            return
        del self._rows[self._keys[row]]
        self._keys[row] = b""
        self._free_rows.append(row)
        if population is None:
            return
        self._index.remove(self._places[row])
        self._n_of[number] -= 1
        if not any(population):
            del self._populations[number], self._n_of[number]
            del self._scopes[self._digests.pop(number)]
            self._free_numbers.append(number)

    def close(self) -> None:
        """Lets the files go."""
        self._vectors.close()

    def _number_of(self, scope: bytes) -> int:
        number = self._scopes.get(scope)
        if number is None:
            number = self._free_numbers.pop() if self._free_numbers else len(self._scopes) + 1
            self._scopes[scope] = number
            self._digests[number] = scope
            self._populations[number] = array("I", [0] * len(self._cells))
        return number
