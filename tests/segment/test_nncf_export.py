"""Vision and pixels in OpenVINO's int8: calibrated on pictures, run by OpenVINO alone, and close to float32."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from litetext import LitetextError, Segmenter, load_encoder
from litetext.data import resolve, samples
from litetext.images import read_image
from litetext.segment.export import check_calibration
from litetext.segment.nncf_export import CALIBRATED, calibrate_graphs
from litetext.segment.sources import GRAPHS_BESIDE

for module in ("openvino", "nncf"):
    pytest.importorskip(module)

PRELOADED = "tcmalloc" in os.environ.get("LD_PRELOAD", "")
PROMPTS = ["owl", "red car", "white dog"]


@pytest.mark.slow
@pytest.mark.skipif(PRELOADED, reason="OpenVINO crashes where tcmalloc is preloaded; the last test goes without")
def test_mini_calibrated_finds_what_mini_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(resolve("mini") / "segmenter", tmp_path / "device")
    (folder / GRAPHS_BESIDE).rename(folder / "config.json")
    text = load_encoder(resolve("mini") / "text" / "student", backend="onnx")
    photos = [read_image(sample.image) for sample in samples()]
    found = calibrate_graphs(folder, text.encode(PROMPTS), photos, 8)
    assert capsys.readouterr().out == "", "commands print one JSON document"
    assert found["vision"].runs == len(photos) and found["pixels"].runs == len(PROMPTS) * len(photos)
    assert all(0 < one.int8 <= one.products for one in found.values())
    for graph in CALIBRATED:
        assert not (folder / f"{graph}.onnx").exists()
    with pytest.raises(LitetextError, match=r"which ONNX Runtime does not run; give --backend openvino"):
        Segmenter.from_pretrained(folder, text, backend="onnx")
    _assert_close(Segmenter.from_pretrained(folder, text), Segmenter.from_pretrained("mini", text, backend="onnx"))


def _assert_close(rough: Segmenter, exact: Segmenter) -> None:
    assert "OpenVino" in repr(rough.backend)
    for sample in samples()[:2]:
        maps = [one.backend.feature_maps(one.encode_image(sample.image).state) for one in (rough, exact)]
        for one, other in zip(*maps, strict=True):
            assert 1e-3 < np.abs(one - other).mean() / np.abs(other).mean() < 0.1, "in int8, and near"
        found, wanted = (one.segment(sample.image, PROMPTS, threshold=0.5) for one in (rough, exact))
        assert found.labels == wanted.labels
        np.testing.assert_allclose(found.scores, wanted.scores, atol=0.1)
        assert not len(found) or (found.masks != wanted.masks).mean() < 0.02


@pytest.mark.slow
@pytest.mark.skipif(not PRELOADED, reason="the test above ran")
def test_all_of_it_without_tcmalloc() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("precision", "images", "message"),
    [
        ("nncf-int8", [], "give --calibrate PHOTOS"),
        ("int8", ["photo.jpg"], "are of the graph precision nncf-int8"),
    ],
)
def test_images_are_given_just_where_they_are_needed(precision: str, images: list[str], message: str) -> None:
    with pytest.raises(LitetextError, match=message):
        check_calibration(precision, images)


def test_what_calibrating_needs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "libtcmalloc_minimal.so.4")
    with pytest.raises(LitetextError, match="crashes where tcmalloc is preloaded"):
        check_calibration("nncf-int8", ["photo.jpg"])
    monkeypatch.delenv("LD_PRELOAD")
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(
        LitetextError, match=r"nncf is not installed; it comes with: pip install 'litetext\[openvino\]'"
    ):
        check_calibration("nncf-int8", ["photo.jpg"])
