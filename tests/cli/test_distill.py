"""`litetext distill` as a user runs it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from litetext.encoders import Convention, EncoderConfig, build, load_encoder, save_encoder
from litetext.outputs import RECORD
from litetext.tokenizer import Tokenizer

from .conftest import Result

PHRASES = [f"{color}{noun}" for color in ("", "red ", "small green ") for noun in ("dog", "fire truck", "cup", "key")]
RECIPE = "[student]\nvariant = 'tiny'\nwidth = 8\nheads = 2\nffn = 16\nlayers = 1\nvocab_size = {rows}\n"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with prompts, a teacher and a recipe, to work in."""
    monkeypatch.chdir(tmp_path)
    tokenizer = Tokenizer().prune_vocabulary(PHRASES)
    config = EncoderConfig(
        "teacher", 16, 2, 32, 2, causal=True, vocab_size=tokenizer.vocab_size, position_rows=32, output_dim=12,
        convention=Convention(32, 0),
    )  # fmt: skip
    torch.manual_seed(0)
    save_encoder(build(config), tokenizer, "big")
    Path("p.txt").write_text("\n".join(PHRASES))
    Path("r.toml").write_text(RECIPE.format(rows=49408))
    Path("empty.txt").write_text("\n")
    return tmp_path


GIVEN = ("distill", "--teacher", "big", "--student", "r.toml", "--prompts", "p.txt", "--out", "run")


def test_a_student_its_card_and_its_curves(litetext: Callable[..., Result], world: Path) -> None:
    result = litetext(*GIVEN, "--steps", 30, "--batch-size", 6, "--held-out", 0.3, "--json")
    assert result.code == 0, result.err
    told = result.json
    student = load_encoder("run/student")
    assert student.encode(["red dog"]).tokens.shape == (1, 16, 12)
    assert student.config.convention.mask_padding == "everywhere"  # type: ignore[attr-defined]
    assert told["live_parameters"] == student.config.live_parameters()  # type: ignore[attr-defined]
    assert told["prompts"] + told["held_out"]["prompts"] == len(PHRASES) and told["steps"] == 30
    assert set(told["losses"]) >= {"mse", "cosine", "consistency", "total"}
    card = Path("run/student/README.md").read_text()
    assert "From `big`" in card and "1 × mse, 2 × cosine, 0.1 × consistency" in card
    assert f"{told['held_out']['mean_cosine']:.4f}" in card and "| 30 |" in card
    assert "step 30 of 30" in result.err
    assert {RECORD, "checkpoint.pt", "losses.csv", "student", "targets", "tensorboard"} == {
        p.name for p in Path("run").iterdir()
    }
    again = litetext(
        *GIVEN, "--steps", 30, "--batch-size", 6, "--held-out", 0.3, "--json"
    ).json  # finished: nothing to do
    assert again["held_out"] == told["held_out"] and again["seconds"] == pytest.approx(told["seconds"], rel=0.5)


def test_a_run_of_another_teacher_or_start_is_refused(
    litetext: Callable[..., Result], refused: Callable[..., str], world: Path
) -> None:
    torch.manual_seed(1)
    teacher = load_encoder("big")
    save_encoder(build(teacher.config), teacher.tokenizer, "other")  # type: ignore[attr-defined]
    given = (*GIVEN, "--steps", 2)
    assert litetext(*given).code == 0
    card = Path("run/student/README.md").read_text()
    assert "(its initial_student differ)" in refused(*given, "--embedding", "drawn")
    differs = refused(*given, "--teacher", "other")
    assert "run/checkpoint.pt belongs to another run (its teacher differ)" in differs
    shutil.copytree("run/student", "first")
    assert "(its initial_student differ)" in refused(*given, "--init", "first")
    assert Path("run/student/README.md").read_text() == card
    assert litetext(*given).code == 0


def test_a_student_goes_on_from_another(litetext: Callable[..., Result], world: Path) -> None:
    assert litetext(*GIVEN, "--steps", 2).code == 0
    result = litetext(
        "distill", "--teacher", "big", "--init", "run/student", "--prompts", "p.txt", "--out", "more",
        "--steps", 2, "--permute", "attribute-noun", "--stop-gradient", "--ema-decay", 0.9,
        "--gradient-accumulation-steps", 2,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "started from | run/student" in Path("more/student/README.md").read_text()


def test_a_smaller_vocabulary_learns_from_what_it_spells_alike(litetext: Callable[..., Result], world: Path) -> None:
    Path("r.toml").write_text(RECIPE.format(rows=520))
    result = litetext(*GIVEN, "--steps", 2, "--json")
    assert result.code == 0, result.err
    assert 0 < result.json["spelled_otherwise"] < len(PHRASES) and "prompts left out" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompts", "empty.txt"], "no phrases in empty"),
        (["--prompts", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--prompts", "p.txt", "--student", "s7"], "unknown student 's7'; choose one of: a .toml, l, s0, s1, xs, xxs"),
        (["--prompts", "p.txt", "--init", "wide"], "the vocabularies do not match"),
        (["--prompts", "p.txt", "--context", "40"], "a context of 40 is longer than the teacher's 32"),
        (["--prompts", "p.txt", "--held-out", "0.9"], "none is left to learn from"),
        (["--prompts", "p.txt", "--permute", "letters"], "unknown --permute 'letters'"),
        (["--prompts", "p.txt", "--mse", "-1"], "the weight of the mse loss is -1.0"),
        (["--prompts", "p.txt", "--downstream", "1"], "mini reads 64 numbers a token, the teacher gives 12"),
        ([], "--teacher big needs prompts"),
    ],
)
def test_bad_input_is_one_line(refused: Callable[..., str], world: Path, arguments: list[str], message: str) -> None:
    if "wide" in arguments:
        config = EncoderConfig("wide", 8, 2, 16, 1, output_dim=12)
        save_encoder(build(config), Tokenizer(), "wide")
    if "0.9" in arguments:
        Path("p.txt").write_text("cup\n")
    shape = [] if {"--init", "--student"} & set(arguments) else ["--student", "r.toml"]
    assert message in refused("distill", "--teacher", "big", "--out", "run", *shape, *arguments)
    assert not Path("run/student").exists()


def test_without_a_shape_nothing_starts(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "a student needs a shape" in refused("distill", "--out", tmp_path)


@pytest.mark.parametrize("way", ["reads", "answers"])
def test_mini_is_the_teacher_and_its_detector_the_judge(
    litetext: Callable[..., Result], refused: Callable[..., str], tmp_path: Path, way: str
) -> None:
    (tmp_path / "r.toml").write_text(RECIPE.format(rows=49408))
    result = litetext(
        "distill", "--student", tmp_path / "r.toml", "--limit", 40, "--steps", 3, "--out", tmp_path / "run",
        "--downstream", 1, "--through-way", way, "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.json["losses"]["downstream"] > 0
    other = {"reads": "answers", "answers": "reads"}[way]
    differs = refused(
        "distill", "--student", tmp_path / "r.toml", "--limit", 40, "--steps", 3, "--out", tmp_path / "run",
        "--downstream", 1, "--through-way", other,
    )  # fmt: skip
    assert "(its through differ)" in differs
    if way == "reads":
        picture = Path(__file__).parents[2] / "src" / "litetext" / "data" / "samples"
        found = litetext(
            "segment",
            sorted(picture.glob("*.png"))[0],
            "-p",
            "red car",
            "--text",
            tmp_path / "run" / "student",
            "--json",
        )
        assert found.code == 0, found.err
