"""The photo that ships: small, one copy of its weights, the same in torch and ONNX."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from litetext.data import resolve, samples
from litetext.json_files import read_json
from litetext.photo.model import CONVENTION, STRIDE, PhotoShape
from litetext.segment import Segmenter
from litetext.segment.beside import agreement_of
from litetext.segment.onnx_backend import VERSION
from litetext.segment.parity import TOLERANCE
from litetext.segment.sources import GRAPHS_BESIDE

MODELS = ("mini", "photo")


def test_the_whole_model_is_small_and_graphs_hold_no_weights() -> None:
    folder = resolve("photo")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6
    facts = read_json(folder / "photo.json")
    encoding = (facts["image_size"] // STRIDE) ** 2 * PhotoShape().detector_width * 4  # of positions: in three graphs
    assert sum(path.stat().st_size for path in files if path.suffix == ".onnx") - 3 * encoding < 3e5


@pytest.mark.parametrize("model", MODELS)
def test_torch_and_onnx_agree(model: str) -> None:
    assert read_json(resolve(model) / "segmenter" / GRAPHS_BESIDE)["version"] == VERSION
    assert agreement_of(resolve(model), "student", ["dog", "red car"]).worst <= TOLERANCE


@pytest.mark.parametrize("model", MODELS)
def test_the_first_result_needs_no_torch(model: str) -> None:
    program = (
        "import sys; from litetext.cli import main\n"
        f"try: main(['segment', {str(samples()[0].image)!r}, '-p', 'dog', '--model', {model!r}, '--json'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_what_a_better_detection_repeats_is_dropped() -> None:
    scene, phrases = samples()[0].image, ["dog", "person"]
    every = replace(CONVENTION, suppression=None)
    all_of_them = Segmenter.from_pretrained("photo", device="cpu", convention=every).segment(
        scene, phrases, threshold=0.02
    )
    kept = Segmenter.from_pretrained("photo", device="cpu").segment(scene, phrases, threshold=0.02)
    assert kept.scores.tolist() == all_of_them.nms(0.5, containment=0.5).scores.tolist()
    assert 0 < len(kept) < len(all_of_them)
    np.testing.assert_array_equal(kept.presence, all_of_them.presence)


def test_the_python_api_takes_torch_where_it_is_and_onnx_where_asked() -> None:
    assert type(Segmenter.from_pretrained("mini").backend).__name__ == "TorchBackend"
    assert type(Segmenter.from_pretrained("mini", backend="onnx").backend).__name__ == "OnnxBackend"
