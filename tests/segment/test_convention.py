"""Detector conventions: which one a checkpoint runs under, and what each changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import interpolate

from litetext import LitetextError, Segmenter
from litetext.data import resolve
from litetext.json_files import read_json
from litetext.segment import decode
from litetext.segment.checkpoint import load_detector
from litetext.segment.convention import CONVENTIONS, KEY, META, TRANSFORMERS, DetectorConvention, convention_of

from .conftest import PROMPTS, Reference
from .test_loading import Constant
from .test_meta_layout import meta_checkpoint

CPU, FLOAT32 = torch.device("cpu"), torch.float32


@pytest.fixture
def silent(teacher: Reference, tmp_path: Path) -> Path:
    """A transformers folder as others publish it, which says nothing of a detector convention."""
    folder = Path(shutil.copytree(teacher.folder, tmp_path / "model"))
    _store(folder, None)
    return folder


def _store(folder: Path, convention: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.pop(KEY, None)
    if convention is not None:
        config[KEY] = convention
    (folder / "config.json").write_text(json.dumps(config))


def _vit_eps(detector: Any) -> set[float]:
    return {module.eps for module in detector.vision_encoder.backbone.modules() if isinstance(module, nn.LayerNorm)}


def test_published_files_run_as_meta_runs_them(teacher: Reference, silent: Path, tmp_path: Path) -> None:
    torch.save({"model": meta_checkpoint(teacher.model)}, tmp_path / "sam3.pt")
    for source in (silent, tmp_path / "sam3.pt"):
        detector = load_detector(source, CPU, FLOAT32)
        assert detector.convention == META
        assert _vit_eps(detector) == {1e-5}
        ported = load_detector(source, CPU, FLOAT32, "transformers")
        assert ported.convention == TRANSFORMERS
        assert _vit_eps(ported) == {1e-6}


def test_a_folder_says_how_it_is_run(silent: Path, tmp_path: Path) -> None:
    own = DetectorConvention("own", "always", 1e-3, "probabilities")
    for stored, wanted in (("transformers", TRANSFORMERS), (META.to_dict(), META), (own.to_dict(), own)):
        _store(silent, stored)
        detector = load_detector(silent, CPU, FLOAT32)
        assert detector.convention == wanted
        detector.save_pretrained(tmp_path / "again")
        assert convention_of(read_json(tmp_path / "again" / "config.json")[KEY], "again") == wanted
    assert _vit_eps(detector) == {1e-3}
    assert load_detector(silent, CPU, FLOAT32, "meta").convention == META


def test_mini_has_its_own() -> None:
    stored = read_json(resolve("mini") / "segmenter" / "config.json")[KEY]
    assert convention_of(stored, "mini") == DetectorConvention("mini", "with boxes", None, "probabilities")
    assert Segmenter.from_pretrained("mini", Constant(), device="cpu").backend.convention.name == "mini"


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ("sam", "detector convention 'sam'; choose one of: meta, transformers"),
        ({"name": "own"}, "the fields name, cls_token, vit_layer_norm_eps, mask_resampling and, if you will"),
        (META.to_dict() | {"cls_token": "seldom"}, "unknown cls_token 'seldom'"),
        (
            META.without_geometry().to_dict(),
            "'meta, text alone' never reads a geometry encoder, but the",
        ),
        (META.to_dict() | {"mask_resampling": []}, "unknown mask_resampling"),
        (META.to_dict() | {"vit_layer_norm_eps": "small"}, "must be a number or null, got 'small'"),
        (META.to_dict() | {"suppression": 0}, "suppression must be a share above 0"),
        (META.to_dict() | {"supression": 0.5}, "or the fields name, cls_token"),
        (7, "give meta or transformers"),
    ],
)
def test_what_is_not_a_convention_is_refused(silent: Path, stored: Any, message: str) -> None:
    _store(silent, stored)
    with pytest.raises(LitetextError, match=message) as refused:
        Segmenter.from_pretrained(silent, Constant(), device="cpu")
    assert "model/config.json: detector_convention: " in str(refused.value)


def test_a_convention_stored_before_suppression_existed_is_read() -> None:
    stored = {name: value for name, value in META.to_dict().items() if name != "suppression"}
    assert convention_of(stored, "config.json") == META


def test_an_unknown_name_is_refused(silent: Path) -> None:
    with pytest.raises(LitetextError, match="unknown detector convention 'sam'; choose one of: meta, transformers"):
        Segmenter.from_pretrained(silent, Constant(), device="cpu", convention="sam")


def test_the_cls_token_stands_behind_text_alone(teacher: Reference, photo: NDArray[np.uint8]) -> None:
    """It is what transformers' own geometry encoder makes of no boxes, for every image of a batch and every prompt."""
    segmenter = Segmenter.from_pretrained(teacher.folder, device="cpu", convention="meta")
    detector = segmenter.backend.detector
    images = segmenter.encode_images([photo, photo[::-1]], image_batch=2)
    text = segmenter.text.encode(PROMPTS[:3]).to_torch()
    for image in images:
        pyramid = image.state
        with torch.no_grad():
            wanted = detector.geometry_encoder(
                box_embeddings=torch.zeros(1, 0, 4),
                box_mask=torch.zeros(1, 0, dtype=torch.bool),
                box_labels=torch.zeros(1, 0, dtype=torch.long),
                img_feats=pyramid.maps,
                img_pos_embeds=pyramid.positions,
            ).last_hidden_state
            found = decode.detect(detector, pyramid, text)
        torch.testing.assert_close(pyramid.cls_token, wanted, atol=1e-6, rtol=0)
        assert torch.equal(found.prompt[:, -1:], pyramid.cls_token.expand(3, -1, -1)) and found.valid[:, -1].all()
    assert not torch.allclose(images[0].state.cls_token, images[1].state.cls_token, atol=1e-3)


