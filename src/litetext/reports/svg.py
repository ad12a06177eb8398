"""Charts as inline SVG: colored by the page's style sheet (light and dark), hovered through ``data-points``."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .charts import BarChart, Figure, Heatmap, LineChart, Surface, color_of, number

_WIDTH, _HEIGHT = 560, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 46

_Point = tuple[float, float, str]


def svg(figure: Figure) -> str:
    """Return the figure as an SVG element whose ``data-points`` (x, y, text) the page's script shows on hovering."""
    if isinstance(figure, LineChart):
        return _lines(figure)
    if isinstance(figure, Surface):
        return _surface(figure)
    return _bars(figure) if isinstance(figure, BarChart) else _heatmap(figure)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values to pixels along one direction, with the values to mark."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: list[float]

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return round(self.start + (at - low) / ((high - low) or 1) * (self.end - self.start), 1)


def _axis(values: Sequence[float], start: float, end: float, log: bool, from_zero: bool) -> _Axis:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log:
        low = min((value for value in values if value > 0), default=0.1)
        high = max(high, low * 1.0001)
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        return _Axis(low, high, start, end, True, [10.0**e for e in exponents if low <= 10.0**e <= high] or [low, high])
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        high = low + 1
    raw = (high - low) / 5
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw - 1e-12)
    low, high = (
        (low if not from_zero or low == 0 else math.floor(low / step) * step),
        math.ceil(high / step - 1e-9) * step,
    )
    first = math.ceil(low / step - 1e-9)
    ticks = [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]
    return _Axis(low, high, start, end, False, ticks)


def _lines(chart: LineChart) -> str:
    xs = [x for line in chart.lines for x in line.x] + [x for x, _ in chart.verticals]
    ys = [y for line in chart.lines for y in line.y] + [y for low, high, _ in chart.bands for y in (low, high)]
    ys += chart.y_range or ()
    x_axis = _axis(xs, _LEFT, _WIDTH - _RIGHT, chart.log_x, False)
    y_axis = _axis(ys, _HEIGHT - _BOTTOM, _TOP, chart.log_y, True)
    parts = [_frame(x_axis, y_axis, chart)]
    for low, high, label in chart.bands:
        top, bottom = y_axis(high), y_axis(low)
        parts += [
            _rect("band", _LEFT, top, _WIDTH - _LEFT - _RIGHT, max(bottom - top, 1)),
            _text("mark", _LEFT + 6, top - 4, label),
        ]
    for x, label in chart.verticals:
        at = x_axis(x)
        parts += [_stroke("upright", at, _TOP, at, _HEIGHT - _BOTTOM), _text("mark", at + 4, _HEIGHT * 0.3, label)]
    points: list[_Point] = []
    for turn, line in enumerate(chart.lines):
        color = f"c{color_of(line, turn)}"
        places = [(x_axis(x), y_axis(y)) for x, y in zip(line.x, line.y, strict=True)]
        if line.points:
            parts += [f'<circle class="dot {color}" cx="{x}" cy="{y}" r="4.5"/>' for x, y in places]
        else:
            path = " ".join(f"{x},{y}" for x, y in places)
            parts.append(f'<polyline class="line {color}{" dashed" if line.dashed else ""}" points="{path}"/>')
        points += [
            (px, py, f"{line.name}: {number(y, chart.percent)} at {chart.x_label} {number(x)}")
            for (px, py), x, y in zip(places, line.x, line.y, strict=True)
        ]
    return _element(chart.title, _HEIGHT, parts, points)


def _bars(chart: BarChart) -> str:
    thickness = 15 if len(chart.series) == 1 else 11
    pitch = len(chart.series) * thickness + 8
    bottom = _TOP + pitch * len(chart.categories) + 4
    left = min(24 + 7 * max((len(name) for name in chart.categories), default=1), 190)
    right = _WIDTH - _RIGHT - 60  # room for the value written at the longest bar's end
    axis = _axis([0.0, *(v for values in chart.series.values() for v in values)], left, right, False, True)
    parts = [_text("label", (left + right) / 2, bottom + 36, chart.x_label, "middle")]
    for tick in axis.ticks:
        at = axis(tick)
        label = _tick(tick, chart.percent, False)
        parts += [_stroke("grid", at, _TOP, at, bottom), _text("tick", at, bottom + 16, label, "middle")]
    points: list[_Point] = []
    for row, category in enumerate(chart.categories):
        top = _TOP + row * pitch + 4
        name = category if len(category) <= 28 else category[:27] + "…"
        parts.append(_text("tick", left - 8, top + len(chart.series) * thickness / 2 + 3, name, "end"))
        for turn, (series, values) in enumerate(chart.series.items()):
            zero, end, y = axis(0), axis(values[row]), top + turn * thickness
            value = number(values[row], chart.percent)
            parts += [
                _rect(f"bar c{turn}", min(zero, end), y, abs(end - zero), thickness - 2),
                _text("value", max(end, zero) + 5, y + thickness - 4, value),
            ]
            points.append((end, y + thickness / 2, f"{category}: {series} {value}"))
    return _element(chart.title, bottom + 42, parts, points)


