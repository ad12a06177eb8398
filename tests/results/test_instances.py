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
from litetext.results import Masks
from litetext.results.formats import coco as coco_format

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
    images = [("a.png", found), ("b.png", found["car"]), ("c.png", found["cat"])]
    document = coco_format.document(instances.annotations(name) for name, instances in images)
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
    beliefs = found.presence[[0, 0, 2]]
    np.testing.assert_allclose([one["presence"] for one in predictions], beliefs, atol=1e-6)
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


def test_one_instance_and_iteration(found: Instances) -> None:
    first = found[0]
    assert (first.label, first.area, first.box.tolist()) == ("dog", 150, [5, 5, 20, 15])
    assert first.score == pytest.approx(0.9) and np.array_equal(first.mask, found.masks[0])
    assert [one.label for one in found] == found.labels and found[-1].label == "car"
    assert "'dog', 0.900" in repr(first)
    with pytest.raises(IndexError):
        found[3]


def test_sorted_filtered_and_counted(found: Instances) -> None:
    mixed = found[[2, 1, 0]]
    assert mixed.sorted().labels == ["dog", "dog", "car"]
    assert found.counts == {"dog": 2, "cat": 0, "car": 1}
    assert found.filter(0.7).labels == ["dog", "dog"], "a score equal to the threshold counts"
    assert found.filter({"dog": 0.8, "cat": 0.1}).labels == ["dog", "car"]
    with pytest.raises(LitetextError, match="'zebra' was not asked"):
        found.filter({"zebra": 0.5})


def test_suppression_within_and_across_prompts() -> None:
    masks = np.zeros((4, 20, 20), bool)
    masks[0, :10] = masks[1, :9] = masks[2, :10] = True  # two dogs on one object, and a cat on it
    masks[3, 2:4, 2:4] = True  # a dog inside the first
    prompt_index = np.array([0, 0, 1, 0])
    scores = np.array([0.5, 0.6, 0.9, 0.3], np.float32)
    found = Instances(
        (20, 20), ("dog", "cat"), np.ones(2), np.zeros((4, 4)), Masks.from_dense(masks), scores, prompt_index
    )
    assert found.nms().scores.tolist() == scores[[1, 2, 3]].tolist()
    assert found.nms(0.95).scores.tolist() == scores.tolist()
    assert found.nms(containment=0.9).scores.tolist() == scores[[1, 2]].tolist()
    assert found.nms(across_prompts=True).scores.tolist() == scores[[2, 3]].tolist()
    assert len(found[[]].nms()) == 0


def test_crops_are_the_photo_inside_the_boxes(found: Instances) -> None:
    photo = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)
    crops = found.crops(photo)
    assert [crop.shape for crop in crops] == [(10, 15, 3), (25, 25, 3), (18, 10, 3)]
    assert np.array_equal(crops[0], photo[5:15, 5:20])
    assert found.crops(photo, margin=7)[0].shape == (22, 27, 3), "a margin ends at the image's edge"
    cut = replace(found, boxes=found.boxes + 3).crops(photo, cutout=True)[0]
    assert cut.shape == (10, 15, 4) and np.unique(cut[:, :, 3]).tolist() == [0, 255]


def test_the_fill_is_light_and_the_outline_strong(found: Instances, tmp_path: Path) -> None:
    found.save_png(tmp_path / "out" / "a.png")
    picture = np.array(Image.open(tmp_path / "out" / "a.png")).astype(int)
    assert picture.shape == (512, 768, 3), "small images are enlarged, so that labels leave something to see"
    scale = 768 / 60
    points = ((18, 13), (52, 32), (10, 36))  # inside each mask, away from its label
    dog, other_dog, car = (picture[round(y * scale), round(x * scale)] for x, y in points)
    assert np.array_equal(dog, other_dog) and np.abs(dog - car).max() > 15
    assert 10 < np.abs(dog - 90).max() < 60, "the photo's own color stays to be seen"
    edge = picture[round(25 * scale), round(55 * scale) - 1]
    assert np.abs(edge - [0xD6, 0x33, 0x6C]).max() < 40
    assert picture[round(3 * scale), round(50 * scale)].tolist() == [90, 90, 90]
    levels = np.unique(picture[round(25 * scale), round(52 * scale) : round(57 * scale), 0])
    assert len(levels) > 6, "edges are smooth"
    assert np.array_equal(np.array(found["cat"].plot())[0, 0], [90, 90, 90])


def test_two_prompts_on_one_object_both_show(found: Instances) -> None:
    both = replace(found, prompt_index=np.array([0, 0, 2]), masks=found.masks[[0, 1, 1]], boxes=found.boxes[[0, 1, 1]])
    picture = np.array(both.plot()).astype(int)
    inside = picture[150:430, 400:690].reshape(-1, 3)
    apart = np.array(found["dog"].plot()).astype(int)[300, 550], np.array(both["car"].plot()).astype(int)[300, 550]
    shares = [(np.abs(inside - color).max(1) < 4).mean() for color in apart]
    assert min(shares) > 0.3, "each fills stripes of its own"


def test_pictures_are_saved_by_their_suffix(found: Instances, tmp_path: Path) -> None:
    for name, kind in (("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.webp", "WEBP")):
        found.save(tmp_path / name)
        assert Image.open(tmp_path / name).format == kind
    found.save(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == found.to_coco()
    with pytest.raises(LitetextError, match=r"suffix '\.bmpx'"):
        found.save(tmp_path / "a.bmpx")


def test_notebooks_show_the_picture(found: Instances) -> None:
    page = found._repr_html_()
    assert page.startswith('<figure><img src="data:image/jpeg;base64,') and "dog: 2, cat: 0, car: 1" in page
    assert "Instances(60x40" in replace(found, image=None)._repr_html_()


def test_the_overlay_needs_the_image_that_was_segmented(found: Instances, tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match="is 10x10, but the instances are of one of 60x40"):
        found.save_png(tmp_path / "a.png", np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(LitetextError, match="carry no image"):
        replace(found, image=None).save_png(tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
