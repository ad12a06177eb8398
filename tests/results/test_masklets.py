"""Tracks of a video: gathered from a stream, taken apart again, and written as VEval files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from litetext import Instances, LitetextError
from litetext.evaluate import evaluate_videos
from litetext.results import FrameResult, Masklets, Masks
from litetext.results.formats import veval
from litetext.results.formats.veval import Video, read_video_predictions, read_video_truth

SIZE = (20, 30)
PROMPTS = ("dog", "cat", "red car")


def _frame(index: int, objects: dict[int, tuple[str, int, float]]) -> FrameResult:
    """Squares of 4 pixels: object id -> its prompt, its left side, its score."""
    boxes = np.array([[x, 5, x + 4, 9] for _, x, _ in objects.values()], np.float32).reshape(-1, 4)
    dense = np.zeros((len(objects), *SIZE), bool)
    for mask, (_, x, _) in zip(dense, objects.values(), strict=True):
        mask[5:9, x : x + 4] = True
    instances = Instances(
        SIZE,
        PROMPTS,
        np.ones(3, np.float32),
        boxes,
        Masks.from_dense(dense, SIZE),
        np.array([score for *_, score in objects.values()], np.float32),
        np.array([PROMPTS.index(prompt) for prompt, *_ in objects.values()], np.int64),
    )
    return FrameResult(index, np.array(list(objects), np.int64), instances)


def _video() -> Iterator[FrameResult]:
    yield _frame(0, {7: ("dog", 2, 0.9)})
    yield _frame(1, {7: ("dog", 4, 0.7), 3: ("dog", 20, 0.5), 9: ("red car", 10, 0.6)})
    yield _frame(3, {3: ("dog", 22, 0.9), 9: ("red car", 12, 0.8)})


def test_frames_are_gathered_and_come_back() -> None:
    found = Masklets.collect(_video(), frame_count=5)
    assert len(found) == 3 and found.frame_count == 5
    assert found.object_ids.tolist() == [7, 3, 9] and found.labels == ["dog", "dog", "red car"]
    np.testing.assert_allclose(found.scores, [0.8, 0.7, 0.7], atol=1e-6)
    assert found.frames.tolist() == [0, 1, 1, 1, 3, 3] and found.objects.tolist() == [0, 0, 1, 2, 1, 2]
    assert repr(found) == "Masklets(30x20, 5 frames, {'dog': 2, 'cat': 0, 'red car': 1})"
    frames = list(found.stream())
    assert [len(frame.instances) for frame in frames] == [1, 3, 0, 2, 0]
    for frame, wanted in zip([frames[0], frames[1], frames[3]], _video(), strict=True):
        assert frame.object_ids.tolist() == wanted.object_ids.tolist()
        assert frame.instances.masks.counts == wanted.instances.masks.counts
        assert frame.instances.scores.tolist() == wanted.instances.scores.tolist()
        assert frame.instances.labels == wanted.instances.labels
    again = Masklets.collect(found.stream())
    assert again.masks.counts == found.masks.counts and again.scores.tolist() == found.scores.tolist()


def test_some_of_the_objects() -> None:
    found = Masklets.collect(_video())
    cars = found[[label == "red car" for label in found.labels]]
    assert cars.object_ids.tolist() == [9] and cars.frames.tolist() == [1, 3] and cars.frame_count == 4
    swapped = found[[2, 0]]
    assert swapped.object_ids.tolist() == [9, 7] and swapped.objects.tolist() == [1, 1, 0, 0]
    assert swapped.frame(1).object_ids.tolist() == [7, 9]
    assert len(found[[]]) == 0 and len(found[:1].masks) == 2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(LitetextError, match="no frame to collect"):
        Masklets.collect([])
    with pytest.raises(LitetextError, match="rising order"):
        Masklets.collect([_frame(2, {}), _frame(2, {})])
    with pytest.raises(LitetextError, match="object 7 is 'dog' first and 'cat' later"):
        Masklets.collect([_frame(0, {7: ("dog", 2, 0.9)}), _frame(1, {7: ("cat", 2, 0.9)})])
    with pytest.raises(LitetextError, match="object twice"):
        FrameResult(0, np.array([1, 1]), _frame(0, {1: ("dog", 2, 0.9), 2: ("dog", 9, 0.9)}).instances)
    with pytest.raises(LitetextError, match=r"must be \[0\]"):
        FrameResult(0, np.array([1]), _frame(0, {}).instances)
    with pytest.raises(LitetextError, match="each of 3 prompts, got 1"):
        Masklets.collect(_video()).to_veval(1, [4])


def test_veval_files_hold_the_same_masklets(tmp_path: Path) -> None:
    found = Masklets.collect(_video(), frame_count=5)
    names, video = (
        {11: "dog", 12: "cat", 13: "red car"},
        Video("v", "clip", SIZE, 5, tuple(f"{t}.jpg" for t in range(5))),
    )
    tracks = found.tracks("v", list(names))
    document = veval.document([video], names, tracks, [("v", id) for id in names])
    (tmp_path / "truth.json").write_text(json.dumps(document))
    (tmp_path / "pred.json").write_text(json.dumps(found.to_veval("v", list(names))))
    truth = read_video_truth(tmp_path / "truth.json")
    assert truth.videos["v"] == video and truth.categories == names
    predictions = read_video_predictions(tmp_path / "pred.json", truth)
    for read in (
        Masklets.from_tracks(predictions.tracks, SIZE, 5, names),
        Masklets.from_tracks(truth.tracks, SIZE, 5, names),
    ):
        assert read.masks.counts == found.masks.counts and read.labels == found.labels
        assert read.frames.tolist() == found.frames.tolist() and read.boxes.tolist() == found.boxes.tolist()
    metrics = evaluate_videos(truth, predictions)
    assert metrics.pmF1 == pytest.approx(100, abs=0.1) and metrics.cgF1 == pytest.approx(100, abs=0.1)
