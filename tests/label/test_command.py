"""``litetext label`` with the model that ships, without torch: from pictures to datasets, and back after kills."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litetext.data import samples

from ..cli.conftest import litetext, refused  # noqa: F401  (fixtures)
from ..killing import check_same_files, run_command, survive_kills

Run = Callable[..., Any]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    (folder / "photos").mkdir(parents=True)
    for sample in samples():
        shutil.copy(sample.image, folder / "photos")
    (folder / "c.yaml").write_text("[{name: airplane, synonyms: [plane]}, owl, fire truck, unicorn]")
    return folder


def test_the_command_labels_and_says_so(litetext: Run, inputs: Path, tmp_path: Path) -> None:  # noqa: F811
    command = ("label", inputs / "photos", "--concepts", inputs / "c.yaml", "--out", tmp_path / "out")
    result = litetext(*command, "-f", "coco", "-f", "yolo", "--json")
    assert result.code == 0, result.err
    assert "never found: unicorn" in result.err
    report = result.json
    assert (report["labeled"], report["failed"], report["new"]) == (4, 0, 4)
    found = {concept["name"]: concept for concept in report["concepts"]}
    assert found["airplane"]["instances"] == 1 and found["owl"]["instances"] >= 1
    assert found["unicorn"]["nearest"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "unicorn" in page
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| airplane | 1 | 1 | 0.5 | none: the threshold was chosen by hand |" in card
    again = litetext(*command, "-f", "yolo", "--threshold", 0.9)
    assert again.code == 0 and "4 of 4 images labelled; " in again.out


def test_a_concept_shown_by_example_finds_it(litetext: Run, inputs: Path, tmp_path: Path) -> None:  # noqa: F811
    first = litetext("label", inputs / "photos", "--concepts", inputs / "c.yaml", "--out", tmp_path / "out")
    assert first.code == 0, first.err
    documents = [json.loads((tmp_path / "out" / "coco" / f"{split}.json").read_text()) for split in ("train", "val")]
    image, box = next(
        (image["file_name"], one["bbox"])
        for document in documents
        for one in document["annotations"]
        for image in document["images"]
        if one["category_id"] == 3 and one["image_id"] == image["id"]
    )
    x, y, width, height = (max(0, round(side)) for side in box)
    shown = {"name": "fire truck", "examples": [{"image": f"photos/{image}", "boxes": [[x, y, x + width, y + height]]}]}
    (inputs / "shown.yaml").write_text(json.dumps([shown]))
    result = litetext(
        "label", inputs / "photos", "--concepts", inputs / "shown.yaml", "--out", tmp_path / "shown", "--json"
    )
    assert result.code == 0, result.err
    assert result.json["concepts"][0]["instances"] >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "out"), "nothing to label"),
        (("photos", "--concepts", "none.yaml", "--out", "out"), "none.yaml: no such file"),
        (("photos", "--concepts", "c.yaml", "--out", "out", "-f", "tfrecord"), "unknown format 'tfrecord'"),
        (("photos", "--concepts", "c.yaml", "--out", "out", "--across", "all"), "unknown --across 'all'"),
        (("photos", "--concepts", "c.yaml", "--out", "out", "--engine", "spark"), "unknown engine 'spark'"),
        (("none", "--concepts", "c.yaml", "--out", "out"), "none: no such file"),
        (("photos", "--concepts", "c.yaml", "--out", "photos"), "lies in the input"),
        (("photos", "--concepts", "c.yaml", "--out", "out", "--model", "maxi"), "unknown model 'maxi'"),
    ],
)
def test_wrong_input_is_refused(
    refused: Run,  # noqa: F811
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(inputs)
    assert message in refused("label", *arguments)


@pytest.mark.slow
def test_a_job_survives_twenty_kills(inputs: Path, tmp_path: Path) -> None:
    command = f"label {inputs}/photos --concepts {inputs}/c.yaml --out out -f coco -f yolo"

    def check(killed: Path, whole: Path) -> None:
        for folder in (killed, whole):
            shutil.rmtree(folder / "out" / "shards", ignore_errors=True)  # which images share a shard may differ
        check_same_files(killed / "out", whole / "out", ignored=("report.json", "report.html"))  # they tell the time

    survive_kills(lambda folder: run_command(folder, *command.split()), tmp_path, check, earliest=0.0, latest=1.1)
