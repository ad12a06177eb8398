"""A video from its file to the files of its tracks; a run that is killed goes on, and ends in the same files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from litetext import Instances, LitetextError
from litetext.outputs import RECORD
from litetext.results import FrameResult, Masklets, Masks
from litetext.results.formats import coco_video, mask_pictures, mot, veval
from litetext.track import VideoSegmenter, resuming, with_threshold
from litetext.track.files import FILES
from litetext.track.run import SUMMARY, Tracking, check_out, track_to_folder
from litetext.videos import VideoReader, open_video

from ..killing import check_same_files
from ..videos.clips import FRAMES, SIZE, picture, write_clip
from .conftest import clip, save_video_reference

PROMPTS = ["white dog", "kite"]
RUN = {"video": "a.mp4", "prompts": PROMPTS}


class Squares:
    """Finds a dog that moves to the right, and a kite in the second half; results come ``late`` frames late."""

    def __init__(self, late: int = 0) -> None:
        self.late = late
        self.seen = 0

    def stream(
        self, frames: Iterator[NDArray[np.uint8]], prompts: list[str], *, frame_count: int | None
    ) -> Iterator[FrameResult]:
        waiting: list[FrameResult] = []
        for index, image in enumerate(frames):
            self.seen += 1
            waiting.append(found(index, (image.shape[0], image.shape[1]), prompts))
            if len(waiting) > self.late:
                yield waiting.pop(0)
        yield from waiting


def found(index: int, size: tuple[int, int], prompts: list[str]) -> FrameResult:
    boxes = [[2 + index, 4, 12 + index, 20]] + ([[30, 20, 50, 40]] if index >= FRAMES // 2 else [])
    dense = np.zeros((len(boxes), *size), bool)
    for mask, (x1, y1, x2, y2) in zip(dense, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    ids = np.arange(len(boxes)) * 3
    instances = Instances(size, tuple(prompts), np.ones(2, np.float32), np.array(boxes, np.float32),
                          Masks.from_dense(dense, size), np.array([0.9, 0.75][: len(boxes)], np.float32),
                          np.arange(len(boxes)), image=np.zeros((*size, 3), np.uint8))  # fmt: skip
    return FrameResult(index, ids, instances)


def _tracking(video: VideoReader, tracker: Any, **options: Any) -> Tracking:
    return Tracking(video, PROMPTS, lambda: tracker, **options)


@pytest.fixture
def video(tmp_path: Path) -> VideoReader:
    return open_video(write_clip(tmp_path / "a.mp4", audio="aac"))


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackers that are fakes keep no journal."""
    monkeypatch.setattr("litetext.track.run.ResumedTracker", lambda tracker, **_: tracker)


@pytest.mark.parametrize("late", [0, 5, 99])
def test_every_file_holds_the_same_tracks(video: VideoReader, tmp_path: Path, as_it_is: None, late: int) -> None:
    told: list[tuple[int, int | None, str | None]] = []
    tracking = _tracking(video, Squares(late), progress=lambda *said: told.append(said))
    summary = track_to_folder(tracking, tmp_path / "out", RUN)
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES.values(), SUMMARY, RECORD])
    assert told[-1] == (FRAMES, FRAMES, "2 objects") and told[0][2] == "1 object"
    wanted = Masklets.collect([found(index, SIZE, PROMPTS) for index in range(FRAMES)])
    ((described, read),) = coco_video.read(folder / "coco_video.json")
    assert described.name == "a.mp4" and read.masks.counts == wanted.masks.counts and read.labels == PROMPTS
    boxes = mot.read(folder / "mot.csv", SIZE, PROMPTS)
    assert boxes.object_ids.tolist() == [0, 3] and boxes.boxes.tolist() == wanted.boxes.tolist()
    masks = mask_pictures.read(folder / "masks")
    assert masks.masks.counts == wanted.masks.counts and masks.object_ids.tolist() == [0, 3]
    truth = veval.read_video_truth(folder / "veval.json")
    assert [track.masks for track in truth.tracks] == [track.masks for track in wanted.tracks("a.mp4", [1, 2])]
    assert truth.listed == [("a.mp4", 1), ("a.mp4", 2)] and list(truth.categories.values()) == PROMPTS
    overlay = open_video(folder / "overlay.mp4")
    assert overlay.size == SIZE and overlay.frame_count == FRAMES and overlay.has_audio
    assert summary["objects"] == [
        {"number": 1, "prompt": "white dog", "score": 0.9, "frames": FRAMES, "first": 0.0, "last": pytest.approx(1.1)},
        {"number": 4, "prompt": "kite", "score": 0.75, "frames": 6, "first": pytest.approx(0.6),
         "last": pytest.approx(1.1)},
    ]  # fmt: skip
    assert json.loads((folder / SUMMARY).read_text()) == {**summary, "run": RUN}
    assert summary["damage"] is None and (summary["frames"], summary["width"]) == (FRAMES, SIZE[1])


