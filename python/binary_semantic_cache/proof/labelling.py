"""Labelling without a screen: what comes next, what was said, and the file that keeps it.

The file grows by a line a label, which is with the operating system before the next pair is shown; it is the
only state, so labelling goes on where it stopped. Undoing cuts the last line off again. Pairs that were
skipped come again the next time.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from binary_semantic_cache.errors import InvalidTypeError, StoreError
from binary_semantic_cache.proof.candidates import Candidate
from binary_semantic_cache.proof.pairs import json_lines

__all__ = ["Labelling"]


class Labelling:
    """One sitting. Use it in a `with` block.

    Args:
        candidates: what may be labelled, in this order.
        out: the file of labels; made, readable by its owner alone, if it is not there.
        now: seconds of a clock that only goes forward.

    Raises:
        InvalidValueError, InvalidTypeError: a line of `out` is none of ours; the message starts with
            `path:line`.
        StoreError: it could not be read or opened.
    """

    def __init__(self, candidates: Sequence[Candidate], out: Path, now: Callable[[], float]) -> None:
        self._now = now
        known: dict[str, bool] = {}
        if out.exists():
            for line, row in json_lines(out):
                if not isinstance(row.get("id"), str) or row.get("same") not in (0, 1):
                    raise InvalidTypeError(
                        f"{out}:{line}: expected a label, with id and same; choose another file for labels"
                    )
                known[row["id"]] = row["same"] == 1
        self.resumed = sum(candidate.id in known for candidate in candidates)
        """How many of the pairs had a label before."""
        self.total = len(candidates)
        self._labels = {one.id: known[one.id] for one in candidates if one.id in known}
        self._waiting = [candidate for candidate in candidates if candidate.id not in known]
        self._waiting.reverse()
        self._done: list[tuple[Candidate, int | None]] = []
        """Pairs of this sitting, each with the place in the file before its label; `None` if skipped."""
        self._began = now()
        try:
            self._file = os.open(out, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            if os.lseek(self._file, 0, os.SEEK_END):
                os.lseek(self._file, -1, os.SEEK_END)
            if os.read(self._file, 1) not in (b"", b"\n"):
                os.write(self._file, b"\n")
        except OSError as exc:
            raise StoreError(f"{out}: {exc.strerror or exc}") from exc

    def __enter__(self) -> "Labelling":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    @property
    def current(self) -> Candidate | None:
        """The pair to judge; `None` when all are done."""
        return self._waiting[-1] if self._waiting else None

    @property
    def labelled(self) -> int:
        """How many of the pairs have a label."""
        return len(self._labels)

    @property
    def same(self) -> int:
        """How many of those were called the same."""
        return sum(self._labels.values())

    @property
    def skipped(self) -> int:
        """How many were skipped in this sitting."""
        return sum(place is None for _, place in self._done)

    @property
    def seconds_each(self) -> float | None:
        """The mean time of a pair in this sitting; `None` before the first."""
        return (self._now() - self._began) / len(self._done) if self._done else None

    def label(self, *, same: bool) -> None:
        """Writes the label of the current pair, and goes on to the next. Raises `StoreError`."""
        candidate = self._waiting[-1]
        row: dict[str, object] = {
            "id": candidate.id,
            "a": candidate.a,
            "b": candidate.b,
            "same": int(same),
            "category": candidate.category,
            "source": "bsc label",
        }
        if candidate.similarity is not None:
            row["similarity"] = candidate.similarity
        try:
            place = os.lseek(self._file, 0, os.SEEK_END)
            line = memoryview(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as exc:
            raise StoreError(f"the label could not be written: {exc.strerror or exc}") from exc
        self._labels[candidate.id] = same
        self._done.append((self._waiting.pop(), place))

    def skip(self) -> None:
        """Goes on to the next pair without a label."""
        self._done.append((self._waiting.pop(), None))

    def undo(self) -> bool:
        """Comes back to the pair before and takes its label away; false if there is none in this sitting."""
        if not self._done:
            return False
        candidate, place = self._done.pop()
        if place is not None:
            os.ftruncate(self._file, place)
            del self._labels[candidate.id]
        self._waiting.append(candidate)
        return True
