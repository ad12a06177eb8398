"""Sessions: on the embedded model, whose detections are linked, and on a small random model with a memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from litetext import LitetextError
from litetext.data import samples
from litetext.images import read_image
from litetext.results import Instances, Masklets, Masks
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


def _squares(scores: list[float]) -> Instances:
    """Two squares far from each other."""
    masks = np.zeros((2, 64, 64), bool)
    masks[0, 4:20, 4:20] = masks[1, 40:56, 40:56] = True
    return Instances(
        size=(64, 64),
        prompts=("square",),
        presence=np.ones(1, np.float32),
        boxes=np.array([[4, 4, 20, 20], [40, 40, 56, 56]], np.float32),
        masks=Masks.from_dense(masks),
        scores=np.array(scores, np.float32),
        prompt_index=np.zeros(2, np.int64),
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
    for given, message in (
        ({}, "one of the two"),
        ({"mask": np.ones((3, 3), bool)}, "the frame is"),
        ({"box": [5, 5, 5, 9]}, "no pixel"),
        ({"box": [1, 2, 3]}, "x1, y1, x2, y2"),
    ):
        with pytest.raises(LitetextError, match=message):
            session.add_object("dog", **given)
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
