"""The tracker at mini's size: transformers runs it alike, it learns, and what is written is what was trained."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

from litetext import Segmenter
from litetext.errors import LitetextError
from litetext.mini.excerpts import CLIP_FRAMES, EncodedClip, excerpt, mask_ious
from litetext.mini.tracker import Cues, MapStatistics, follow, new_tracker, tracker_config
from litetext.mini.tracker_config import POLICY, TrackerTrainConfig
from litetext.mini.tracker_task import TrackerTask
from litetext.mini.train_tracker import tracker_task, train_tracker, write_mini_with_tracker
from litetext.mini.world import generator
from litetext.segment import decode
from litetext.track.memory_tracker import MemoryTracker

SHORT = TrackerTrainConfig(
    library=2,
    steps=(2, 1),
    frames=(2, 3),
    clips=2,
    objects=2,
    warmup_steps=2,
    held_out=2,
    report_every=1,
    checkpoint_every=1,
    evaluate_every=1000,
)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained("mini", device="cpu", backend="torch")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrackerTask, Path]:
    folder = tmp_path_factory.mktemp("run")
    task = tracker_task(SHORT, device="cpu")
    train_tracker(task, folder)
    return task, folder


def _clip() -> EncodedClip:
    """A square that moves right by a pixel a frame, and another that is seen in the last frames alone."""
    instances = np.zeros((CLIP_FRAMES, 32, 32), np.uint8)
    for frame in range(CLIP_FRAMES):
        instances[frame, 4:14, frame : frame + 10] = 1
        instances[frame, 20:30, 20:30] = 2 * (frame >= 6)
    detected = {key: np.stack([instances[key] == 1, instances[key] == 2]) for key in (0, 3, 6, 9)}
    maps = tuple(torch.arange(CLIP_FRAMES).view(-1, 1, 1, 1).half() for _ in range(3))
    return EncodedClip(maps, instances, 2, detected)


def test_excerpts_run_both_ways_and_start_from_what_is_seen() -> None:
    directions = set()
    for index in range(40):
        one = excerpt(_clip(), generator(1, index), 4, objects=4, detected=0.5)
        assert one is not None
        places = one.maps[0].flatten().int().tolist()
        assert len({later - earlier for earlier, later in itertools.pairwise(places)}) == 1
        directions.add(np.sign(places[1] - places[0]))
        assert len(one.targets) == (2 if places[0] >= 6 else 1)
        for frame, place in enumerate(places):
            assert one.targets[0, frame].nonzero()[1].min() == place
        assert np.array_equal(one.starts, one.targets[:, 0])
    assert directions == {-1, 1}


def test_an_excerpt_of_nothing_is_none() -> None:
    clip = _clip()
    hidden = replace(clip, instances=np.zeros_like(clip.instances))
    assert excerpt(hidden, generator(1, 0), 4, objects=4, detected=0) is None


def test_mask_ious() -> None:
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2] = True
    others = np.zeros((2, 4, 4), bool)
    others[0, 1:3] = True
    assert mask_ious(masks, others).tolist() == [pytest.approx(1 / 3), 0]


@torch.no_grad()
def test_transformers_own_session_says_the_same(segmenter: Segmenter) -> None:
    backend: Any = segmenter.backend
    torch.manual_seed(0)
    pixels = torch.rand(5, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pyramid = decode.encode_images(backend.detector, pixels)
    model: Any = new_tracker(tracker_config(backend.detector.config), MapStatistics.of(pyramid.maps))
    tracker = MemoryTracker(model, None, object_batch=1, image_sized=True)
    frames = [tracker.features(one) for one in pyramid.images()]
    mask = np.zeros((128, 128), bool)
    mask[30:80, 40:90] = True
    session = Sam3TrackerVideoInferenceSession(video=pixels, video_height=128, video_width=128, dtype=torch.float32)
    session.add_mask_inputs(session.obj_id_to_idx(1), 0, torch.from_numpy(mask)[None, None].float())
    session.obj_with_new_inputs.append(1)
    _flatten_pointers(model)
    theirs = []
    for index, frame in enumerate(frames):
        levels = [level.flatten(2).permute(2, 0, 1) for level in frame.fine]
        session.cache.cache_vision_features(
            index, {"vision_feats": [*levels, frame.top], "vision_pos_embeds": [None, None, frame.positions]}
        )
        theirs.append(model(session, frame_idx=index).pred_masks)
    ours = {frame: found.logits for frame, _, found in follow(tracker, frames, Cues([0], {0: {0: mask}}))}
    assert sorted(ours) == [1, 2, 3, 4]
    for frame, logits in ours.items():
        torch.testing.assert_close(logits[None], theirs[frame], rtol=1e-3, atol=1e-3)


def _flatten_pointers(model: Any) -> None:
    """Flatten object pointers [1, 1, C]: transformers 5.24 does so only where they are wider than a memory."""
    theirs = model._process_object_pointers
    model._process_object_pointers = lambda offsets, tokens, *others: theirs(
        offsets, [token.flatten(0, 1) for token in tokens], *others
    )


def test_objects_in_a_batch_are_followed_as_they_are_alone(trained: tuple[TrackerTask, Path]) -> None:
    task, _ = trained
    excerpts = task._excerpts(generator(2, 0), 3)
    with torch.no_grad():
        together = [found.logits for _, _, found in _followed(task, excerpts)]
        alone = [[found.logits for _, _, found in _followed(task, [one])] for one in excerpts]
    for frame, logits in enumerate(together):
        torch.testing.assert_close(logits, torch.cat([one[frame] for one in alone]), rtol=1e-3, atol=1e-3)


def _followed(task: TrackerTask, excerpts: list[Any]) -> list[Any]:
    starts = np.concatenate([one.starts for one in excerpts])
    cues = Cues([0] * len(starts), {0: dict(enumerate(starts))})
    return list(follow(task.tracker, task._frames(excerpts), cues))


def test_every_part_learns(segmenter: Segmenter) -> None:
    task = tracker_task(replace(SHORT, boxed=1.0, corrected=1.0, frames=(3, 3)), device="cpu")
    before = {name: value.clone() for name, value in task.model.named_parameters()}
    losses = [task.train_step(step) for step in range(2)]
    assert all(torch.isfinite(value) for one in losses for value in one.values())
    still = {name for name, value in task.model.named_parameters() if torch.equal(value, before[name])}
    # what the tracker reads of three frames is not all that it has: these are for images and for other prompts
    unread = ("no_memory_positional_encoding", "point_embed", "not_a_point_embed", "occlusion", "no_object_pointer")
    assert {name for name in still if not any(part in name for part in unread)} <= _seldom_read(still)


def _seldom_read(names: set[str]) -> set[str]:
    """Parts of which a given frame reads one: mask tokens by the best predicted IoU, memories by their age."""
    return {name for name in names if "output_hypernetworks_mlps" in name or "mask_tokens" in name}


def test_a_run_that_was_stopped_ends_where_an_undisturbed_one_does(
    trained: tuple[TrackerTask, Path], tmp_path: Path
) -> None:
    task, _ = trained

    def stop(report: Any) -> None:
        if report.step == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train_tracker(tracker_task(SHORT, device="cpu"), tmp_path, on_report=stop)
    again = tracker_task(SHORT, device="cpu")
    train_tracker(again, tmp_path)
    for name, tensor in task.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_a_checkpoint_belongs_to_its_recipe(trained: tuple[TrackerTask, Path]) -> None:
    _, folder = trained
    with pytest.raises(LitetextError, match="learning_rate"):
        train_tracker(tracker_task(replace(SHORT, learning_rate=1e-4), device="cpu"), folder)


def test_what_is_written_is_what_was_trained(trained: tuple[TrackerTask, Path], tmp_path: Path) -> None:
    from litetext import VideoSegmenter

    task, _ = trained
    facts = {"steps": 3, "seed": 0, "figures": task.evaluate()}
    write_mini_with_tracker(task, tmp_path / "mini", facts)
    loaded = VideoSegmenter.from_pretrained(tmp_path / "mini", device="cpu")
    assert loaded.policy.memory and loaded.tracker is not None
    assert loaded.tracker.model.config.image_size == 128
    assert loaded.policy.recondition_every == 1 and loaded.policy.recondition_iou == POLICY["high_iou_thresh"]
    weights = loaded.tracker.model.state_dict()
    for name, tensor in task.model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor.half().float(), msg=name)
    frames = np.random.default_rng(0).integers(0, 255, (3, 128, 128, 3), np.uint8)
    assert loaded.track(list(frames), ["banana"]).frame_count == 3
    assert "0.46 M" in (tmp_path / "mini" / "tracker" / "README.md").read_text()


def test_the_recipe_can_be_scaled() -> None:
    assert replace(SHORT, steps=(400, 200, 200)).scaled_to(80).steps == (40, 20, 20)
    assert TrackerTrainConfig().frames_at(0) == 4
    assert TrackerTrainConfig().frames_at(10**6) == 8
