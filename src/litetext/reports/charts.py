"""Charts as plain values; `litetext.reports.svg` and `litetext.reports.png` draw them from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b5629a", "#c98a00", "#3f9fd8", "#7a5cc0", "#777777")
"""Colors told apart by everyone (after Okabe & Ito); the page's style sheet has lighter ones for a dark ground."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line; ``color`` picks from the palette (None: its turn).

    Attributes:
        name: in the legend; a line without a name is not in it.
        x: positions.
        y: values.
        points: separate marks instead of a line.
        dashed: a dashed line.
        color: row of the palette; None: its turn.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    points: bool = False
    dashed: bool = False
    color: int | None = None


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines over a common x axis.

    Attributes:
        key: file name of the picture, and anchor on the page.
        title: above it.
        x_label: of the x axis.
        y_label: of the y axis.
        lines: what is drawn.
        log_x: a logarithmic x axis.
        log_y: a logarithmic y axis.
        percent: y values are shares and are written as percentages.
        y_range: what the y axis spans at least.
        verticals: (x, label) of thin upright marks.
        bands: (low y, high y, label) of shaded stripes.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    log_x: bool = False
    log_y: bool = False
    percent: bool = False
    y_range: tuple[float, float] | None = None
    verticals: list[tuple[float, str]] = field(default_factory=list)
    bands: list[tuple[float, float, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BarChart:
    """Horizontal bars, one group a category; ``series`` maps a name to one value a category."""

    key: str
    title: str
    x_label: str
    categories: list[str]
    series: dict[str, list[float]]
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A square matrix of values between -1 and 1."""

    key: str
    title: str
    label: str
    values: list[list[float]]


@dataclass(frozen=True, slots=True)
class Surface:
    """One value for every pair of settings, as shades from the lowest to the highest.

    Attributes:
        key: file name of the picture, and anchor on the page.
        title: above it.
        x_label: of the columns.
        y_label: of the rows.
        grid: the settings, of rows and of columns.
        values: a row a setting; the first row is drawn at the bottom.
        best: row and column of the cell to frame.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    grid: list[float]
    values: list[list[float]]
    best: tuple[int, int]


Figure = LineChart | BarChart | Heatmap | Surface


def legend(figure: Figure) -> list[tuple[str, int, str]]:
    """Return (name, palette index, "line" | "dashed" | "points" | "bar") of each thing the figure tells apart."""
    if isinstance(figure, LineChart) and len(figure.lines) > 1:
        kinds = ["points" if line.points else "dashed" if line.dashed else "line" for line in figure.lines]
        return [
            (line.name, color_of(line, n), kind)
            for n, (line, kind) in enumerate(zip(figure.lines, kinds, strict=True))
            if line.name
        ]
    if isinstance(figure, BarChart) and len(figure.series) > 1:
        return [(name, n, "bar") for n, name in enumerate(figure.series)]
    return []


def color_of(line: Line, turn: int) -> int:
    """Return the palette index of a line that is the ``turn``-th of its chart."""
    return (turn if line.color is None else line.color) % len(PALETTE)


def number(value: float, percent: bool = False) -> str:
    """Write a value for people: three or four telling digits, thousands separated."""
    if percent:
        share = 100 * value
        return f"{share:.1g} %" if 0 < abs(share) < 0.1 else f"{share:.1f} %"
    if value == 0 or (abs(value) >= 1000 and float(value).is_integer()):
        return f"{value:,.0f}"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def signed(value: float, digits: int) -> str:
    """Write a difference with its sign; what rounds to nothing has none."""
    return fixed(value, digits) if float(f"{value:.{digits}f}") == 0 else f"{value:+.{digits}f}"


def fixed(value: float, digits: int) -> str:
    """Write a value with so many digits behind the point; what rounds to nothing is no "-0.0"."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
