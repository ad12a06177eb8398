"""Memory trackers out of the files that people have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Sam3ImageProcessor, Sam3TrackerVideoConfig, Sam3VideoConfig, Sam3VideoModel

from litetext import LitetextError
from litetext.encoders.tensorfile import lazily, open_tensors, read_all
from litetext.segment.meta_layout import MetaFile, detector_config
from litetext.segment.tracker_layout import tracker_config, tracker_from_meta, tracker_to_meta
from litetext.segment.tracker_names import tracker_among
from litetext.track import VideoSegmenter
from litetext.track.loading import has_tracker
from litetext.track.multiplex import (
    MultiplexTracker,
    check_multiplex_tracker,
    load_multiplex_tracker,
)

from ..segment.conftest import save_reference
from ..segment.published import file_of, published_keys
from ..segment.test_meta_layout import _save_pt, _save_safetensors, meta_checkpoint
from .conftest import VideoReference, clip, save_video_reference

PROMPTS = ["white dog", "red car"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> VideoReference:
    return save_video_reference("teacher", tmp_path_factory.mktemp("video"), seed=1)


def _of_the_tracker(key: str) -> bool:
    return key.startswith(("tracker.", "detector.backbone.vision_backbone.sam2_convs."))


def test_every_key_of_sam3s_tracker_has_its_place() -> None:
    meta, ours = published_keys("meta_sam3_video"), published_keys("transformers_sam3_video")
    wanted = {key: shape for key, (shape, _) in ours.items() if key.startswith("tracker_")}
    tensors, _ = tracker_from_meta(MetaFile(file_of(meta)).rest())
    assert {key: value.shape for key, value in tensors.items()} == wanted
    assert sum(map(_of_the_tracker, meta)) == 331 and len(wanted) == 329


def test_the_config_of_sam3s_tracker_is_transformers_default() -> None:
    file, default = file_of(published_keys("meta_sam3_video")), Sam3TrackerVideoConfig()
    read = tracker_config(tracker_from_meta(MetaFile(file).rest())[0], detector_config(file))
    for name in ("image_size", "num_maskmem", "memory_attention_rope_feat_sizes", "memory_fuser_num_layers"):
        assert getattr(read, name) == getattr(default, name), name
    for part in ("prompt_encoder_config", "mask_decoder_config"):
        assert getattr(read, part).to_dict() == getattr(default, part).to_dict(), part
    numbers = {key: value for key, value in default.to_dict().items() if isinstance(value, int | float)}
    assert {key: getattr(read, key) for key in numbers} == numbers


def test_sam31s_tracker_is_another() -> None:
    assert tracker_among(file_of(published_keys("meta_sam3_video"))) == "memory"
    assert tracker_among(file_of(published_keys("transformers_sam3_video"))) == "memory"
    assert tracker_among(file_of(published_keys("meta_sam31_multiplex"))) == "multiplex"
    assert tracker_among(file_of(published_keys("meta_sam3_image"))) is None


def test_every_key_of_sam31s_tracker_has_its_module() -> None:
    file = file_of(published_keys("meta_sam31_multiplex"))
    assert tracker_among(file) == "multiplex"
    check_multiplex_tracker(file)
    with torch.device("meta"):
        assert len(MultiplexTracker().state_dict()) == 457


def test_sam31_is_tracked_by_detection_and_says_why(reference: VideoReference, tmp_path: Path) -> None:
    torch.manual_seed(0)
    multiplex = {f"tracker.model.{key}": value for key, value in MultiplexTracker().state_dict().items()}
    tensors = {
        key: value for key, value in meta_checkpoint(reference.model.detector_model).items() if key[:8] != "tracker."
    }
    path = tmp_path / "sam3.1_multiplex.pt"
    torch.save(tensors | multiplex, path)
    assert torch.equal(
        load_multiplex_tracker(open_tensors(path)).no_obj_ptr_linear.weight,
        multiplex["tracker.model.no_obj_ptr_linear.weight"],
    )
    assert VideoSegmenter.from_pretrained(path, text=reference.folder, device="cpu").policy.name == "by-detection"
    with pytest.raises(LitetextError, match=r"multiplex tracker, whole, .* does not run"):
        VideoSegmenter.from_pretrained(path, text=reference.folder, policy="full", device="cpu")
    del multiplex["tracker.model.maskmem_backbone.fuser.layers.1.gamma"]
    torch.save(tensors | multiplex, path)
    with pytest.raises(LitetextError, match=r"fuser\.layers\.1\.gamma is missing"):
        VideoSegmenter.from_pretrained(path, text=reference.folder, policy="full", device="cpu")


def _meta_tracker(model: Any) -> dict[str, Tensor]:
    """The tracker's state under Meta's names, all of which are published ones."""
    state = {f"tracker_model.{key}": value for key, value in model.tracker_model.state_dict().items()}
    state |= {f"tracker_neck.{key}": value for key, value in model.tracker_neck.state_dict().items()}
    found = {key: value.clone() for key, value in read_all(tracker_to_meta(lazily(state))).items()}
    assert set(found) <= set(published_keys("meta_sam3_video"))
    return found


@pytest.mark.parametrize("save", [_save_safetensors, _save_pt])
def test_metas_file_tracks_as_transformers_folder(
    reference: VideoReference, tmp_path: Path, save: Callable[[dict[str, Tensor], Path], Path]
) -> None:
    path = save(meta_checkpoint(reference.model.detector_model) | _meta_tracker(reference.model), tmp_path)
    assert has_tracker(path)
    folder = VideoSegmenter.from_pretrained(reference.folder, policy="no-temporal", convention="meta", device="cpu")
    # a file without a config says nothing of thresholds
    file = VideoSegmenter.from_pretrained(
        path, text=reference.folder, policy=folder.policy, convention="meta", device="cpu"
    )
    file.policy = folder.policy
    frames = clip(6, seed=1)
    for one, other in zip(file.stream(frames, PROMPTS), folder.stream(frames, PROMPTS), strict=True):
        assert one.object_ids.tolist() == other.object_ids.tolist()
        assert one.instances.masks.counts == other.instances.masks.counts


def test_a_litetext_detector_borrows_sam3s_tracker(tmp_path: Path) -> None:
    """Published SAM3-LiteText holds no tracker; the one that comes with SAM3 reads the same vision encoder."""
    whole = save_video_reference("s0", tmp_path / "video", seed=1)
    alone = tmp_path / "image"
    whole.model.detector_model.save_pretrained(alone)
    whole.processor.save_pretrained(alone)
    with pytest.raises(LitetextError, match="has no memory tracker"):
        VideoSegmenter.from_pretrained(alone, policy="no-temporal", device="cpu")
    assert VideoSegmenter.from_pretrained(alone, device="cpu").policy.name == "by-detection"
    options: dict[str, Any] = {"policy": "no-temporal", "device": "cpu"}
    borrowed = VideoSegmenter.from_pretrained(alone, tracker=whole.folder, convention="meta", **options)
    own = VideoSegmenter.from_pretrained(whole.folder, convention="meta", **options)
    frames = clip(6, seed=1)
    for one, other in zip(borrowed.stream(frames, PROMPTS), own.stream(frames, PROMPTS), strict=True):
        assert one.object_ids.tolist() == other.object_ids.tolist()
        assert one.instances.masks.counts == other.instances.masks.counts


def test_a_tracker_of_another_vision_encoder_is_refused(reference: VideoReference, tmp_path: Path) -> None:
    other = save_reference("teacher", tmp_path / "narrow").folder
    with pytest.raises(LitetextError, match="tracker"):
        VideoSegmenter.from_pretrained(other, tracker=reference.folder, device="cpu")


def test_transformers_opens_what_it_saved_itself(reference: VideoReference) -> None:
    """The folder that the other tests read is one that transformers reads too."""
    config = Sam3VideoConfig.from_pretrained(reference.folder)
    assert isinstance(config.detector_config.text_config.hidden_size, int)
    loaded = Sam3VideoModel.from_pretrained(reference.folder)
    assert torch.equal(loaded.tracker_model.no_object_pointer, reference.model.tracker_model.no_object_pointer)


@pytest.mark.slow
def test_a_tracker_shares_the_detectors_image_size(reference: VideoReference, tmp_path: Path) -> None:
    config = Sam3VideoConfig.from_pretrained(reference.folder)
    config.image_size = 56
    small = Sam3VideoModel.from_pretrained(reference.folder, config=config)
    small.save_pretrained(tmp_path)
    Sam3ImageProcessor(size={"height": 56, "width": 56}).save_pretrained(tmp_path)
    frames = clip(8, seed=1)
    ours, wanted = (
        list(VideoSegmenter.from_pretrained(folder, device="cpu", image_size=size).stream(frames, PROMPTS))
        for folder, size in ((reference.folder, 56), (tmp_path, None))
    )
    assert sum(len(frame.object_ids) for frame in ours) > 0
    for one, other in zip(ours, wanted, strict=True):
        assert one.object_ids.tolist() == other.object_ids.tolist()
        assert (one.instances.masks != other.instances.masks).mean() < 1e-4 if len(one.object_ids) else True
