"""Every published checkpoint, at full size on the meta device: all of its keys have a place."""

from __future__ import annotations

import math

import pytest
import torch

from litetext.encoders.layouts import find_layout
from litetext.segment.checkpoint import Sam3Detector
from litetext.segment.convention import META
from litetext.segment.meta_layout import (
    MetaFile,
    detector_config,
    their_place,
    trunk_names,
)
from litetext.segment.sources import is_meta_layout
from litetext.segment.student_trunks import ARCHITECTURES

from .published import efficient_sam3, efficient_sam31, file_of, published_keys

# tensors of each file that neither segmenting images nor its text encoder reads
UNREAD = {
    "meta_sam3_video": 309 + 22 + 6 + 32,  # tracker, its neck, points of the geometry encoder, rotary tables
    "meta_sam3_image": 6 + 32,
    "meta_sam3_image_interactive": 309 + 22 + 6 + 32,
    "meta_sam31_multiplex": 457 + 36 + 6 + 32,
    "authors_sam31_litetext_s0": 457 + 36 + 6 + 32,
}


@pytest.mark.parametrize("name", UNREAD)
def test_every_key_of_a_published_file_has_its_place(name: str) -> None:
    keys = published_keys(name)
    file = file_of(keys)
    assert is_meta_layout(file)
    _fits_exactly(MetaFile(file))
    layout, prefix = find_layout(file, name)
    text = layout.infer(file, prefix, None, name)
    layout.check(file, prefix, text, name)
    detector = {place.key for place in MetaFile(file).places().values() if place.key}
    assert len(keys) - len(detector) - len(layout.expected(text)) == UNREAD[name]


@pytest.mark.parametrize("variant", ARCHITECTURES)
def test_every_key_of_an_efficient_sam3_has_its_place(variant: str) -> None:
    pytest.importorskip("timm")
    meta = MetaFile(file_of(efficient_sam3(variant)))
    assert (meta.architecture, meta.prefix, meta.has_geometry) == (variant, "", False)
    _fits_exactly(meta)


@pytest.mark.parametrize("variant", ARCHITECTURES)
def test_every_key_of_an_efficient_sam31_has_its_place(variant: str) -> None:
    pytest.importorskip("timm")
    meta = MetaFile(file_of(efficient_sam31(variant)))
    assert (meta.architecture, meta.prefix, meta.has_geometry) == (variant, "detector.", True)
    assert meta.tracker_tensors() == 457 + 36
    _fits_exactly(meta)


def test_published_counts_of_keys() -> None:
    """What people count in `efficientsam3_ft/*_repvit.pt`, and in a `stage1_sam3p1` with the same encoder."""
    assert (len(efficient_sam3("repvit-m1.1")), len(efficient_sam31("repvit-m1.1"))) == (1107, 1672)
    parameters = [
        sum(math.prod(shape) for key, (shape, _) in efficient_sam3(variant).items() if "running" not in key) / 1e6
        for variant in ("efficientvit-b1", "repvit-m1.1", "tinyvit-11m")
    ]
    assert parameters == pytest.approx([89.2, 92.7, 95.3], abs=0.1)


def test_the_config_of_published_files_is_transformers_default() -> None:
    from transformers import Sam3Config

    default = Sam3Config()
    for name in ("meta_sam3_video", "meta_sam31_multiplex"):
        for keys in (published_keys(name), {k: v for k, v in published_keys(name).items() if "freqs_cis" not in k}):
            config = detector_config(file_of(keys))
            for part in ("vision_config", "geometry_encoder_config", "detr_encoder_config", "detr_decoder_config"):
                assert getattr(config, part).to_dict() == getattr(default, part).to_dict()


def test_sam31_keeps_its_tracker_apart() -> None:
    assert MetaFile(file_of(published_keys("meta_sam31_multiplex"))).tracker_tensors() == 457 + 36
    assert MetaFile(file_of(published_keys("meta_sam3_image"))).tracker_tensors() == 0


def _fits_exactly(meta: MetaFile) -> None:
    config = detector_config(meta.file)
    config.detector_convention = (META if meta.has_geometry else META.without_geometry()).to_dict()
    with torch.device("meta"):
        expected = Sam3Detector(config).state_dict()
    found = {name: tensor.shape for name, tensor in meta.detector().items()}
    assert found == {name: tuple(tensor.shape) for name, tensor in expected.items()}
    names = trunk_names(meta.architecture)
    for name, place in meta.places().items():
        assert place.key is None or their_place(name, names) == place
