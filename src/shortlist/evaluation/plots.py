"""Small plots as inline SVG: bars with interval whiskers, and lines. No script, no outside resource."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from shortlist.evaluation.intervals import Estimate

# told apart in light and dark, and by the colour-blind (after Okabe and Ito)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f")
_BAR, _GAP, _LEFT, _PLOT = 16, 8, 180, 360


def bars(title: str, figures: Mapping[str, Estimate], strong: Sequence[str] = ()) -> str:
    """Horizontal bars from zero, whiskers where there is an interval; names in `strong` stand out."""
    finite = {name: figure for name, figure in figures.items() if math.isfinite(figure.value)}
    if not finite:
        return ""
    top = max(max(_end(figure), figure.value) for figure in finite.values()) or 1.0
    rows = [_bar(at, name, figure, top, name in strong) for at, (name, figure) in enumerate(finite.items())]
    height = len(finite) * (_BAR + _GAP) + _GAP
    return _svg(title, _LEFT + _PLOT + 70, height, "".join(rows))


def _end(figure: Estimate) -> float:
    return figure.high if math.isfinite(figure.high) else figure.value


def _bar(at: int, name: str, figure: Estimate, top: float, strong: bool) -> str:
    y = _GAP + at * (_BAR + _GAP)
    middle = y + _BAR / 2
    width = max(figure.value, 0.0) / top * _PLOT
    colour = _COLOURS[1] if strong else _COLOURS[0]
    parts = [
        f'<text x="{_LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}" opacity="0.8"/>',
    ]
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        low, high = (_LEFT + max(end, 0.0) / top * _PLOT for end in (figure.low, figure.high))
        ends = "".join(f"M{x:.1f} {middle - 4}V{middle + 4}" for x in (low, high))
        path = f"M{low:.1f} {middle}H{high:.1f}{ends}"
        parts.append(f'<path d="{path}" stroke="currentColor" fill="none"/>')
    parts.append(f'<text x="{_LEFT + _PLOT + 8}" y="{middle + 4:.1f}">{figure.value:.4f}</text>')
    return "".join(parts)


def lines(title: str, curves: Mapping[str, Sequence[tuple[float, float]]], x_name: str) -> str:
    """Lines through points (x, y), a colour and a legend line each."""
    usable = {
        name: [point for point in points if all(map(math.isfinite, point))] for name, points in curves.items()
    }
    usable = {name: points for name, points in usable.items() if points}
    if not usable:
        return ""
    left, top, width, height = 52.0, 10.0, 430.0, 220.0
    xs = [x for points in usable.values() for x, _ in points]
    ys = [y for points in usable.values() for _, y in points]
    frame = (left, top, width, height, (min(xs), max(xs)), (min(0.0, *ys), max(ys)))
    drawn = "".join(_line(at, name, points, frame) for at, (name, points) in enumerate(usable.items()))
    tall = max(top + height + 34, top + 18 * len(usable) + 8)
    return _svg(title, 690, tall, _axes(frame, x_name) + drawn)


_Frame = tuple[float, float, float, float, tuple[float, float], tuple[float, float]]


def _placed(point: tuple[float, float], frame: _Frame) -> tuple[float, float]:
    left, top, width, height, (x0, x1), (y0, y1) = frame
    x = left + (point[0] - x0) / ((x1 - x0) or 1.0) * width
    return x, top + height - (point[1] - y0) / ((y1 - y0) or 1.0) * height


def _line(at: int, name: str, points: Sequence[tuple[float, float]], frame: _Frame) -> str:
    colour, dash = _COLOURS[at % len(_COLOURS)], ' stroke-dasharray="5 3"' if at >= len(_COLOURS) else ""
    spots = [_placed(point, frame) for point in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for x, y in spots)
    y = frame[1] + 12 + 18 * at
    legend = (
        f'<path d="M500 {y - 4:.0f}H522" stroke="{colour}" stroke-width="2"{dash}/>'
        f'<text x="528" y="{y:.0f}">{escape(name)}</text>'
    )
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>{marks}{legend}'
    )


def _axes(frame: _Frame, x_name: str) -> str:
    left, top, width, height, (x0, x1), (y0, y1) = frame
    base = top + height
    grid = [
        f'<path d="M{left} {top}V{base}H{left + width}" stroke="currentColor" fill="none" opacity="0.5"/>'
    ]
    for step in range(5):
        value = y0 + (y1 - y0) * step / 4
        y = _placed((x0, value), frame)[1]
        grid.append(f'<path d="M{left} {y:.1f}H{left + width}" stroke="currentColor" opacity="0.15"/>')
        grid.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    grid.append(f'<text x="{left}" y="{base + 16}">{x0:g}</text>')
    grid.append(f'<text x="{left + width}" y="{base + 16}" text-anchor="end">{x1:g}</text>')
    grid.append(f'<text x="{left + width / 2}" y="{base + 16}" text-anchor="middle">{escape(x_name)}</text>')
    return "".join(grid)


def _svg(title: str, width: float, height: float, body: str) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" font-size="12" fill="currentColor">'
        f"{body}</svg></figure>"
    )