def test_with_boxes_the_conventions_agree_but_for_eps(teacher: Reference, photo: NDArray[np.uint8]) -> None:
    found, wanted = (
        Segmenter.from_pretrained(teacher.folder, device="cpu", convention=convention).segment(
            photo, PROMPTS[:2], [None, [[5, 5, 60, 60]]], threshold=0.0
        )
        for convention in CONVENTIONS
    )
    np.testing.assert_allclose(found[PROMPTS[1]].scores, wanted[PROMPTS[1]].scores, atol=2e-3)
    assert np.abs(found[PROMPTS[0]].scores - wanted[PROMPTS[0]].scores).max() > 1e-2


@pytest.mark.parametrize("resampling", ["logits", "probabilities"])
def test_masks_are_resized_as_the_convention_says(
    teacher: Reference, photo: NDArray[np.uint8], resampling: Any
) -> None:
    convention = DetectorConvention("own", "with boxes", None, resampling)
    segmenter = Segmenter.from_pretrained(teacher.folder, device="cpu", convention=convention)
    features = segmenter.encode_image(photo)
    found = segmenter.detect(features, "dog", threshold=0.0)
    detections = segmenter.backend.detect(
        features.state, segmenter.backend.prepare_text(segmenter.text.encode(["dog"]))
    )
    order = np.argsort(-detections.scores[0], kind="stable")
    logits = torch.from_numpy(segmenter.backend.decode_masks(features.state, detections, 0, order))

    def resized(maps: torch.Tensor) -> NDArray[np.float32]:
        return interpolate(maps[None], photo.shape[:2], mode="bilinear", align_corners=False)[0].numpy()

    masks = {"logits": resized(logits) > 0, "probabilities": resized(logits.sigmoid()) > 0.5}
    assert (found.masks.dense() != masks[resampling]).mean() < 1e-5
    assert (masks["logits"] != masks["probabilities"]).mean() > 1e-4, "the convention must matter in this test"
