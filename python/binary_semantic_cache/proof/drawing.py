"""Two curves as SVG that follows the reader's light or dark scheme, drawn without a library."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Line", "chart"]

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 14, 42


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; all numbers are percent."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    """Lower ends of the intervals of `y`."""
    high: Sequence[float]
    marked: int | None
    """The point that gets a dot."""
    notes: Sequence[str]
    """What each point says when it is pointed at."""


def chart(line: Line, x_label: str, y_label: str) -> str:
    """An `svg` element with axes from 0 to 100.

    Labels and notes must hold no markup: they are written as they are.
    """
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{y_label} against {x_label}">',
        *_axes(x_label, y_label),
    ]
    if line.x:
        band = [*zip(line.x, line.high, strict=True), *reversed(list(zip(line.x, line.low, strict=True)))]
        parts.append(f'<polygon class="band" points="{_points(band)}"/>')
        parts.append(f'<polyline class="line" points="{_points(zip(line.x, line.y, strict=True))}"/>')
    for at, (x, y, note) in enumerate(zip(line.x, line.y, line.notes, strict=True)):
        kind, radius = ("dot", 4.5) if at == line.marked else ("point", 2.0)
        parts.append(
            f'<circle class="{kind}" cx="{_across(x):.1f}" cy="{_down(y):.1f}" r="{radius}">'
            f"<title>{note}</title></circle>"
        )
    return "".join([*parts, "</svg>"])


def _axes(x_label: str, y_label: str) -> list[str]:
    parts = []
    for percent in range(0, 101, 20):
        x, y = _across(percent), _down(percent)
        parts += [
            f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}"/>',
            f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>',
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{percent}</text>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>',
        ]
    middle = _TOP + (_HEIGHT - _TOP - _BOTTOM) / 2
    return [
        *parts,
        f'<text x="{_across(50):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{x_label}</text>',
        f'<text transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">{y_label}</text>',
    ]


def _across(percent: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * percent / 100


def _down(percent: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * percent / 100


def _points(pairs: "Sequence[tuple[float, float]] | zip[tuple[float, float]]") -> str:
    return " ".join(f"{_across(x):.1f},{_down(y):.1f}" for x, y in pairs)