def test_objects_keep_their_color_through_the_video(video: VideoReader, tmp_path: Path, as_it_is: None) -> None:
    track_to_folder(_tracking(video, Squares()), tmp_path / "out", RUN, kinds=["video"])
    colors = []
    for frame, plain in zip(open_video(tmp_path / "out" / "overlay.mp4"), open_video(tmp_path / "a.mp4"), strict=True):
        left = 2 + frame.index
        changed = np.abs(frame.image.astype(int) - plain.image)
        colors.append(frame.image[4:20, left + 10].astype(int).mean(0))  # the outline on the right side
        assert changed[44:, 54:].max() < 12, "what is no object stays as it is"
    red, green, blue = np.array(colors).T
    assert (red > blue + 50).all() and (blue > green + 20).all(), "the palette's first"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(["overlay.mp4", SUMMARY, RECORD])


def test_a_video_without_objects(video: VideoReader, tmp_path: Path, as_it_is: None) -> None:
    class Nothing(Squares):
        def stream(self, frames: Any, prompts: Any, *, frame_count: int | None) -> Iterator[FrameResult]:
            for one in super().stream(frames, prompts, frame_count=frame_count):
                yield FrameResult(one.frame_index, one.object_ids[:0], one.instances[[]])

    summary = track_to_folder(_tracking(video, Nothing()), tmp_path / "out", RUN)
    assert summary["objects"] == [] and (tmp_path / "out" / "mot.csv").read_text() == ""
    assert len(list((tmp_path / "out" / "masks").iterdir())) == FRAMES


