"""`litetext audit` as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from litetext.data import ROOT
from litetext.distill import student_config
from litetext.encoders import read_checkpoint

from ..segment.conftest import save_reference
from .conftest import Result


def test_audit_of_a_list_writes_everything_and_says_it(litetext: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a red dog\nthe red dog\nstop sign\n")
    result = litetext("audit", tmp_path / "p.txt", "--out", tmp_path / "out", "--contexts", "4,8")
    assert result.code == 0
    assert "context window" in result.out and "L = 4" in result.out and "L = 16" not in result.out
    assert "report.html" in result.err
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert {"report.html", "report.json", "recipe.toml", "figures/context_window.png"} <= names


def test_json_is_one_document(litetext: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("A dog\na dog\nthe dog\ncat\n")
    result = litetext("audit", tmp_path / "p.txt", "--out", tmp_path / "out", "--merge", "case,article", "--json")
    assert result.json["prompts"]["unique"] == 2 and result.json["prompts"]["duplicates"]["merged"] == 2
    assert result.json["tokens"]["mean"] == 3.5
    assert set(result.json["context_window"]) == {"8", "16", "32"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.txt"], "nowhere.txt: no such file"),
        (["nothing"], "no such file, folder or named source"),
        (["p.txt", "--merge", "stem"], "unknown merge 'stem'"),
        (["p.txt", "--contexts", "8,x"], "give for example 8,16,32"),
        (["p.txt", "--contexts", "1"], "give 2 or more"),
        (["p.txt", "--compare", "mini"], "give the first with --encoder"),
        (["p.txt", "--encoder", "s0"], "shape of an encoder, without weights"),
        (["p.txt", "--image", "a.png"], "--image is of --segmenter"),
        (["empty.txt"], "no phrases in empty"),
    ],
)
def test_bad_input_is_one_line(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("dog\n")
    Path("empty.txt").write_text("\n")
    assert message in refused("audit", *arguments)


def test_an_encoder_and_its_segmenter_are_studied_together(litetext: Callable[..., Result], tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    save_reference("s1", tmp_path / "model")
    colours = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "photo.png")
    nouns = ("sofa", "couch", "bike", "dog", "car")
    (tmp_path / "p.txt").write_text("".join(f"{c} {noun}\n" for c in ("red", "blue") for noun in nouns))
    result = litetext(
        "audit", tmp_path / "p.txt", "--encoder", tmp_path / "model", "--segmenter", tmp_path / "model",
        "--image", tmp_path / "photo.png", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    (study,) = result.json["encoders"]
    noise = study["robustness"]["noise"]
    assert noise["0.1"]["stages"]["text features"]["relative"] == pytest.approx(0.1, rel=1e-4)
    assert noise["0.01"]["stages"]["masks"]["relative"] < noise["1.0"]["stages"]["masks"]["relative"]
    assert 0 <= study["order"]["reordered"]["mask_overlap"] <= 1
    assert study["convention"]["prompts"] == 10
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(f"{number} · " in page for number in range(1, 9))


def test_without_arguments_mini_and_its_world_are_studied(litetext: Callable[..., Result], tmp_path: Path) -> None:
    if not (ROOT / "mini").is_dir():
        pytest.skip("mini's weights are not in this checkout")
    result = litetext("audit", "--limit", 300, "--sample", 200, "--out", tmp_path / "out", "--json")
    assert result.json["prompts"] | {"duplicates": 0} == {
        "unique": 300, "read": 300, "duplicates": 0, "sources": {"what mini knows": 300},
    }  # fmt: skip
    (study,) = result.json["encoders"]
    assert study["name"] == "mini-teacher" and study["robustness"]["scenes"] > 1
    assert study["order"]["other_noun"]["features"] > study["order"]["reordered"]["low"]


@pytest.mark.parametrize("encoder", ["mini", "mini-teacher"])
def test_distill_takes_the_recipe_as_it_is(litetext: Callable[..., Result], tmp_path: Path, encoder: str) -> None:
    if not (ROOT / "mini").is_dir():
        pytest.skip("mini's weights are not in this checkout")
    long = "the small red car on the left of the large yellow banana in the middle of the blue sky above the green tree"
    prompts = tmp_path / "p.txt"
    prompts.write_text(f"red car\nyellow banana\nthe whale\n{long}\n")
    audit = litetext("audit", prompts, "--encoder", encoder, "--out", tmp_path / "audit", "--json")
    assert audit.code == 0 and "4 prompts are few" in audit.err
    config = student_config(tmp_path / "audit" / "recipe.toml")
    assert config.vocab_size > 514 and config.convention.context_length <= (16 if encoder == "mini" else 32)
    assert config.live_parameters() < read_checkpoint(encoder).config.live_parameters()
    run = litetext(
        "distill", "--teacher", encoder, "--student", tmp_path / "audit" / "recipe.toml", "--prompts", prompts,
        "--out", tmp_path / "run", "--steps", 1, "--held-out", 0, "--json",
    )  # fmt: skip
    assert run.code == 0 and "left out" not in run.err
