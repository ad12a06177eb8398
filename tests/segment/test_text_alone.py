"""A detector without a geometry encoder, as fine-tuned EfficientSAM3s are: found in words, never by example boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from litetext import LitetextError, Segmenter
from litetext.encoders import read_checkpoint
from litetext.segment.checkpoint import load_detector
from litetext.segment.convention import META, TRANSFORMERS
from litetext.segment.export import export_segmenter

from .conftest import PROMPTS, Reference
from .test_loading import Constant
from .test_meta_layout import meta_checkpoint

CPU, FLOAT32 = torch.device("cpu"), torch.float32


@pytest.fixture(scope="module")
def whole(teacher: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its geometry encoder, in Meta's layout at the detector's root."""
    path = tmp_path_factory.mktemp("whole") / "sam3.pt"
    keys = meta_checkpoint(teacher.model).items()
    torch.save({"model": {key.removeprefix("detector."): value for key, value in keys}}, path)
    return path


@pytest.fixture(scope="module")
def text_alone(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model without it."""
    path = tmp_path_factory.mktemp("alone") / "efficientsam3.pt"
    keys = torch.load(whole, weights_only=True)["model"]
    torch.save({"model": {key: keys[key] for key in keys if not key.startswith("geometry_encoder.")}}, path)
    return path


def test_it_finds_in_words_what_the_whole_model_finds_without_cls_token(
    whole: Path, text_alone: Path, photo: NDArray[np.uint8]
) -> None:
    encoder = Constant()
    found = Segmenter.from_pretrained(text_alone, encoder, "cpu", convention="transformers")
    wanted = Segmenter.from_pretrained(whole, encoder, "cpu", convention="transformers")
    assert found.backend.convention == TRANSFORMERS.without_geometry()
    ours, theirs = (one.segment(photo, PROMPTS[:2], threshold=0.0) for one in (found, wanted))
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-4)


def test_it_runs_as_meta_runs_it_but_for_the_token(text_alone: Path) -> None:
    convention = load_detector(text_alone, CPU, FLOAT32).convention
    assert convention == META.without_geometry() == convention.without_geometry()
    assert (convention.cls_token, convention.vit_layer_norm_eps, convention.takes_boxes) == ("never", 1e-5, False)


def test_example_boxes_are_refused(text_alone: Path, photo: NDArray[np.uint8]) -> None:
    segmenter = Segmenter.from_pretrained(text_alone, Constant(), "cpu")
    for ask in (lambda: segmenter.segment(photo, boxes=[[5, 5, 60, 60]]),
                lambda: segmenter.concept(photo, [[5, 5, 60, 60]], name="widget")):  # fmt: skip
        with pytest.raises(LitetextError, match="no geometry encoder, so it cannot be shown example boxes; name in"):
            ask()


def test_a_folder_without_it_is_the_same(teacher: Reference, text_alone: Path, tmp_path: Path) -> None:
    load_detector(text_alone, CPU, FLOAT32).save_pretrained(tmp_path)
    again = load_detector(tmp_path, CPU, FLOAT32)
    assert again.convention == META.without_geometry()
    assert not hasattr(again, "geometry_encoder")
    config = json.loads((tmp_path / "config.json").read_text())
    config["detector_convention"] = "meta"  # whatever a folder says: the weights decide
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_detector(tmp_path, CPU, FLOAT32).convention == META.without_geometry()


def test_a_part_of_it_missing_is_no_model_without_it(whole: Path, tmp_path: Path) -> None:
    keys = torch.load(whole, weights_only=True)["model"]
    torch.save({"model": {key: keys[key] for key in keys if "geometry_encoder.encode." not in key}}, tmp_path / "a.pt")
    with pytest.raises(LitetextError, match="lacks the key geometry_encoder.encode"):
        load_detector(tmp_path / "a.pt", CPU, FLOAT32)


@pytest.mark.slow
def test_its_export_has_no_graph_of_example_boxes(
    text_alone: Path, teacher: Reference, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    text = read_checkpoint(teacher.folder)
    written = export_segmenter(text_alone, text, tmp_path / "device", PROMPTS, convention="meta")
    assert set(written.bytes) == {"vision", "decoder", "pixels", "text"}
    exported = Segmenter.from_pretrained(tmp_path / "device")
    in_torch = Segmenter.from_pretrained(text_alone, teacher.folder, "cpu")
    ours, theirs = (one.segment(photo, PROMPTS[:2], threshold=0.0) for one in (exported, in_torch))
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-3)
    with pytest.raises(LitetextError, match="no geometry encoder"):
        exported.segment(photo, boxes=[[5, 5, 60, 60]])