def _heatmap(chart: Heatmap) -> str:
    count = len(chart.values)
    left, top, size = 48, 10, 360
    side = size / max(count, 1)
    parts: list[str] = []
    points: list[_Point] = []
    for i, row in enumerate(chart.values):
        for j, value in enumerate(row):
            x, y = left + j * side, top + i * side
            parts.append(_rect(_tone(value), x, y, side + 0.2, side + 0.2, abs(value)))
            points.append((round(x + side / 2, 1), round(y + side / 2, 1), f"{chart.label} {i} and {j}: {value:.3f}"))
    for n in range(0, count, max(1, count // 8)):
        middle = (n + 0.5) * side
        parts += [
            _text("tick", left + middle, top + size + 18, str(n), "middle"),
            _text("tick", left - 8, top + middle + 4, str(n), "end"),
        ]
    for step in range(-4, 5):
        value = step / 4
        y = top + 30 + (1 - value) * 104
        parts += [_rect(_tone(value), 440, y, 22, 26, abs(value)), _text("tick", 470, y + 17, f"{value:+.2f}")]
    parts.append(_text("label", left + size / 2, top + size + 36, chart.label, "middle"))
    return _element(chart.title, top + size + 44, parts, points)


def _surface(chart: Surface) -> str:
    count = len(chart.grid)
    left, top, side = 64, 10, 320 / max(count, 1)
    values = [value for row in chart.values for value in row]
    low, high = min(values), max(values)
    parts: list[str] = []
    points: list[_Point] = []
    for i, row in enumerate(chart.values):
        for j, value in enumerate(row):
            x, y = left + j * side, top + (count - 1 - i) * side
            parts.append(_rect("cell", x, y, side - 1, side - 1, 0.08 + 0.92 * (value - low) / ((high - low) or 1)))
            text = f"{chart.y_label} {chart.grid[i]:g}, {chart.x_label} {chart.grid[j]:g}: {number(value)}"
            points.append((round(x + side / 2, 1), round(y + side / 2, 1), text))
    up, across = chart.best
    parts.append(_rect("best", left + across * side - 1, top + (count - 1 - up) * side - 1, side + 1, side + 1))
    for n in range(0, count, max(1, count // 5)):
        middle = (n + 0.5) * side
        parts += [
            _text("tick", left + middle, top + 320 + 16, f"{chart.grid[n]:g}", "middle"),
            _text("tick", left - 8, top + 320 - middle + 4, f"{chart.grid[n]:g}", "end"),
        ]
    for step, value in enumerate((high, (low + high) / 2, low)):
        y = top + 30 + 40 * step
        parts += [_rect("cell", 420, y, 22, 26, 1 - 0.46 * step), _text("tick", 450, y + 17, number(value))]
    parts.append(_text("label", left + 160, top + 320 + 34, chart.x_label, "middle"))
    upright = _text("label", 0, 0, chart.y_label, "middle")
    parts.append(f'<g transform="translate(14 {top + 160}) rotate(-90)">{upright}</g>')
    return _element(chart.title, top + 320 + 42, parts, points)


def _tone(value: float) -> str:
    return "warm" if value >= 0 else "cool"


def _frame(x_axis: _Axis, y_axis: _Axis, chart: LineChart) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    middle = (_TOP + bottom) / 2
    parts = [
        _stroke("axis", _LEFT, bottom, right, bottom),
        _text("label", (_LEFT + right) / 2, _HEIGHT - 8, chart.x_label, "middle"),
        f'<g transform="translate(14 {middle:.0f}) rotate(-90)">{_text("label", 0, 0, chart.y_label, "middle")}</g>',
    ]
    for tick in y_axis.ticks:
        at = y_axis(tick)
        label = _tick(tick, chart.percent, y_axis.log)
        parts += [_stroke("grid", _LEFT, at, right, at), _text("tick", _LEFT - 8, at + 4, label, "end")]
    for tick in x_axis.ticks:
        at = x_axis(tick)
        label = _tick(tick, False, x_axis.log)
        parts += [_stroke("grid", at, bottom, at, bottom + 5), _text("tick", at, bottom + 18, label, "middle")]
    return "".join(parts)


def _tick(value: float, percent: bool, log: bool) -> str:
    if percent:
        return f"{100 * value:g} %"
    return f"{value:,.0f}" if log and value >= 1 else f"{value:g}"


def _text(kind: str, x: float, y: float, content: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(content)}</text>'


def _rect(kind: str, x: float, y: float, width: float, height: float, opacity: float | None = None) -> str:
    shade = "" if opacity is None else f' fill-opacity="{opacity:.3f}"'
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{shade}/>'


def _stroke(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _element(title: str, height: float, parts: list[str], points: list[_Point]) -> str:
    data = html.escape(json.dumps(points, ensure_ascii=False, separators=(",", ":")), quote=True)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{html.escape(title, quote=True)}" '
        f'data-points="{data}">{"".join(parts)}</svg>'
    )
