"""`python -m benches.figures RAW.json [...]`: draws what raw results say into docs/figures."""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["draw"]

_FOLDER = Path(__file__).parents[1] / "docs" / "figures"
_SEARCH = "find_nearest, miss, 0.80"
_HIGHER = "find_nearest, miss, 0.85"
_SUBSTRINGS = {
    "ours, multi-index": "MultiIndex, miss, threshold 0.85",
    "ours, multi-index, a near code": "MultiIndex, near, threshold 0.85",
}
_GETS = {"hit": "whole get, hit", "miss": "whole get, miss"}
_MEMORY = "resident, an entry"
_VERBS = {"hit": "hits", "miss": "misses"}
_US = {"us": 1.0, "ms": 1e3}
_READING = "reading all codes once"
_LEAST_SIZES = 2
_PALETTE = 64

Series = dict[str, dict[int, float]]
"""By name, a value for each number of entries."""


def draw(results: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Latency against entries with the read limit, and memory against entries; what the results have of them.

    Args:
        results: `results` of raw files.
        folder: where the PNG files go.

    Returns:
        The files written.
    """
    drawn = []
    higher = dict(_series(results, _HIGHER))
    for name, what in _SUBSTRINGS.items():
        higher[name] = _series(results, what).get("ours", {})
    for threshold, latency in (("0.80", _series(results, _SEARCH)), ("0.85", higher)):
        if any(len(points) >= _LEAST_SIZES for points in latency.values()):
            title = f"the nearest of n codes of 256 bits, a miss at similarity {threshold}, one thread"
            axes = _axes(title, latency)
            axes.set(xlabel="codes", ylabel="time of one search, us")
            drawn.append(_save(axes, folder / f"speed-search-{threshold}.png"))
    for kind, what in _GETS.items():
        gets = _series(results, what)
        if any(len(points) >= _LEAST_SIZES for points in gets.values()):
            axes = _axes(f"a whole get that {_VERBS[kind]}, the embedding known, one thread", gets)
            axes.set(xlabel="entries", ylabel="time of one get, us")
            drawn.append(_save(axes, folder / f"speed-get-{kind}.png"))
    memory = _series(results, _MEMORY)
    if any(len(points) >= _LEAST_SIZES for points in memory.values()):
        axes = _axes("resident memory of a full cache, all responses one object", memory)
        axes.set(xlabel="entries", ylabel="MB")
        drawn.append(_save(axes, folder / "speed-memory.png"))
    return drawn


def _series(results: Sequence[Mapping[str, Any]], what: str) -> Series:
    """Times in microseconds, or memory in megabytes of all entries together."""
    series: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for row in results:
        if not row["what"].startswith(what):
            continue
        scale = row["n"] / 1e6 if row["unit"] == "B" else _US[row["unit"]]
        if row["ours"] is not None:
            series["ours"][row["n"]] = row["ours"] * scale
        if row["theirs"] is not None:
            name = _READING if row["contender"].startswith("read ") else row["contender"]
            series[name][row["n"]] = row["theirs"] * scale
    return dict(series)


def _axes(title: str, series: Series) -> Axes:
    mpl.use("Agg")
    figure = Figure(figsize=(9.0, 4.6), dpi=100, layout="constrained")
    axes: Axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    for name, points in series.items():
        entries = sorted(points)
        style: dict[str, Any] = {"marker": "o", "ms": 3.5, "linewidth": 1.4}
        if name == "ours":
            style |= {"color": "#17406d", "linewidth": 2.4, "zorder": 5}
        elif name == _READING:
            style |= {"color": "#888888", "linestyle": "--", "marker": None}
        axes.plot(entries, [points[n] for n in entries], label=name, **style)
    axes.set(xscale="log", yscale="log")
    axes.grid(visible=True, which="major", color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    # Beside the lines: with many contenders they leave no corner free.
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return axes


def _save(axes: Axes, path: Path) -> Path:
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(_PALETTE)
    small.save(path, optimize=True)
    return path


def main(arguments: Sequence[str]) -> int:
    """Draws, and says what it wrote."""
    parser = argparse.ArgumentParser(
        prog="python -m benches.figures",
        description="Draws latency and memory against the number of entries from raw results of benchmarks.",
        epilog="example: python -m benches.figures benches/results/2026-11-25-*-search-memory.json",
    )
    parser.add_argument("raw", nargs="+", type=Path, help="files that `python -m benches` wrote")
    parser.add_argument("--out", type=Path, default=_FOLDER, metavar="FOLDER", help="default: docs/figures")
    given = parser.parse_args(arguments)
    results = [row for path in given.raw for row in json.loads(path.read_text())["results"]]
    drawn = draw(results, given.out)
    print("\n".join(map(str, drawn)) or "nothing to draw: no search or memory at two sizes or more")
    return 0 if drawn else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
