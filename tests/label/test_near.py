"""Images that look the same are skipped if asked; a folder that fills is labelled as it does."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litetext.data import samples
from litetext.errors import LitetextError
from litetext.label import watch
from litetext.label.datasets import write_datasets
from litetext.label.near import _bit_counts, perceptual_hash
from litetext.label.summary import summarize

from ..cli.conftest import litetext  # noqa: F401  (fixture)
from .conftest import ColorSegmenter, job, picture


def _copies(photo: Image.Image) -> dict[str, bytes]:
    contents = {}
    for name, (copy, options) in {
        "small.png": (photo.resize((photo.width // 2, photo.height // 2)), {}),
        "poor.jpg": (photo, {"quality": 40}),
    }.items():
        buffer = io.BytesIO()
        copy.save(buffer, "PNG" if name.endswith("png") else "JPEG", **options)
        contents[name] = buffer.getvalue()
    return contents


def test_a_hash_hardly_changes_with_scale_and_compression() -> None:
    hashes = []
    for sample in samples():
        whole = perceptual_hash(sample.image.read_bytes())
        hashes.append(whole)
        for content in _copies(Image.open(sample.image).convert("RGB")).values():
            assert (whole ^ perceptual_hash(content)).bit_count() <= 6
    assert min((a ^ b).bit_count() for a in hashes for b in hashes if a != b) > 12


def test_bits_are_counted() -> None:
    values = np.array([0, 1, 2**64 - 1, 0xF0F0], np.uint64)
    assert _bit_counts(values).tolist() == [0, 1, 64, 8]


def test_what_looks_the_same_is_skipped(segmenter: ColorSegmenter, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, sample in enumerate(samples()[:2]):
        photo = Image.open(sample.image).convert("RGB")
        photo.save(folder / f"{number}-a.png")
        for name, content in _copies(photo).items():
            (folder / f"{number}-b-{name}").write_bytes(content)
    (folder / "bad.png").write_text("no picture")
    one = job(tmp_path / "out", near=6)
    outcome = one.run([str(folder)])
    assert (outcome.images, outcome.labeled, outcome.failed, outcome.skipped) == (7, 2, 1, 4)
    near = {entry.name: entry.near for entry in one.entries()}
    assert near["0-b-poor.jpg"] == "0-a.png" and near["1-b-small.png"] == "1-a.png" and near["0-a.png"] == ""
    summary = summarize(one, outcome)
    assert (summary.labeled, summary.skipped, summary.failed) == (2, 4, 1)
    (folder_out,) = write_datasets(one, ["yolo"])
    assert len(list((folder_out / "labels").rglob("*.txt"))) == 2
    assert job(tmp_path / "all").run([str(folder)]).labeled == 6
    with pytest.raises(LitetextError, match="near is 64"):
        job(tmp_path / "far", near=64)


def test_a_folder_that_fills_is_labelled_until_ctrl_c(
    litetext: Callable[..., Any],  # noqa: F811
    segmenter: ColorSegmenter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "c.txt").write_text("red\n")
    looks: list[int] = []

    def wait(seconds: float) -> None:
        looks.append(segmenter.seen)
        if len(looks) in (1, 3):
            picture(tmp_path / "photos" / f"{len(looks)}.png", "red", 0.9, seed=len(looks))
        if len(looks) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", wait)
    command = ("label", tmp_path / "photos", "--concepts", tmp_path / "c.txt", "--out", tmp_path / "out")
    result = litetext(*command, "--backend", "torch", "--watch", 1)
    assert result.code == 130
    assert looks == [0, 1, 1, 2, 2]
    assert "2 of 2 images labelled" in result.out
    assert litetext(*command, "--watch", 1, "--json").code == 2
