"""The value type: rows, conversions, pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from litetext import Instances, LitetextError
from litetext.segment import coco_document
from litetext.segment.drawing import overlay

PHOTO = np.full((40, 60, 3), 90, np.uint8)


@pytest.fixture
def found() -> Instances:
    """Two dogs and a car in an image of 60 x 40, and no cat."""
    boxes = np.array([[5, 5, 20, 15], [30, 10, 55, 35], [2, 20, 12, 38]], np.float32)
    masks = np.zeros((3, 40, 60), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    return Instances(
        size=(40, 60),
        prompts=("dog", "cat", "car"),
        presence=np.array([0.9, 0.1, 0.8], np.float32),
        boxes=boxes,
        masks=masks,
        scores=np.array([0.9, 0.7, 0.6], np.float32),
        prompt_index=np.array([0, 0, 2]),
        image=PHOTO,
    )


def test_rows_are_chosen_by_prompt_slice_and_mask(found: Instances) -> None:
    assert len(found) == 3
    assert found.labels == ["dog", "dog", "car"]
    assert found["dog"].scores.tolist() == found[:2].scores.tolist() == found[[0, 1]].scores.tolist()
    assert len(found["cat"]) == len(found[[]]) == 0
    assert found[found.scores > 0.65].labels == ["dog", "dog"]
    assert found["car"].prompts == found.prompts
    assert "'dog': 2" in repr(found)
    with pytest.raises(LitetextError, match="'zebra' was not asked"):
        found["zebra"]


def test_shapes_are_checked(found: Instances) -> None:
    with pytest.raises(LitetextError, match=r"masks must have shape \(3, 40, 60\)"):
        Instances(
            (40, 60), found.prompts, found.presence, found.boxes, found.masks[:2], found.scores, found.prompt_index
        )


def test_coco_is_read_by_pycocotools(found: Instances, tmp_path: Path) -> None:
    document = coco_document([("a.png", found), ("b.png", found["car"]), ("c.png", found["cat"])])
    (tmp_path / "coco.json").write_text(json.dumps(document))
    coco = COCO(str(tmp_path / "coco.json"))
    assert [len(coco.getAnnIds(image)) for image in coco.getImgIds()] == [3, 1, 0]
    assert sorted(category["name"] for category in coco.cats.values()) == ["car", "cat", "dog"]
    assert sorted(coco.anns) == [1, 2, 3, 4]
    for annotation, mask in zip(coco.loadAnns(coco.getAnnIds(1)), found.masks, strict=True):
        assert np.array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
    assert coco.anns[2]["bbox"] == [30, 10, 25, 25]
    assert coco.cats[coco.anns[4]["category_id"]]["name"] == "car"
    assert found.to_coco("a.png", image_id=7)["annotations"][0]["image_id"] == 7


def test_saco_predictions_name_the_pair(found: Instances) -> None:
    predictions = found.to_saco([100, 101, 102])
    assert [one["image_id"] for one in predictions] == [100, 100, 102]
    assert {one["category_id"] for one in predictions} == {1}
    np.testing.assert_allclose(predictions[0]["bbox"], [5 / 60, 5 / 40, 15 / 60, 10 / 40])
    assert np.array_equal(coco_mask.decode(predictions[2]["segmentation"]), found.masks[2])
    json.dumps(predictions, allow_nan=False)
    with pytest.raises(LitetextError, match="each of 3 prompts, got 1"):
        found.to_saco([1])


def test_supervision_gets_the_same(found: Instances) -> None:
    for instances in (found, found["cat"]):
        detections = instances.to_supervision()
        assert len(detections) == len(instances)
        assert np.array_equal(detections.mask, instances.masks)
        assert detections.data["class_name"].tolist() == instances.labels
        assert np.array_equal(detections.class_id, instances.prompt_index)


def test_the_overlay_colours_what_was_found_and_nothing_else(found: Instances, tmp_path: Path) -> None:
    found.save_png(tmp_path / "out" / "a.png")
    picture = np.array(Image.open(tmp_path / "out" / "a.png"))
    assert picture.shape == (512, 768, 3), "small images are enlarged, so that labels leave something to see"
    scale = 768 / 60
    points = ((18, 13), (52, 32), (10, 36))  # inside each mask, away from its label
    dog, other_dog, car = (picture[round(y * scale), round(x * scale)].astype(int) for x, y in points)
    assert np.array_equal(dog, other_dog)
    assert np.abs(dog - car).max() > 30
    assert picture[round(3 * scale), round(50 * scale)].tolist() == [90, 90, 90]
    assert np.array_equal(overlay(found["cat"], PHOTO)[0, 0], [90, 90, 90])


def test_the_overlay_needs_the_image_that_was_segmented(found: Instances, tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match="is 10x10, but the instances are of one of 60x40"):
        found.save_png(tmp_path / "a.png", np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(LitetextError, match="carry no image"):
        replace(found, image=None).save_png(tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
