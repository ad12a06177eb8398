"""Tracks as files: COCO for videos, MOTChallenge's CSV, pictures of numbers, and a sheet of all objects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from litetext import Instances, LitetextError
from litetext.results import FrameResult, Masklets, Masks
from litetext.results.contact_sheet import ContactSheet
from litetext.results.drawing import PALETTE, rgb
from litetext.results.formats import coco_video, mask_pictures, mot, veval
from litetext.results.formats.veval import Video

from .test_masklets import PROMPTS, SIZE, _frame, _video

VIDEO = Video("clip.mp4", "clip.mp4", SIZE, 5, tuple(f"{t:05d}.png" for t in range(5)))


@pytest.fixture
def found() -> Masklets:
    return Masklets.collect(_video(), frame_count=5)


def test_coco_video_files_hold_the_same_masklets(found: Masklets, tmp_path: Path) -> None:
    other = Masklets.collect([_frame(0, {4: ("cat", 1, 0.5)})])
    coco_video.write([(VIDEO, found), (Video("b", "b", SIZE, 1), other)], tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    assert [one["name"] for one in document["categories"]] == list(PROMPTS)
    assert [one["id"] for one in document["annotations"]] == [1, 2, 3, 4]
    assert [one["track_id"] for one in document["annotations"]] == [8, 4, 10, 5], "numbers are ids from 1"
    first = document["annotations"][0]
    assert first["segmentations"][2] is None and first["segmentations"][0]["size"] == list(SIZE)
    assert first["bboxes"][:2] == [[2, 5, 4, 4], [4, 5, 4, 4]] and first["areas"][:3] == [16, 16, None]
    assert first["score"] == pytest.approx(0.8) and first["iscrowd"] == 0
    (video, read), (second, last) = coco_video.read(tmp_path / "a.json")
    assert (video, second.id, last.labels) == (VIDEO, "b", ["cat"])
    assert read.masks.counts == found.masks.counts and read.labels == found.labels
    assert read.frames.tolist() == found.frames.tolist() and read.boxes.tolist() == found.boxes.tolist()
    np.testing.assert_allclose(read.scores, found.scores)
    assert len(veval.read_video_truth(tmp_path / "a.json").tracks) == 4


def test_mot_files_hold_boxes_and_scores(found: Masklets, tmp_path: Path) -> None:
    mot.write(found, tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "1,8,2.00,5.00,4.00,4.00,0.9000,1,-1,-1"
    assert [line.split(",")[:2] for line in lines] == [["1", "8"], ["2", "8"], ["2", "4"], ["2", "10"], ["4", "4"],
                                                       ["4", "10"]]  # fmt: skip
    read = mot.read(tmp_path / "a.csv", SIZE, PROMPTS)
    assert read.object_ids.tolist() == found.object_ids.tolist() and read.labels == found.labels
    assert read.frames.tolist() == found.frames.tolist() and read.boxes.tolist() == found.boxes.tolist()
    np.testing.assert_allclose(read.frame_scores, found.frame_scores, atol=1e-4)
    assert read.masks.counts == found.masks.counts, "which are squares in this video"


def test_mot_files_of_others(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1, 3, 2.5, 5, 4, 4, 1, -1, -1, -1\n\n1 9 0 0 2 2 -1 -1 -1 -1\n3,3,1,1,2,2\n")
    read = mot.read(tmp_path / "gt.txt", SIZE)
    assert read.object_ids.tolist() == [2, 8] and read.labels == ["object"] * 2 and read.frame_count == 3
    assert read.frame_scores.tolist() == [1, 1, 1] and read.boxes[0].tolist() == [2.5, 5, 6.5, 9]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1,2,3", "line 2 is '1,1,2,3', where frame, object, x, y, width, height should stand"),
        ("1,one,2,3,4,5", "line 2 is '1,one,2,3,4,5'"),
        ("0,1,2,3,4,5", "line 2: frame 0 and object 1 must be 1 to 1,000,000"),
        ("1,1,2,3,-4,5", "line 2: the box 2, 3, -4, 5 is none of a 30x20 frame"),
        ("1,1,2,3,4e9,5", "line 2: the box"),
        ("1,1,2,3,4,nan", "line 2 is"),
        ("1,1,2,3,4,5,1.5", "line 2: the confidence 1.5"),
        ("1,1,2,3,4,5,1,2", "line 2: class 2, but 1 prompts are given"),
        ("1,3,2,3,4,5", "frame 0 has an object twice"),
    ],
)
def test_mot_lines_that_cannot_be(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(f"1,3,2,3,4,5\n{line}\n")
    with pytest.raises(LitetextError) as error:
        mot.read(tmp_path / "a.csv", SIZE)
    assert str(error.value).startswith(f"{tmp_path / 'a.csv'}: ") and message in str(error.value)
    (tmp_path / "a.csv").write_text("\n")
    with pytest.raises(LitetextError, match="has no line"):
        mot.read(tmp_path / "a.csv", SIZE)


def test_pictures_of_numbers(tmp_path: Path) -> None:
    frames = [_frame(0, {0: ("dog", 2, 0.9), 1: ("dog", 4, 0.5)}), _frame(1, {}), _frame(2, {254: ("cat", 9, 0.7)}),
              _frame(3, {255: ("cat", 9, 0.7), 2: ("dog", 20, 0.7)})]  # fmt: skip
    for frame in frames:
        mask_pictures.write(frame, tmp_path / f"{frame.frame_index}.png")
    modes = [Image.open(tmp_path / f"{t}.png").mode for t in range(4)]
    assert modes == ["P", "P", "P", "I;16"]
    with Image.open(tmp_path / "0.png") as picture:
        numbers = np.asarray(picture)
        assert numbers[6].tolist() == [0, 0, 1, 1, 1, 1, 2, 2, *[0] * 22], "the better one is seen where they overlap"
        shown = np.asarray(picture.convert("RGB"))
    assert shown[6, 2].tolist() == list(rgb(PALETTE[0])) and shown[6, 7].tolist() == list(rgb(PALETTE[1]))
    assert not shown[0, 0].any()
    read = mask_pictures.read(tmp_path)
    assert read.frame_count == 4 and read.size == SIZE and read.prompts == ("object",)
    assert read.object_ids.tolist() == [0, 1, 254, 2, 255] and read.frames.tolist() == [0, 0, 2, 3, 3]
    assert read.masks.areas.tolist() == [16, 8, 16, 16, 16]
    with pytest.raises(LitetextError, match="up to 65,535, and there is an object 65,536"):
        mask_pictures.write(_frame(0, {65_535: ("dog", 2, 0.9)}), tmp_path / "5.png")
    Image.new("RGB", (3, 3)).save(tmp_path / "9.png")
    with pytest.raises(LitetextError, match=r"9\.png is in color \(RGB\)"):
        mask_pictures.read(tmp_path)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_masks_that_do_not_overlap_come_back_from_pictures(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    numbers = np.array(data.draw(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=4, max_size=4)))
    ids = np.unique(numbers[numbers > 0])
    masks = Masks.from_dense((numbers == id for id in ids), (4, 5))
    ones = np.ones(len(ids), np.float32)
    instances = Instances((4, 5), ("a",), ones[:0].sum(keepdims=True), masks.boxes, masks, ones, ids * 0)
    folder = tmp_path_factory.mktemp("masks")
    mask_pictures.write(FrameResult(0, ids.astype(np.int64) - 1, instances), folder / "0.png")
    read = mask_pictures.read(folder)
    assert read.object_ids.tolist() == (ids - 1).tolist() and read.masks.counts == masks.counts


def test_a_sheet_shows_every_object_where_it_is_seen_best() -> None:
    sheet = ContactSheet()
    images = [np.full((*SIZE, 3), value, np.uint8) for value in (0, 200, 0, 120)]
    for frame in _video():
        sheet.add(images[frame.frame_index], frame)
    assert len(sheet) == 3
    picture = np.asarray(sheet.picture()).astype(int)
    assert picture.shape[1] == 10 + 3 * 186
    # dogs before the red car, by number: #4 (best in frame 3), #8 (frame 0), #10 (frame 3)
    captions = [picture[10 + 176 + 30, 12 + column * 186].tolist() for column in range(3)]
    assert captions == [list(rgb(PALETTE[id % 10])) for id in (3, 7, 9)]
    crops = [picture[10 + 68, 10 + 68 + column * 186].mean() for column in range(3)]  # beside the object, 4 x enlarged
    assert crops == pytest.approx([120, 0, 120], abs=2)
    assert ContactSheet().picture().size > (10, 10), "no object, no crop, and still a picture"
