"""``litetext segment``, from the shell's side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from litetext import cli
from litetext.outputs import RECORD
from litetext.segment import Segmenter, sources

from .conftest import PROMPTS, Reference, save_reference


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, photo: NDArray[np.uint8]) -> Reference:
    """A model that finds something for two of the first four prompts."""
    reference = save_reference("s1", tmp_path_factory.mktemp("model"))
    reference.spread_presence(photo, PROMPTS[:4], present=2)
    return reference


@pytest.fixture
def photos(tmp_path: Path, photo: NDArray[np.uint8]) -> list[Path]:
    paths = [tmp_path / "one" / "street.png", tmp_path / "two" / "street.jpg"]
    for path in paths:
        path.parent.mkdir()
        Image.fromarray(photo).save(path, quality=95)
    return paths


def _run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in ("segment", *arguments)])
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def _asked(prompts: tuple[str, ...] = PROMPTS[:4]) -> list[str]:
    return [part for prompt in prompts for part in ("-p", prompt)]


def test_overlays_coco_and_a_table(
    capsys: pytest.CaptureFixture[str], model: Reference, photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = _run(capsys, *photos, *_asked(), "--model", model.folder, "--out", out, "--threshold", "0.2")
    assert code == 0, stderr
    assert sorted(path.name for path in out.iterdir()) == [
        RECORD,
        "instances.json",
        "street_masks.png",
        "street_masks_2.png",
    ]
    document = json.loads((out / "instances.json").read_text())
    assert [image["file_name"] for image in document["images"]] == [str(path) for path in photos]
    assert [category["name"] for category in document["categories"]] == list(PROMPTS[:4])
    assert document["annotations"]
    assert all(prompt in stdout for prompt in PROMPTS[:4])
    assert "mini" not in stdout


def test_the_default_model_is_mini_and_the_output_names_the_real_thing(
    capsys: pytest.CaptureFixture[str],
    model: Reference,
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(model.folder, tmp_path / "mini" / "segmenter")
    shutil.copytree(model.folder, tmp_path / "mini" / "text" / "teacher")
    monkeypatch.setattr(sources, "resolve", lambda name: tmp_path / name)
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = _run(capsys, photos[0], "-p", "dog")
    assert code == 0, stderr
    assert "mini" in stdout and "--model Simon7108528/sam3-litetext-s0" in stdout
    assert (tmp_path / "segments" / "street_masks.png").is_file()
    code, stdout, stderr = _run(capsys, photos[0], "-p", "dog", "--json")
    assert len(json.loads(stdout)) == 1
    assert "--model Simon7108528/sam3-litetext-s0" in stderr


def test_what_was_found_before_an_interruption_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, asked = Segmenter.segment, []

    def interrupted(self: Segmenter, image: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(image)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return whole(self, image, *arguments, **options)

    monkeypatch.setattr(Segmenter, "segment", interrupted)
    code, _, stderr = _run(capsys, *photos, "-p", "owl", "--out", tmp_path / "out")
    assert code == 130 and "kept" in stderr
    document = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert [image["file_name"] for image in document["images"]] == [str(photos[0])]


def test_json_is_one_list_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], model: Reference, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos[0].parent)
    code, stdout, _ = _run(capsys, photos[0], *_asked(), "--model", model.folder, "--json", "--threshold", "0.2")
    rows = json.loads(stdout)
    assert code == 0
    assert [row["prompt"] for row in rows] == list(PROMPTS[:4])
    assert {row["image"] for row in rows} == {str(photos[0])}
    assert sum(row["count"] > 0 for row in rows) == 2
    for row in rows:
        assert row["count"] == len(row["scores"]) == len(row["boxes"])
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert all(0.2 <= score <= 1 for score in row["scores"])
    assert list(photos[0].parent.iterdir()) == [photos[0]]


def test_bad_images_are_named_and_the_others_get_done(
    capsys: pytest.CaptureFixture[str], model: Reference, photos: list[Path], tmp_path: Path
) -> None:
    words = tmp_path / "words.png"
    words.write_text("no image")
    images = [tmp_path / "gone.png", photos[0], words]
    code, stdout, stderr = _run(capsys, *images, "-p", "dog", "--model", model.folder, "--json")
    assert code == 2
    assert [row["image"] for row in json.loads(stdout)] == [str(photos[0])]
    lines = [line for line in stderr.splitlines() if line.startswith("litetext: ")]
    assert len(lines) == 2
    assert "gone.png: no such file" in lines[0]
    assert "words.png is not an image" in lines[1]
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", " "], "the prompt ' ' is empty"),
        ([], "prompt"),
        (["-p", "dog", "--model", "sam4"], "unknown model 'sam4'; give mini"),
        (["-p", "dog", "--threshold", "2"], "threshold"),
    ],
)
def test_bad_questions_are_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], photos: list[Path], arguments: list[str], message: str
) -> None:
    code, stdout, stderr = _run(capsys, photos[0], *arguments)
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert message in stderr


def test_models_out_of_reach_are_one_line_and_code_2(capsys: pytest.CaptureFixture[str], photos: list[Path]) -> None:
    code, stdout, stderr = _run(capsys, photos[0], "-p", "dog", "--model", "someone/sam3")
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert "someone/sam3 is not on this machine, and this is offline" in stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("auto", "milliseconds that an image may take, such as auto:500; got 'auto'"),
        ("auto:-3", "got 'auto:-3'"),
        ("0", "got '0'"),
        ("auto:0.001", "at 40 pixels, the least that is tried, an image with 1 prompt takes"),
    ],
)
def test_sizes_that_are_none(capsys: pytest.CaptureFixture[str], photos: list[Path], given: str, message: str) -> None:
    code, stdout, stderr = _run(capsys, photos[0], "-p", "owl", "--json", "--image-size", given)
    assert (code, stdout) == (2, "")
    assert message in stderr and stderr.count("\n") == 1


def test_a_size_is_chosen_by_a_budget(capsys: pytest.CaptureFixture[str], photos: list[Path]) -> None:
    code, stdout, stderr = _run(capsys, photos[0], "-p", "owl", "--json", "--image-size", "auto:60000")
    assert code == 0, stderr
    assert "litetext: image size 128: an image with 1 prompt takes" in stderr
    assert [row["image_size"] for row in json.loads(stdout)] == [128]
    assert json.loads(_run(capsys, photos[0], "-p", "owl", "--json", "--image-size", "64")[1])[0]["image_size"] == 64
