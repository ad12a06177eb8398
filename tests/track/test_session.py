"""Sessions: on the embedded model, whose detections are linked, and on a small random model with a memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from litetext import LitetextError
from litetext.data import samples
from litetext.images import read_image
from litetext.mini.facts import shipped_concepts
from litetext.mini.motion import MotionWorld
from litetext.mini.world import World, generator
from litetext.results import FrameResult, Instances, Masklets, Masks
from litetext.track import VideoSegmenter, named_policy
from litetext.track.detection_session import DetectionSession
from litetext.track.policy import BY_DETECTION

from .conftest import FRAME_SIZE, VideoReference, clip, save_video_reference

OWLS = samples()[1]


@pytest.fixture(scope="module")
def mini() -> VideoSegmenter:
    return VideoSegmenter.from_pretrained("mini", device="cpu")


@pytest.fixture(scope="module")
def owls() -> list[NDArray[np.uint8]]:
    """A scene with owls that drifts to the right."""
    image = read_image(OWLS.image)
    return [np.roll(image, 3 * index, axis=1) for index in range(10)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> VideoReference:
    return save_video_reference("s0", tmp_path_factory.mktemp("video"), seed=1)


@pytest.fixture(scope="module")
def remembering(reference: VideoReference) -> VideoSegmenter:
    return VideoSegmenter.from_pretrained(reference.folder, policy="no-temporal", device="cpu")


def test_linked_detections_keep_their_ids(mini: VideoSegmenter, owls: list[NDArray[np.uint8]]) -> None:
    found = mini.track(owls, ["an owl", "the purple owl"])
    assert found.frame_count == len(owls)
    assert found.labels.count("an owl") == 3 and found.labels.count("the purple owl") == 1
    for row in range(len(found)):
        left = found.boxes[found.objects == row, 0]
        assert len(left) == len(owls) and np.all(np.diff(left) > -1)  # they drift with the scene


def test_ids_do_not_follow_the_order_of_detections(mini: VideoSegmenter, owls: list[NDArray[np.uint8]]) -> None:
    frames = list(mini.stream(owls, ["an owl"]))
    place_of = {}
    for frame in frames:
        for id, box in zip(frame.object_ids.tolist(), frame.instances.boxes, strict=True):
            assert abs(place_of.get(id, box[0]) - box[0]) < 12
            place_of[id] = box[0]


def test_weak_detections_continue_tracks_and_start_none() -> None:
    session = DetectionSession(BY_DETECTION)
    ids = [session.step(frame, _squares([0.9, 0.3] if frame == 0 else [0.3, 0.3])).object_ids for frame in range(5)]
    assert [one.tolist() for one in ids] == [[0]] * 5


def test_an_added_mask_lets_no_weak_detection_start_a_track() -> None:
    session = DetectionSession(BY_DETECTION)
    weak = _squares([0.9, 0.3])
    session.step(0, weak)
    session.add(_squares([1.0], left=[24]).masks, "square")
    ids = {id for frame in range(1, 4) for id in session.step(frame, weak).object_ids.tolist()}
    assert ids == {0}  # the added one is not seen again


@given(st.lists(st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.9]), min_size=4, max_size=4), max_size=40))
def test_what_is_below_the_thresholds_changes_nothing(frames: list[list[float]]) -> None:
    every, needed = DetectionSession(BY_DETECTION), DetectionSession(BY_DETECTION)
    for frame, scores in enumerate(frames):
        found = _squares(scores, prompts=("square", "box"))
        least = np.array(needed.thresholds(found.prompts))[found.prompt_index]
        seen = every.step(frame, found.filter(BY_DETECTION.weak_threshold))
        needed_only = needed.step(frame, found[np.flatnonzero(found.scores >= least)])
        assert _values(needed_only) == _values(seen)


def test_masks_of_weak_detections_are_decoded_for_tracked_prompts_alone(
    mini: VideoSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = MotionWorld(World(shipped_concepts(), size=128))
    clip = world.clip(generator(5, 0), np.linspace(0, 1, 16))
    prompts = [pair.text for pair in world.pairs(clip, generator(5, 1), 6)]
    detect, found = mini.segmenter.detect, []

    def noted(*arguments: Any, **options: Any) -> Instances:
        found.append(detect(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(mini.segmenter, "detect", noted)
    needed = [_values(frame) for frame in mini.stream(clip.frames, prompts)]
    decoded = sum(map(len, found))
    monkeypatch.setattr(DetectionSession, "thresholds", lambda self, names: [self.policy.weak_threshold] * len(names))
    assert [_values(frame) for frame in mini.stream(clip.frames, prompts)] == needed
    assert len({id for _, ids, *_ in needed for id in ids}) > 1
    assert decoded < sum(map(len, found)) - decoded


def _values(frame: FrameResult) -> tuple[Any, ...]:
    found = frame.instances
    arrays = (frame.object_ids, found.prompt_index, found.scores, found.boxes, found.presence)
    return frame.frame_index, *(array.tolist() for array in arrays), found.masks.counts


def _squares(
    scores: list[float], left: Sequence[int] = (4, 40, 4, 40), prompts: tuple[str, ...] = ("square",)
) -> Instances:
    """Squares of 16 pixels at the given places, two a prompt."""
    corners = left[: len(scores)]
    boxes = np.array([[corner, corner, corner + 16, corner + 16] for corner in corners], np.float32)
    masks = np.zeros((len(scores), 64, 64), bool)
    for mask, corner in zip(masks, corners, strict=True):
        mask[corner : corner + 16, corner : corner + 16] = True
    return Instances(
        size=(64, 64),
        prompts=prompts,
        presence=np.ones(len(prompts), np.float32),
        boxes=boxes,
        masks=Masks.from_dense(masks),
        scores=np.array(scores, np.float32),
        prompt_index=np.arange(len(scores)) // 2,
    )


@pytest.mark.parametrize("model", ["mini", "remembering"])
def test_prompts_come_and_go(model: str, request: pytest.FixtureRequest, owls: list[NDArray[np.uint8]]) -> None:
    segmenter: VideoSegmenter = request.getfixturevalue(model)
    frames = owls if model == "mini" else clip(10, seed=1)
    session = segmenter.session(["the purple owl", "fire truck"])
    first = session.step(frames[0])[0]
    added = session.add_prompt("an owl")
    assert session.add_prompt("an owl") == added == 2
    second = session.step(frames[1])[0]
    assert set(first.object_ids.tolist()) & set(second.object_ids.tolist())
    before = {id for id, label in zip(second.object_ids, second.instances.labels, strict=True) if label == "an owl"}
    session.drop_prompt("the purple owl")
    third = session.step(frames[2])[0]
    assert "the purple owl" not in third.instances.labels
    after = {id for id, label in zip(third.object_ids, third.instances.labels, strict=True) if label == "an owl"}
    assert before & after or model == "remembering"  # random weights may find no owl
    assert session.add_prompt("the purple owl") == 3  # a new prompt: the old one's tracks are gone


@pytest.mark.parametrize("model", ["mini", "remembering"])
def test_a_mask_starts_a_track(model: str, request: pytest.FixtureRequest, owls: list[NDArray[np.uint8]]) -> None:
    segmenter: VideoSegmenter = request.getfixturevalue(model)
    frames = owls if model == "mini" else clip(10, seed=1)
    session = segmenter.session(["an owl"])
    shown = session.step(frames[0])[0]
    if model == "mini":
        mask = shown.instances.masks[0]
    else:
        mask = np.zeros(FRAME_SIZE, bool)
        mask[20:40, 20:50] = True
    id = session.add_object("mine", mask=mask)
    assert id not in shown.object_ids
    following = session.step(frames[1])[0]
    if model == "remembering":
        assert "mine" in dict(zip(following.object_ids.tolist(), following.instances.labels, strict=True)).get(
            id, "mine"
        )
    session.remove(id)
    assert id not in session.step(frames[2])[0].object_ids


def test_a_box_starts_a_track(remembering: VideoSegmenter) -> None:
    frames = clip(4, seed=1)
    session = remembering.session(["white dog"])
    session.step(frames[0])
    assert isinstance(session.add_object("mine", box=[10, 10, 50, 40]), int)
    session.step(frames[1])


def test_a_detection_is_chosen_by_a_box(mini: VideoSegmenter, owls: list[NDArray[np.uint8]]) -> None:
    session = mini.session(["an owl"])
    box = session.step(owls[0])[0].instances.boxes[0]
    assert session.add_object("the purple owl", box=box) > 0
    with pytest.raises(LitetextError, match="finds no 'an owl' in the box"):
        session.add_object("an owl", box=[0, 0, 5, 5])


@pytest.mark.parametrize("name", ["mini", "remembering"])
def test_what_a_session_refuses(name: str, request: pytest.FixtureRequest) -> None:
    segmenter: VideoSegmenter = request.getfixturevalue(name)
    session = segmenter.session(["dog"])
    with pytest.raises(LitetextError, match="give the frame first"):
        session.add_object("dog", box=[0, 0, 5, 5])
    session.step(np.zeros((*FRAME_SIZE, 3), np.uint8))
    for pointing, message in (
        ({}, "one of the two"),
        ({"mask": np.ones((3, 3), bool)}, "the frame is"),
        ({"box": [5, 5, 5, 9]}, "no pixel"),
        ({"box": [1, 2, 3]}, "x1, y1, x2, y2"),
    ):
        with pytest.raises(LitetextError, match=message):
            session.add_object("dog", **pointing)
    with pytest.raises(LitetextError, match="there is no track 99"):
        session.remove(99)
    with pytest.raises(LitetextError, match="'cat' is not asked"):
        session.drop_prompt("cat")
    with pytest.raises(LitetextError, match="frame 1 is 9x7, the frames before are"):
        session.step(np.zeros((7, 9, 3), np.uint8))


def test_frames_wait_for_the_hotstart_delay(reference: VideoReference) -> None:
    segmenter = VideoSegmenter.from_pretrained(reference.folder, device="cpu")
    assert segmenter.policy.name == "full" and segmenter.policy.hotstart_delay == 5  # the checkpoint's own number
    session = segmenter.session(["white dog"])
    counts = [len(session.step(frame)) for frame in clip(7, seed=1)]
    assert counts == [0, 0, 0, 0, 1, 1, 1]
    assert [frame.frame_index for frame in session.finish()] == [3, 4, 5, 6]


def test_tracks_are_collected(remembering: VideoSegmenter) -> None:
    frames = clip(5, seed=1)
    found = remembering.track(frames, ["white dog", "red car"])
    assert isinstance(found, Masklets) and found.size == FRAME_SIZE and found.prompts == ("white dog", "red car")
    assert found.frame_count == 5 and len(found)


def test_a_model_without_a_tracker_links_detections(tmp_path: Path) -> None:
    assert VideoSegmenter.from_pretrained("mini", device="cpu").policy == named_policy("by-detection")
    with pytest.raises(LitetextError, match="has no memory tracker"):
        VideoSegmenter.from_pretrained("mini", policy="full", device="cpu")
    with pytest.raises(LitetextError, match="policy"):
        VideoSegmenter.from_pretrained("mini", policy="best", device="cpu")
