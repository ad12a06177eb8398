"""Charts as PNG files, for papers and chats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import extras_named
from ..files import atomic_path
from ..progress import Progress, no_progress
from .charts import PALETTE, BarChart, Figure, LineChart, Surface, color_of, legend


def save_pngs(figures: Sequence[Figure], folder: Path, progress: Progress = no_progress) -> list[Path]:
    """Write every figure as ``folder/<key>.png`` (light, 150 dots an inch) and return the paths."""
    paths = []
    for count, figure in enumerate(figures, start=1):
        paths.append(_save_png(figure, folder / f"{figure.key}.png"))
        progress(count, len(figures))
    return paths


def _save_png(figure: Figure, path: Path) -> Path:
    with extras_named():
        from matplotlib.figure import Figure as Canvas
    canvas = Canvas(figsize=_size(figure), layout="constrained")
    axes = canvas.add_subplot()
    axes.set_title(figure.title, fontsize=10)
    if isinstance(figure, LineChart):
        _draw_lines(axes, figure)
    elif isinstance(figure, BarChart):
        _draw_bars(axes, figure)
    elif isinstance(figure, Surface):
        shades = axes.pcolormesh(figure.grid, figure.grid, figure.values, cmap="Blues")
        canvas.colorbar(shades)
        axes.plot(figure.grid[figure.best[1]], figure.grid[figure.best[0]], "s", color=PALETTE[1], fillstyle="none")
        axes.set(xlabel=figure.x_label, ylabel=figure.y_label)
    else:
        image = axes.imshow(figure.values, cmap="RdBu_r", vmin=-1, vmax=1)
        canvas.colorbar(image)
        axes.set(xlabel=figure.label, ylabel=figure.label)
    if legend(figure):
        axes.legend(fontsize=8)
    with atomic_path(path) as temporary:
        canvas.savefig(temporary, dpi=150)
    return path


def _size(figure: Figure) -> tuple[float, float]:
    """Width and height in inches."""
    if isinstance(figure, LineChart):
        return 7.2, 3.8
    if isinstance(figure, BarChart):
        return 7.2, 1.0 + len(figure.categories) * (0.14 * len(figure.series) + 0.1)
    return 5.2, 4.4


def _draw_lines(axes: Any, chart: LineChart) -> None:
    for turn, line in enumerate(chart.lines):
        style = "o" if line.points else "--" if line.dashed else "-"
        axes.plot(line.x, line.y, style, color=PALETTE[color_of(line, turn)], label=line.name)
    for low, high, label in chart.bands:
        axes.axhspan(low, high, color="#888888", alpha=0.18)
        axes.annotate(label, (0.01, high), xycoords=("axes fraction", "data"), fontsize=8, va="bottom")
    for x, label in chart.verticals:
        axes.axvline(x, color="#888888", linewidth=0.8, linestyle=":")
        axes.annotate(f" {label}", (x, 0.7), xycoords=("data", "axes fraction"), fontsize=8)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.grid(alpha=0.3)
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0.0, *(y for line in chart.lines for y in line.y), 0.0))
    if chart.percent:
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")


def _draw_bars(axes: Any, chart: BarChart) -> None:
    count = len(chart.series)
    for turn, (name, values) in enumerate(chart.series.items()):
        rows = [row + (turn - (count - 1) / 2) * 0.8 / count for row in range(len(values))]
        axes.barh(rows, values, 0.8 / count, color=PALETTE[turn], label=name)
    names = [name.replace("$", r"\$") for name in chart.categories]  # matplotlib reads dollar signs as formulas
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=chart.x_label)
    axes.grid(axis="x", alpha=0.3)
    if chart.percent:
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
