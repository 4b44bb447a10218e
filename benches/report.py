"""One table for people, one raw file for everything else."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from benches.harness import Row

__all__ = ["stem", "table", "write"]

_HEAD = ("what", "n", "ours", "contender", "its", "ratio", "figure to reach", "reached?")
_RIGHT = {1, 2, 4, 5}


def table(rows: Sequence[Row]) -> str:
    """Markdown that reads as plain text, too. The ratio is the contender's median over ours."""
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD))]
    rule = ["-" * (width - 1) + (":" if i in _RIGHT else "-") for i, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(_padded(line, widths)) + " |" for line in (_HEAD, rule, *lines[1:]))


def write(rows: Sequence[Row], machine: Mapping[str, Any], folder: Path, label: str = "") -> Path:
    """Writes the raw file and the table beside it; returns the path of the former.

    Args:
        rows: what was measured.
        machine: where.
        folder: made if it is not there.
        label: sets a part of the benchmarks apart from the whole.
    """
    path = folder / f"{stem(machine, label)}.json"
    today = date.today().isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    results = [_plain(row) for row in rows]
    path.write_text(json.dumps({"date": today, "machine": machine, "results": results}, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(rows) + "\n")
    return path


def stem(machine: Mapping[str, Any], label: str = "") -> str:
    """The name of today's result files on this machine, without an ending."""
    cpu = re.sub(r"[^a-z0-9]+", "-", machine["cpu"].lower()).strip("-")
    return "-".join(filter(None, (date.today().isoformat(), cpu, label)))


def _plain(row: Row) -> dict[str, Any]:
    plain = asdict(row) | {"ratio": row.ratio, "reached": row.reached}
    plain["figure"] = row.figure and row.figure.text
    plain["rounds"] = {
        name: {"min": min(times), "max": max(times), "all": [float(f"{time:.5g}") for time in times]}
        for name, times in row.rounds.items()
    }
    return plain


def _cells(row: Row) -> tuple[str, ...]:
    reached = {None: "", True: "yes", False: "NO"}[row.reached]
    if row.note:
        return (row.what, f"{row.n:,}", _value(row.ours, row.unit), row.contender, "", "", row.note, "")
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
    figure = row.figure.text if row.figure else ""
    ours, theirs = _value(row.ours, row.unit), _value(row.theirs, row.unit)
    return (row.what, f"{row.n:,}", ours, row.contender, theirs, ratio, figure, reached)


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 1000 else 0
    return f"{value:,.{digits}f} {unit}"


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    pairs = enumerate(zip(line, widths, strict=True))
    return [cell.rjust(width) if i in _RIGHT else cell.ljust(width) for i, (cell, width) in pairs]
