"""The audit from end to end: numbers, page, pictures, recipe."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext import Tokenizer
from litetext.anatomy.audit import Audit, audit
from litetext.anatomy.figures import BarChart, Figure, Heatmap, Line, LineChart, legend, number
from litetext.anatomy.recipe import recommend, vocabulary_rows
from litetext.anatomy.report import to_json, write_report
from litetext.anatomy.sections import figures_of, sections
from litetext.anatomy.svg import svg
from litetext.anatomy.tokens import TokenTable, tokenize
from litetext.encoders import EncoderConfig
from litetext.errors import LitetextError
from litetext.prompts import corpus_of
from litetext.ragged import Ragged

from .subjects import small_subject

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PHRASES = [f"{size} {color} {noun}" for size in ("small", "big") for color in ("red", "blue", "green")
           for noun in ("dog", "cat", "bus", "tulip", "fire truck")]  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> Audit:
    return audit(corpus_of(PHRASES, "phrases"), [small_subject(), small_subject("other <b>", 48)])


class _Page(HTMLParser):
    """Collects what a page refers to and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.points: list[list[Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [str(found[key]) for key in ("src", "href") if key in found]
        if "data-points" in found:
            self.points.append(json.loads(found["data-points"] or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_self_contained_and_hoverable(whole: Audit, tmp_path: Path) -> None:
    seen: list[int] = []
    files = write_report(whole, tmp_path, lambda done, *_: seen.append(done))
    text = files.html.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == [] and len(text) < 1_500_000
    assert all(address.startswith("#") for address in page.addresses)
    assert "other &lt;b&gt;" in text and "<b>" not in text
    count = len(figures_of(sections(whole)))
    assert len(page.points) == count == seen[-1] and all(page.points)
    assert [path.read_bytes()[:4] for path in files.pictures] == [b"\x89PNG"] * count
    assert len({path.name for path in files.pictures}) == count
    assert "34.6 %" in text and "NaN" not in text.replace("isNaN", "")


def test_the_json_holds_every_answer(whole: Audit, tmp_path: Path) -> None:
    report = json.loads(write_report(whole, tmp_path).json.read_text())
    assert report["prompts"]["unique"] == 30
    lengths = tokenize(PHRASES, Tokenizer()).ids.lengths
    assert report["tokens"]["mean"] == pytest.approx(lengths.mean())
    assert report["context_window"]["16"]["information_density"] == pytest.approx(lengths.mean() / 16)
    assert set(report["context_window"]["8"]) == {
        "information_density", "padding_share", "truncation_rate", "token_loss",
    }  # fmt: skip
    assert report["vocabulary"]["special_share"] == pytest.approx(2 / lengths.mean())
    assert report["vocabulary"]["top_100_share"] == 1.0
    assert [study["name"] for study in report["encoders"]] == ["tiny", "other <b>"]
    first = report["encoders"][0]
    assert first["token_embedding"]["full"]["points"] == 49408
    assert len(first["positions"]["cosine"]) == 16
    assert first["manifold"]["pooled"]["dimension"]["points"] == 30


@pytest.mark.parametrize("phrases", [["dog"], ["dog", "dog "], ["a dog", "the dog", "dog"], ["!"]])
def test_tiny_corpora_have_no_nan_anywhere(phrases: list[str], tmp_path: Path) -> None:
    result = audit(corpus_of(phrases), [small_subject()])
    text = json.dumps(to_json(result), allow_nan=False)
    assert json.loads(text)["encoders"][0]["manifold"]["pooled"]["dimension"] is None
    write_report(result, tmp_path)
    assert "nan" not in (tmp_path / "report.html").read_text().lower().replace("nance", "")


def test_bad_settings_are_refused() -> None:
    with pytest.raises(LitetextError, match="truncation bound is 1"):
        audit(corpus_of(["dog"]), truncation_bound=1)
    with pytest.raises(LitetextError, match="sample is 3"):
        audit(corpus_of(["dog"]), sample=3)


def test_the_recipe_is_a_config_with_reasons(whole: Audit) -> None:
    recipe = tomllib.loads(whole.recipe.to_toml())
    student = EncoderConfig.from_dict(recipe["student"])
    assert student == whole.recipe.student
    assert student.convention.context_length == student.position_rows == whole.context.tokens.max
    assert student.convention.mask_padding == "everywhere" and student.output_dim == 16
    assert set(recipe["reasons"]) == {"context_length", "vocab_size", "shape", "mask_padding"}
    alone = recommend(tokenize(PHRASES, Tokenizer()))
    assert alone.student.width == 512 and "s0" in alone.reasons["shape"]


def test_the_recipe_bounds_truncation() -> None:
    table = tokenize(["dog"] * 96 + [" ".join(["dog"] * n) for n in (5, 6, 7, 30)], Tokenizer())
    assert [recommend(table, truncation_bound=b).student.convention.context_length for b in (0, 0.01, 0.02, 0.04)] == [
        32, 9, 8, 3,
    ]  # fmt: skip


@given(st.lists(st.lists(st.integers(512, 600), max_size=6), min_size=1, max_size=30), st.floats(0.5, 1))
def test_the_recommended_rows_cover_the_share_of_prompts(prompts: list[list[int]], coverage: float) -> None:
    rows = [[49406, *ids, 49407] for ids in prompts]
    flat = np.array([i for row in rows for i in row], dtype=np.int32)
    total, chosen = vocabulary_rows(TokenTable(Ragged.of(rows), 49408, (49406, 49407), 512), coverage)
    assert total - chosen == 514
    counts = np.bincount(flat, minlength=49408)[512:49406]
    kept = set((np.argsort(-counts, kind="stable")[:chosen] + 512).tolist())
    assert np.mean([set(ids) <= kept for ids in prompts]) >= coverage


FIGURES: list[Figure] = [
    LineChart("k", "t <", "x", "y", [Line("a & b", [1, 10, 100], [0.1, 0.5, 1.0]), Line("p", [5], [0.2], points=True)],
              log_x=True, percent=True, verticals=[(8, "L = 8")], bands=[(0.1, 0.2, "band")]),
    LineChart("k", "t", "x", "y", [Line("flat", [1, 2], [0.0, 0.0])]),
    LineChart("k", "t", "x", "y", [Line("one", [3.0], [1e-9])], log_x=True, log_y=True),
    BarChart("k", "t", "x", ["cat & dog", "x" * 60], {"a": [1, 2], "b": [0, -1]}),
    Heatmap("k", "t", "p", [[1, -0.5], [-0.5, 1]]),
]  # fmt: skip


@pytest.mark.parametrize("figure", FIGURES)
def test_every_kind_of_figure_is_well_formed(figure: Figure) -> None:
    page = _Page()
    page.feed(svg(figure))
    (points,) = page.points
    assert page.open == [] and all(np.isfinite([x, y]).all() and isinstance(text, str) for x, y, text in points)
    assert all(-1 <= x <= 561 for x, _, _ in points)


def test_line_positions_are_to_scale() -> None:
    page = _Page()
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
