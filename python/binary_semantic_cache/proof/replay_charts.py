"""Curves as SVG that follow the reader's light or dark scheme, drawn without a library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Curve", "chart"]

_WIDTH, _HEIGHT = 520, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 30, 14, 44
_COLOURS = 8
"""Classes `c0` to `c7` of the style sheet; further curves begin again."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line with its name."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    """Lower ends of intervals; empty for none."""
    high: Sequence[float] = ()


def chart(
    curves: Sequence[Curve],
    x_label: str,
    y_label: str,
    *,
    x_ticks: Sequence[tuple[float, str]] | None = None,
    percent: bool = True,
) -> str:
    """A `figure` with the curves and a legend.

    Args:
        curves: at least one with a point.
        x_label: what lies along.
        y_label: what lies up.
        x_ticks: places and their names; `None` for round numbers.
        percent: whether `y` are shares, shown as percent.
    """
    xs = [x for curve in curves for x in curve.x]
    tops = [y for curve in curves for y in (curve.high or curve.y)]
    left, right = (min(xs), max(xs)) if xs else (0.0, 1.0)
    right = right if right > left else left + 1.0
    steps = _steps(max(tops, default=0.0))
    top = steps[-1]

    def across(x: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (x - left) / (right - left)

    def down(y: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * y / top

    def shown(y: float) -> str:
        return f"{100 * y:.3g}%" if percent else f"{y:,.6g}"

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(y_label)} against {escape(x_label)}">'
    ]
    parts += [
        f'<line class="grid" x1="{_LEFT}" y1="{down(y):.1f}" x2="{_WIDTH - _RIGHT}" y2="{down(y):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{shown(y)}</text>'
        for y in steps
    ]
    ticks = x_ticks if x_ticks is not None else [(x, f"{x:,.6g}") for x in _between(left, right)]
    parts += [
        f'<line class="grid" x1="{across(x):.1f}" y1="{_TOP}" x2="{across(x):.1f}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text x="{across(x):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
        f"{escape(name)}</text>"
        for x, name in ticks
    ]
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}'
        "</text>"
    )
    for number, curve in enumerate(curves):
        colour = f"c{number % _COLOURS}"
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(curve.x, curve.y, strict=True))
        if curve.low and curve.high:
            ends = [
                *zip(curve.x, curve.high, strict=True),
                *reversed([*zip(curve.x, curve.low, strict=True)]),
            ]
            band = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in ends)
            parts.append(f'<polygon class="band {colour}" points="{band}"/>')
        parts.append(f'<polyline class="line {colour}" points="{points}"/>')
        if len(curve.x) <= 24:
            parts += [
                f'<circle class="dot {colour}" cx="{across(x):.1f}" cy="{down(y):.1f}" r="3">'
                f"<title>{escape(curve.name)}: {shown(y)}</title></circle>"
                for x, y in zip(curve.x, curve.y, strict=True)
            ]
    legend = "".join(
        f'<span><i class="c{number % _COLOURS}"></i>{escape(curve.name)}</span>'
        for number, curve in enumerate(curves)
    )
    return (
        f"<figure><figcaption>{escape(y_label)}</figcaption>{''.join(parts)}</svg>"
        f'<div class="legend">{legend}</div></figure>'
    )


def _steps(top: float) -> list[float]:
    """Round numbers from 0 to at least `top`, some five of them."""
    if not top > 0.0:
        return [0.0, 1.0]
    raw = top / 5
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(scale * factor for factor in (1, 2, 2.5, 5, 10) if scale * factor >= raw * (1 - 1e-9))
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def _between(left: float, right: float) -> list[float]:
    steps = _steps(right - left)
    step = steps[1] - steps[0]
    first = math.ceil(left / step - 1e-9)
    return [step * i for i in range(first, math.floor(right / step + 1e-9) + 1)]
