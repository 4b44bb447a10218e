"""The response of each row: those of a loaded file, decoded when asked for, under those put since."""

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["ResponseColumn"]

_IN_BASE = object()


class ResponseColumn:
    """Responses by row.

    `base`, the responses of a loaded file, is adopted in O(1) and never copied; what is put later lies over
    it. A response that is replaced or dropped is handed back, so that the caller decides when it dies: its
    finaliser may be anybody's code and must not run in the middle of a change.
    """

    __slots__ = ("_base", "_over", "_own")

    def __init__(self, base: Sequence[object] = ()) -> None:
        self._base = base
        self._over: dict[int, object] = {}
        self._own: list[object] = []

    def __getitem__(self, row: int) -> object:
        """The response of `row`; one from the base is decoded anew at each call."""
        n_base = len(self._base)
        if row >= n_base:
            return self._own[row - n_base]
        response = self._over.get(row, _IN_BASE)
        return self._base[row] if response is _IN_BASE else response

    def replace(self, row: int, response: object) -> object:
        """Sets the response of `row`, one past the last at most; returns the one before if it was put."""
        n_base = len(self._base)
        if row < n_base:
            before = self._over.get(row)
            self._over[row] = response
            if len(self._over) == n_base:
                self._leave_base()
            return before
        if row - n_base == len(self._own):
            self._own.append(response)
            return None
        before = self._own[row - n_base]
        self._own[row - n_base] = response
        return before

    def drop(self, row: int) -> object:
        """Forgets the response of `row`; returns it, `None` if it lies in the base."""
        return self.replace(row, None)

    def select(self, rows: NDArray[np.int32]) -> Sequence[object]:
        """The responses of `rows` as they are now; those in the base are decoded at each access."""
        n_base, over, own = len(self._base), self._over, self._own
        if not n_base:
            return [own[row] for row in rows.tolist()]
        picked = [own[row - n_base] if row >= n_base else over.get(row, _IN_BASE) for row in rows.tolist()]
        return _Selection(self._base, rows, picked)

    def fit(self, n: int, dead: NDArray[np.int32]) -> None:
        """Makes place for rows below `n` and forgets those of `dead`, after a change that was broken off."""
        self._own.extend([None] * (n - len(self._base) - len(self._own)))
        for row in dead.tolist():
            self.drop(row)

    def _leave_base(self) -> None:
        """Lets go of a base of which nothing is left in use, and with it of the mapped file."""
        own = [self._over[row] for row in range(len(self._base))] + self._own
        # All at once: an exception must not leave a response under another row.
        self._own, self._base, self._over = own, (), {}


class _Selection(Sequence[object]):
    """Responses picked from a column, those of the base decoded at each access."""

    __slots__ = ("_base", "_picked", "_rows")

    def __init__(self, base: Sequence[object], rows: NDArray[np.int32], picked: list[object]) -> None:
        self._base = base
        self._rows = rows
        self._picked = picked

    def __len__(self) -> int:
        return len(self._picked)

    @overload
    def __getitem__(self, index: int) -> object: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[object]: ...
    def __getitem__(self, index: int | slice) -> object:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        response = self._picked[index]
        return self._base[int(self._rows[index])] if response is _IN_BASE else response
