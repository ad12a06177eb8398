"""Charts drawn from values: well formed, to scale, and written for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from litetext.reports.charts import (
    BarChart,
    Figure,
    Heatmap,
    Line,
    LineChart,
    Surface,
    fixed,
    legend,
    number,
    signed,
)
from litetext.reports.png import save_pngs
from litetext.reports.svg import svg

from .pages import Page

FIGURES: list[Figure] = [
    LineChart("k", "t <", "x", "y", [Line("a & b", [1, 10, 100], [0.1, 0.5, 1.0]), Line("p", [5], [0.2], points=True)],
              log_x=True, percent=True, verticals=[(8, "L = 8")], bands=[(0.1, 0.2, "band")]),
    LineChart("k", "t", "x", "y", [Line("flat", [1, 2], [0.0, 0.0])]),
    LineChart("k", "t", "x", "y", [Line("one", [3.0], [1e-9])], log_x=True, log_y=True),
    BarChart("k", "t", "x", ["cat & dog", "x" * 60], {"a": [1, 2], "b": [0, -1]}),
    Heatmap("k", "t", "p", [[1, -0.5], [-0.5, 1]]),
    Surface("k", "t", "across", "up", [0.1, 0.5], [[1, 2], [3, 3.5]], best=(1, 0)),
    Surface("k", "t", "across", "up", [0.5], [[0.0]], best=(0, 0)),
]  # fmt: skip


@pytest.mark.parametrize("figure", FIGURES)
def test_every_kind_of_figure_is_well_formed(figure: Figure) -> None:
    page = Page()
    page.feed(svg(figure))
    (points,) = page.points
    assert page.open == [] and all(np.isfinite([x, y]).all() and isinstance(text, str) for x, y, text in points)
    assert all(-1 <= x <= 561 for x, _, _ in points)


def test_line_positions_are_to_scale() -> None:
    page = Page()
    page.feed(svg(LineChart("k", "t", "x", "y", [Line("a", [0, 5, 10], [0, 1, 2])])))
    (points,) = page.points
    (x0, y0, _), (x1, y1, _), (x2, y2, text) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 - y1 == pytest.approx(y1 - y2, abs=0.2) and y2 < y0
    assert text == "a: 2 at x 10"


def test_numbers_and_legends_for_people() -> None:
    assert [number(v) for v in (0, 43195, 0.12345, 12.3456, 1e-7)] == ["0", "43,195", "0.1235", "12.35", "1.00e-07"]
    assert [number(v, percent=True) for v in (0.5, 0.0001234, 0)] == ["50.0 %", "0.01 %", "0.0 %"]
    assert [entry[2] for entry in legend(FIGURES[0])] == ["line", "points"]
    assert legend(FIGURES[1]) == [] and legend(FIGURES[4]) == []


def test_differences_that_round_to_nothing_have_no_sign() -> None:
    assert [signed(value, 1) for value in (0.26, -0.26, 0.04, -0.04, -0.0)] == ["+0.3", "-0.3", "0.0", "0.0", "0.0"]
    assert [fixed(value, 2) for value in (-0.004, -0.006, 1.5)] == ["0.00", "-0.01", "1.50"]


def test_every_kind_of_chart_is_a_picture_too(tmp_path: Path) -> None:
    figures = [figure for n, figure in enumerate(FIGURES) if n in (0, 3, 4, 5)]
    for row, figure in enumerate(figures):
        (path,) = save_pngs([figure], tmp_path / str(row))
        assert path.read_bytes()[:4] == b"\x89PNG"


def test_a_surface_is_drawn_from_the_bottom_with_its_best_cell_framed() -> None:
    page = Page()
    drawn = svg(Surface("k", "t", "across", "up", [0.1, 0.5], [[1, 2], [3, 4]], best=(1, 1)))
    page.feed(drawn)
    (points,) = page.points
    assert [text for *_, text in points] == [
        "up 0.1, across 0.1: 1", "up 0.1, across 0.5: 2", "up 0.5, across 0.1: 3", "up 0.5, across 0.5: 4",
    ]  # fmt: skip
    assert points[0][1] > points[2][1] and points[0][0] < points[1][0]
    assert drawn.count('class="best"') == 1


def test_ranges_hold_even_where_the_values_do_not_reach() -> None:
    page = Page()
    page.feed(svg(LineChart("k", "t", "x", "y", [Line("a", [0, 1], [10, 20])], y_range=(0, 100))))
    ((_, low, _), (_, high, _)), *_ = page.points
    assert 20 < low - high < 30, "a tenth of the height"
