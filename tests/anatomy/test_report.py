"""The audit from end to end: numbers, page, pictures, recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext import Tokenizer
from litetext.anatomy.audit import Audit, audit
from litetext.anatomy.recipe import recommend, vocabulary_rows
from litetext.anatomy.report import to_json, write_report
from litetext.anatomy.sections import sections
from litetext.anatomy.tokens import TokenTable, tokenize
from litetext.encoders import EncoderConfig
from litetext.errors import LitetextError
from litetext.prompts import corpus_of
from litetext.ragged import Ragged
from litetext.reports.page import figures_of

from ..reports.pages import Page
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


def test_the_page_is_whole_self_contained_and_hoverable(whole: Audit, tmp_path: Path) -> None:
    seen: list[int] = []
    files = write_report(whole, tmp_path, lambda done, *_: seen.append(done))
    text = files.html.read_text(encoding="utf-8")
    page = Page()
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
