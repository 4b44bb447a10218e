"""Judged answers of a running cache: JSON lines of `similarity`, `right` and, where wanted, `class`."""

import math
from collections.abc import Mapping
from pathlib import Path

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.proof.calibration import Judged
from binary_semantic_cache.proof.pairs import UNNAMED, json_lines

__all__ = ["is_traffic", "read_traffic"]


def is_traffic(path: Path) -> bool:
    """Whether the first object of a file of JSON lines is a judged answer, not a pair; raises as reading."""
    return any("similarity" in row and "right" in row for _, row in _first(path))


def read_traffic(path: Path) -> Mapping[str, list[Judged]]:
    """The judged answers by class, in the order in which classes come first.

    Raises:
        InvalidTypeError, InvalidValueError: a line is no judged answer; the message starts with `path:line`.
        MissingFileError, CorruptFileError, StoreError: see `pairs.read_pairs`.
    """
    found: dict[str, list[Judged]] = {}
    for line, row in json_lines(path):
        where = f"{path}:{line}"
        similarity, right = row.get("similarity"), row.get("right")
        if isinstance(similarity, bool) or not isinstance(similarity, int | float):
            raise InvalidTypeError(f"{where}: similarity: expected a number, got {type(similarity).__name__}")
        # A cosine of float32 may lie a little beyond.
        if not math.isfinite(similarity) or abs(similarity) > 1.001:
            raise InvalidValueError(f"{where}: similarity: expected a cosine, got {similarity}")
        if right not in (True, False):
            raise InvalidValueError(f"{where}: right: expected true or false, got {str(right)[:20]!r}")
        named = row.get("class")
        found.setdefault(UNNAMED if named is None else str(named), []).append(
            Judged(float(similarity), bool(right))
        )
    return found


def _first(path: Path) -> list[tuple[int, dict[str, object]]]:
    if Path(path.stem if path.suffix == ".gz" else path.name).suffix in (".csv", ".tsv"):
        return []
    for found in json_lines(path):
        return [found]
    return []
