"""``litetext segment --text``: an exported encoder or a bank in place of mini's own finds the same things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litetext import LitetextError, Segmenter, load_encoder
from litetext.data import ROOT, Sample, samples
from litetext.encoders import ConceptBank, modules, runtime

Run = Callable[..., Any]
LOWEST, SURE = 0.2, 0.25  # scores asked for, and those that must be found by both: features in half precision differ

pytestmark = pytest.mark.skipif(not (ROOT / "mini").is_dir(), reason="mini's weights are not in this checkout")


@pytest.fixture(scope="module")
def sample() -> Sample:
    return samples()[0]


@pytest.fixture
def found(litetext: Run, sample: Sample) -> Callable[..., list[dict[str, Any]]]:
    """What the command finds in one sample, phrase by phrase."""

    def segment(*options: object) -> list[dict[str, Any]]:
        asked = [part for phrase in sample.phrases for part in ("-p", phrase)]
        result = litetext("segment", sample.image, *asked, "--threshold", LOWEST, "--json", *options)
        assert result.code == 0, result.err
        rows: list[dict[str, Any]] = result.json
        return rows

    return segment


def _assert_same(rows: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Every sure instance of either is one of the other, within a pixel and 0.02 of its score."""
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in wanted]
    assert sum(score > SURE for row in wanted for score in row["scores"]) > 0
    for one, other in zip([*rows, *wanted], [*wanted, *rows], strict=True):
        for score, box in zip(one["scores"], one["boxes"], strict=True):
            if score > SURE:
                distance = np.abs(np.array(other["boxes"]).reshape(-1, 4) - box).max(1)
                near = np.array(other["scores"])[distance < 1]
                assert np.abs(near - score).min(initial=1) < 0.02, (one["prompt"], score, box)


def test_an_exported_encoder_finds_what_minis_own_does(litetext: Run, found: Any, tmp_path: Path) -> None:
    assert litetext("export", "mini", tmp_path / "text", "--to", "onnx").code == 0
    _assert_same(found("--text", tmp_path / "text"), found())


def test_a_bank_finds_the_same_with_no_encoder_in_memory(
    litetext: Run, refused: Run, found: Any, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, concepts = tmp_path / "bank.safetensors", tmp_path / "concepts.txt"
    concepts.write_text("\n".join(sample.phrases))
    assert litetext("bank", "build", concepts, "--text", "mini", "--out", bank).code == 0
    wanted = found()

    def built(*arguments: object, **options: object) -> None:
        raise AssertionError("a text encoder was built beside the bank")

    monkeypatch.setattr(modules.TextTransformer, "__init__", built)
    monkeypatch.setattr(runtime.OnnxTextEncoder, "__init__", built)
    with pytest.raises(AssertionError, match="beside the bank"):
        Segmenter.from_pretrained("mini")  # that is what would happen
    _assert_same(found("--text", bank), wanted)
    segmenter = Segmenter.from_pretrained("mini", bank, device="cpu")
    assert type(segmenter.text) is ConceptBank and segmenter.text._fallback is None
    said = refused("segment", sample.image, "-p", "zeppelin", "--text", bank, "--json")
    assert "does not know 'zeppelin'" in said and "mini" in said


def test_the_context_of_the_text_encoder_can_be_chosen(
    litetext: Run, refused: Run, found: Any, sample: Sample, tmp_path: Path
) -> None:
    whole = found()
    _assert_same(found("--context", 16), whole)
    cut = found("--context", 3)  # a word of every phrase is left
    assert [row["scores"] for row in cut] != [row["scores"] for row in whole]
    asked = ("segment", sample.image, "-p", sample.phrases[0], "--json", "--context")
    assert "position table (16 rows)" in refused(*asked, 40)
    assert found("--context", 40, "--positions", "interpolate")
    assert litetext("export", "mini", tmp_path / "text", "--to", "onnx").code == 0
    assert "whose context_length is fixed" in refused(*asked, 8, "--text", tmp_path / "text")
    assert (
        litetext("mini", "world", "--out", tmp_path / "w", "--pairs", 4, "--size", 64, "--concepts", "known").code == 0
    )
    evaluate = (
        "evaluate",
        "--gt",
        tmp_path / "w",
        "--images",
        tmp_path / "w" / "images",
        "--model",
        "mini",
        "--no-cache",
    )
    assert "position table (16 rows)" in refused(*evaluate, "--context", 40)
    assert litetext(*evaluate, "--context", 3, "--json").code == 0
    with pytest.raises(LitetextError, match="context_length cannot be given with an encoder that is loaded"):
        Segmenter.from_pretrained("mini", text=load_encoder("mini"), context_length=8)