def test_a_damaged_video_is_tracked_as_far_as_it_goes(tmp_path: Path, as_it_is: None) -> None:
    path = write_clip(tmp_path / "a.mkv", g="1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    summary = track_to_folder(_tracking(open_video(path), Squares(3)), tmp_path / "out", RUN)
    assert "a.mkv is cut short or damaged after frame" in summary["damage"]
    assert 0 < summary["frames"] < FRAMES
    assert len(list(open_video(tmp_path / "out" / "overlay.mp4"))) == summary["frames"]
    for number, size in enumerate([SIZE, (10, 10)]):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(picture(number, size)).save(tmp_path / "frames" / f"{number}.png")
    summary = track_to_folder(_tracking(open_video(tmp_path / "frames"), Squares()), tmp_path / "other", RUN)
    assert summary["frames"] == 1 and "1.png is 10x10 pixels" in summary["damage"]
    (tmp_path / "frames" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(LitetextError, match=r"0\.png"):
        open_video(tmp_path / "frames")


def test_a_video_is_stopped_where_it_is(video: VideoReader, as_it_is: None) -> None:
    tracker = Squares(2)
    tracking = _tracking(video, tracker, stopped=lambda: tracker.seen == 5)
    assert tracking.summary(tracking.into([]))["frames"] == 5


def test_what_may_be_written_over(video: VideoReader, tmp_path: Path, as_it_is: None) -> None:
    out = tmp_path / "out"
    assert check_out(out, RUN, [], overwrite=False) is None
    summary = track_to_folder(_tracking(video, Squares()), out, RUN, kinds=["mot"])
    assert check_out(out, RUN, [], overwrite=False) == summary, "this run is finished"
    other = {**RUN, "prompts": ["cat"]}
    with pytest.raises(LitetextError, match="holds the tracks of an earlier run; replace it with --overwrite"):
        check_out(out, other, [], overwrite=False)
    assert check_out(out, other, [], overwrite=True) is None
    (out / SUMMARY).write_text("{}")
    with pytest.raises(LitetextError, match=r"tracks\.json is not as litetext wrote it"):
        check_out(out, RUN, [], overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    with pytest.raises(LitetextError, match="exists and holds no tracks that litetext wrote"):
        check_out(tmp_path / "mine", RUN, [], overwrite=True)
    for name in ("new.partial", "new.state"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(LitetextError, match=f"{name} exists and was not written by litetext"):
            check_out(tmp_path / "new", RUN, [], overwrite=True)
        (tmp_path / name).unlink()
    with pytest.raises(LitetextError, match="is the input"):
        check_out(tmp_path / "mine", RUN, [tmp_path / "mine"], overwrite=True)


class KilledError(Exception):
    """Ends a run as a kill would, at a frame."""


def _killed_at(frame: int, images: list[NDArray[np.uint8]], folder: Path) -> VideoReader:
    """A folder of frames whose reader fails at a frame as nothing is prepared for."""
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    reader = open_video(folder)
    if frame < len(images):
        source: Any = reader._source
        read = source._read

        def fail(file: Path, size: Any) -> Any:
            if file.name == f"{frame:03d}.png":
                raise KilledError
            return read(file, size)

        source._read = fail
    return reader


@pytest.fixture(scope="module", params=["by-detection", "full"])
def segmenter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VideoSegmenter:
    reference = save_video_reference("s0", tmp_path_factory.mktemp("video"), seed=1)
    found = VideoSegmenter.from_pretrained(reference.folder, policy=request.param, device="cpu")
    found.policy = replace(with_threshold(found.policy, 0.2), nms_iou=0.9)
    return found


@pytest.mark.parametrize("every", [0.0, 1e9], ids=["state", "no state"])
def test_a_killed_run_goes_on(
    segmenter: VideoSegmenter, every: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = clip(16)
    encoded: list[int] = []
    encode = type(segmenter.segmenter).encode_image
    monkeypatch.setattr(
        type(segmenter.segmenter), "encode_image", lambda self, image: encoded.append(1) or encode(self, image)
    )
    monkeypatch.setattr(resuming, "SAVE_SECONDS", every)

    def run(frame: int, out: str) -> int:
        encoded.clear()
        tracking = Tracking(_killed_at(frame, images, tmp_path / "frames"), PROMPTS, lambda: segmenter)
        summary = track_to_folder(tracking, tmp_path / out, RUN)
        assert len(summary["objects"]) > 1, "so that there is something to remember"
        return len(encoded)

    assert run(99, "whole") == 16
    for frame in (0, 6, 13):
        with pytest.raises(KilledError):
            run(frame, "killed")
    left = {path.name for path in tmp_path.iterdir()}
    assert "killed.partial" in left and "killed" not in left and not [name for name in left if ".litetext-" in name]
    goes_on = not segmenter.policy.memory or every == 0
    if segmenter.policy.memory and every == 0:  # a state whose journal is gone cannot be gone on from
        (tmp_path / "killed.partial").unlink()
        goes_on = False
    assert run(99, "killed") == (3 if goes_on else 16)
    check_same_files(tmp_path / "killed", tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"frames", "whole", "killed"}


def test_an_interrupted_run_says_what_is_saved(
    segmenter: VideoSegmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = 0

    def interrupt(completed: int, *_: Any) -> None:
        nonlocal shown
        shown = completed
        if completed == 4:
            raise KeyboardInterrupt

    reader = _killed_at(99, clip(12), tmp_path / "frames")
    with pytest.raises(KeyboardInterrupt, match=r"\d+ frames are saved in .*out\.partial; give the same command again"):
        track_to_folder(Tracking(reader, PROMPTS, lambda: segmenter, interrupt), tmp_path / "out", RUN)
    assert shown == 4 and not (tmp_path / "out").exists()
