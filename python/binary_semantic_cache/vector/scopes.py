"""The rows of each scope, as arrays that a search runs over."""

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.vector.memory import room

__all__ = ["ScopeRows"]

_NO_ROWS = np.empty(0, np.int32)


class _RowList:
    """A growing list of rows; `viewed` once a search has been given its array."""

    __slots__ = ("rows", "size", "viewed")

    def __init__(self) -> None:
        self.rows = np.empty(4, np.int32)
        self.size = 0
        self.viewed = False


class ScopeRows:
    """Which rows belong to which scope; adding and removing a row is O(1).

    Eight bytes a row for its scope and its place in the scope's list, and the lists. Element changes never
    reach an array that a running search may read. In a list, appending lies past its end, and removing copies
    first. The scope of a row is written when the row is handed out, which is when no search reads it; it
    stays as it is when the row is freed, so a search over `of_rows` needs to be told which rows are dead.
    """

    __slots__ = ("_lists", "_place", "_scope")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets all rows and scopes."""
        self._lists: dict[int, _RowList] = {}
        self._scope = np.empty(0, np.int32).data
        self._place = np.empty(0, np.int32).data

    @property
    def nbytes(self) -> int:
        """Bytes of the lists."""
        return sum(listed.rows.nbytes for listed in self._lists.values())

    def reserve(self, capacity: int) -> None:
        """Makes place for rows below `capacity`."""
        if capacity > len(self._scope):
            scope, place = room(capacity, np.int32), room(capacity, np.int32)
            scope[: len(self._scope)], place[: len(self._place)] = self._scope, self._place
            self._scope, self._place = scope.data, place.data

    def renew(self) -> None:
        """Moves the rows' scopes to an array that no search reads; comes with every move of the codes."""
        self._scope = np.asarray(self._scope).copy().data

    def restore(self, rows: NDArray[np.int32], scopes: NDArray[np.int32], capacity: int) -> None:
        """Holds exactly `rows`, each under its scope of `scopes`, with place for rows below `capacity`.

        Vectorised, but for a step a scope.
        """
        self.clear()
        self.reserve(capacity)
        order = np.argsort(scopes, kind="stable")
        ordered = rows[order]
        numbers, starts = np.unique(scopes[order], return_index=True)
        ends = np.append(starts[1:], rows.size)[: starts.size]
        np.asarray(self._scope)[rows] = scopes
        np.asarray(self._place)[ordered] = np.arange(rows.size) - np.repeat(starts, ends - starts)
        for number, start, end in zip(numbers.tolist(), starts.tolist(), ends.tolist(), strict=True):
            listed = self._lists[number] = _RowList()
            listed.rows, listed.size = ordered[start:end].copy(), end - start

    def scope_of(self, row: int) -> int:
        """The scope of `row`."""
        return self._scope[row]

    def scopes_of(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """The scope of each of `rows`."""
        scopes: NDArray[np.int32] = np.asarray(self._scope)[rows]
        return scopes

    def size(self, scope: int) -> int:
        """How many rows belong to `scope`."""
        listed = self._lists.get(scope)
        return 0 if listed is None else listed.size

    def of_rows(self, n: int) -> NDArray[np.int32]:
        """The scopes of rows 0 to `n - 1` for a search that starts now; those of dead rows mean nothing."""
        return np.asarray(self._scope)[:n]

    def view(self, scope: int) -> NDArray[np.int32]:
        """The rows of `scope`, in no particular order, for a search that starts now."""
        listed = self._lists.get(scope)
        if listed is None:
            return _NO_ROWS
        listed.viewed = True
        return listed.rows[: listed.size]

    def add(self, scope: int, row: int) -> None:
        """Enters `row` under `scope`."""
        listed = self._lists.get(scope)
        if listed is None:
            listed = self._lists[scope] = _RowList()
        size = listed.size
        if size == listed.rows.size:
            grown = np.empty(max(4, size + size // 2), np.int32)
            grown[:size] = listed.rows
            listed.rows, listed.viewed = grown, False
        listed.rows[size] = row
        listed.size = size + 1
        self._scope[row], self._place[row] = scope, size

    def remove(self, row: int, *, searching: bool) -> None:
        """Takes `row` out: the last row of the list takes its place."""
        scope, place = self._scope[row], self._place[row]
        listed = self._lists[scope]
        listed.size -= 1
        if listed.size == 0:
            del self._lists[scope]
            return
        if searching and listed.viewed:
            listed.rows, listed.viewed = listed.rows.copy(), False
        last = int(listed.rows[listed.size])
        listed.rows[place] = last
        self._place[last] = place
