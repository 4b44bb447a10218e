"""The curves as PNG files: share served against traps served wrong, precision against hit rate."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benches.quality.contenders import PUBLISHED
from benches.quality.shares import THRESHOLDS
from binary_semantic_cache.proof.shares import Point, Share

__all__ = ["draw_precision", "draw_served", "file_name"]

_COLOURS = {"codes": "#b0b0b0", "cosine": "#d9822b", "cosine + guards": "#2b7bba", "as shipped": "#17406d"}
_STYLES = {"codes": ":", "cosine": "--", "cosine + guards": "-.", "as shipped": "-"}
_PALETTE = 64
"""Colours kept in a file: a quarter of the size, and nothing that the eye would miss."""

Curves = Mapping[str, Sequence[Point]]
"""For each decision a point for each of `THRESHOLDS`."""


def file_name(set_name: str, what: str = "served") -> str:
    """The name of a figure's file."""
    return f"quality-{set_name.lower().replace(' ', '-')}-{what}.png"


def draw_served(
    path: Path, set_name: str, curves: Curves, shipped: Mapping[str, float], others: Mapping[str, Point]
) -> None:
    """Should-hit pairs served against traps served wrong; against the threshold where all pairs are traps."""
    first = next(iter(curves.values()))[0]
    traps_only = first.served.n == 0
    axes = _axes(f"{set_name}: {first.served.n} should hit, {first.traps.n} are traps")
    for name, points in curves.items():
        if traps_only:
            _line(axes, name, list(THRESHOLDS), [point.traps for point in points], shipped[name])
        else:
            _line(axes, name, [100 * point.traps.value for point in points], _served(points), shipped[name])
    marks = iter("sDx+*1234")
    for name, point in {} if traps_only else others.items():
        axes.plot(
            100 * point.traps.value, 100 * point.served.value, next(marks), color="#7a1f3d", ms=6, label=name
        )
    for published in PUBLISHED:
        if published.set_name == set_name and published.served is not None:
            at = 100 * published.traps, 100 * published.served
            axes.plot(*at, next(marks), color="#7a1f3d", ms=7, label=f"{published.contender}, as published")
    if traps_only:
        axes.set(xlabel="least cosine", ylabel="traps served wrong, %")
    else:
        axes.set(xlabel="traps served wrong, %", ylabel="should-hit pairs served, %", xlim=(-2, 102))
    _save(axes, path)


def draw_precision(path: Path, set_name: str, curves: Curves, shipped: Mapping[str, float]) -> None:
    """The share of answers that are right against the share of pairs that are answered."""
    axes = _axes(f"{set_name}: precision against hit rate")
    for name, points in curves.items():
        rates = [100 * point.hit_rate.value for point in points]
        _line(axes, name, rates, [point.precision for point in points], shipped[name])
    axes.set(xlabel="pairs answered, %", ylabel="answers that are right, %", ylim=(40, 102))
    _save(axes, path)


def _served(points: Sequence[Point]) -> list[Share]:
    return [point.served for point in points]


def _line(axes: Axes, name: str, x: list[float], y: Sequence[Share], threshold: float) -> None:
    """One decision: its line, the interval of its y, and a dot at the threshold that is shipped."""
    colour = _COLOURS[name]
    low, high = ([100 * share.interval[end] for share in y] for end in (0, 1))
    axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    values = [100 * share.value for share in y]
    axes.plot(x, values, _STYLES[name], color=colour, label=name, linewidth=1.8)
    at = min(range(len(THRESHOLDS)), key=lambda i: abs(THRESHOLDS[i] - threshold))
    axes.plot(x[at], values[at], "o", color=colour, ms=6)


def _axes(title: str) -> Axes:
    mpl.use("Agg")
    figure = Figure(figsize=(7.0, 4.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _save(axes: Axes, path: Path) -> None:
    axes.set_ylim(bottom=min(-2.0, axes.get_ylim()[0]) if axes.get_ylim()[0] < 30 else None, top=102)
    axes.legend(fontsize=7, frameon=False, loc="best", title="dot: shipped threshold", title_fontsize=7)
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    raw = BytesIO()
    figure.savefig(raw, format="png", metadata={"Software": None})
    raw.seek(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(raw) as image:
        image.convert("RGB").quantize(_PALETTE).save(path, optimize=True)
