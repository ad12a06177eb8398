"""No command deletes or replaces a file that it did not write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litetext.data import samples
from litetext.encoders import save_encoder
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder, small_config

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "s1"
    save_encoder(random_encoder(small_config("s1")), Tokenizer(), folder)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "p.txt").write_text("white dog\na red car\n")
    return tmp_path / "p.txt"


def _folder_commands(encoder: Path, destination: Path | str) -> list[tuple[object, ...]]:
    return [
        ("convert", encoder, destination, "--to", "litetext"),
        ("convert", encoder, destination, "--to", "transformers", "--model", "mini"),
        ("export", encoder, destination),
        ("export", "mini", destination, "--whole"),
        ("mini", "world", "--out", destination, "--pairs", "1"),
        ("mini", "world", "--out", destination, "--pairs", "1", "--gold"),
    ]


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_folder_of_the_users_is_refused(
    refused: Run, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, overwrite: tuple[str]
) -> None:
    proj = tmp_path / "proj"
    proj.mkdir()
    (proj / "thesis.tex").write_text("years of work")
    command = _folder_commands(encoder, proj)[number]
    assert f"{proj} exists and holds no " in refused(*command, *overwrite)
    monkeypatch.chdir(proj)
    assert ". is or holds the current folder" in refused(*_folder_commands(encoder, ".")[number], *overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["proj"]
    assert [path.name for path in proj.iterdir()] == ["thesis.tex"]


def test_an_earlier_output_is_replaced_if_asked(litetext: Run, refused: Run, encoder: Path, tmp_path: Path) -> None:
    command = ("convert", encoder, tmp_path / "e", "--to", "litetext")
    assert litetext(*command).code == 0
    assert "holds the encoder of an earlier run; replace it with --overwrite" in refused(*command)
    assert litetext(*command, "--overwrite").code == 0
    assert "no exported encoder" in refused("export", encoder, tmp_path / "e", "--overwrite")


def test_outputs_that_are_inputs_are_refused(refused: Run, encoder: Path, prompts: Path, tmp_path: Path) -> None:
    os.link(prompts, tmp_path / "hard.txt")
    (tmp_path / "soft.txt").symlink_to(prompts)
    before = prompts.read_bytes()
    for out in (prompts, tmp_path / "hard.txt", tmp_path / "soft.txt", tmp_path / ".." / tmp_path.name / "p.txt"):
        assert "is the input" in refused("embed", encoder, prompts, "--out", out, "--overwrite")
        assert "is the input" in refused("bank", "build", prompts, "--text", encoder, "--out", out, "--overwrite")
        assert "is the input" in refused("convert", encoder, out, "--to", "authors", "--prompts", prompts)
    assert "is the input" in refused("convert", encoder, encoder, "--to", "litetext", "--overwrite")
    assert prompts.read_bytes() == before


def test_a_student_does_not_replace_what_it_starts_from(refused: Run, encoder: Path, prompts: Path) -> None:
    run = encoder.parent / "run"
    save_encoder(random_encoder(small_config("s1")), Tokenizer(), run / "student")
    for role in ("--init", "--teacher"):
        given = ("--student", "xxs") if role == "--teacher" else ("--teacher", encoder)
        said = refused("distill", *given, role, run / "student", "--prompts", prompts, "--out", run)
        assert "run/student is the input" in said


@pytest.mark.parametrize("name", ["embed", "bank", "authors.pt", "authors.safetensors"])
def test_files_are_replaced_only_if_ours_and_asked(
    litetext: Run, refused: Run, encoder: Path, prompts: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / (name if "." in name else "out.safetensors")
    command = {
        "embed": ("embed", encoder, prompts, "--out", out),
        "bank": ("bank", "build", prompts, "--text", encoder, "--out", out),
    }.get(name, ("convert", encoder, out, "--to", "authors"))
    out.write_text("mine")
    assert "that litetext wrote; choose another name" in refused(*command, "--overwrite")
    assert out.read_text() == "mine"
    out.unlink()
    assert litetext(*command).code == 0
    first = out.stat()
    assert "of an earlier run; replace it with --overwrite" in refused(*command)
    assert litetext(*command, "--overwrite").code == 0
    assert out.stat().st_ino != first.st_ino


@pytest.mark.parametrize("name", ["scene_masks.png", "instances.json"])
def test_segment_replaces_nothing_but_its_own(
    litetext: Run, refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scene.png").write_bytes(samples()[0].image.read_bytes())
    command = ("segment", "scene.png", "-p", samples()[0].phrases[0], "--out", ".")
    Path(name).write_text("mine")
    assert f"{name} exists and is not as litetext wrote it" in refused(*command)
    assert Path(name).read_text() == "mine"
    Path(name).unlink()
    assert litetext(*command).code == litetext(*command).code == 0  # its own it may replace
    Path(name).write_text("mine")
    assert f"{name} exists and is not as litetext wrote it" in refused(*command)
    assert Path(name).read_text() == "mine"


def test_a_missing_image_writes_nothing(litetext: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = litetext("segment", "absent.png", "-p", "dog")
    assert done.code == 2 and "absent.png: no such file" in done.err
    assert done.out == "" and list(tmp_path.iterdir()) == []


def test_audit_replaces_nothing_but_its_own(litetext: Run, refused: Run, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    out.mkdir()
    (out / "report.json").write_text("mine")
    (out / "notes.txt").write_text("mine")
    assert "report.json exists and is not as litetext wrote it" in refused("audit", prompts, "--out", out)
    assert {path.name for path in out.iterdir()} == {"report.json", "notes.txt"}
    (out / "report.json").unlink()
    for _ in range(2):
        assert litetext("audit", prompts, "--out", out, "--json").code == 0
    assert (out / "notes.txt").read_text() == "mine"
