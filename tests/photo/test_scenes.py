"""The data engine: scenes with exact masks, the same for the same number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litetext.photo.concepts import Concepts
from litetext.photo.photographs import Photograph, coco_photographs
from litetext.photo.scenes import Studio, cutouts_of, whole

from .conftest import disc_photograph

SIZE = 160


@pytest.fixture(scope="module")
def studio(concepts: Concepts) -> Studio:
    dog, cup = concepts.coco["dog"], concepts.coco["cup"]
    backdrops = [disc_photograph(dog, seed) for seed in range(3)]
    portraits = [disc_photograph(cup, seed) for seed in range(3, 5)]
    return Studio(backdrops, portraits, SIZE, paste=0.8)


def test_a_number_is_a_scene(studio: Studio) -> None:
    first, again, other = studio.scene(0, 5), studio.scene(0, 5), studio.scene(0, 6)
    assert (first.image == again.image).all() and (first.instances == again.instances).all()
    assert first.facts() == again.facts()
    assert not (first.image == other.image).all()


def test_instances_boxes_and_areas_agree(studio: Studio) -> None:
    pasted = 0
    for index in range(30):
        scene = studio.scene(1, index)
        pasted += len(scene.things) > 1
        assert set(np.unique(scene.instances)) <= set(range(len(scene.things) + 1))
        for number, thing in enumerate(scene.things, start=1):
            mask = scene.instances == number
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert thing.box == pytest.approx([edge / SIZE for edge in edges])
            assert thing.area == pytest.approx(mask.mean())
        json.dumps(scene.facts())
    assert pasted > 10


def test_pasting_leaves_every_object_in_sight(concepts: Concepts) -> None:
    person = concepts.coco["person"]
    studio = Studio([disc_photograph(person, seed) for seed in range(2)], [], SIZE, paste=1.0)
    for index in range(20):
        scene = studio.scene(2, index)
        assert scene.things and scene.exhaustive
        assert min(thing.area for thing in scene.things) * SIZE**2 >= 40


def test_cutouts_know_their_colors_and_are_whole(concepts: Concepts) -> None:
    photograph = disc_photograph(concepts.coco["apple"])
    (cutout,) = cutouts_of(photograph)
    assert cutout.truths["red"] is True and cutout.truths["blue"] is False
    assert (cutout.rgba[..., 3] > 0).sum() == photograph.masks[0].sum()
    cut_off = Photograph("x", photograph.pixels, np.roll(photograph.masks, 60, 2), photograph.concepts, frozenset())
    assert cutouts_of(cut_off) == []


def test_whole_photographs_keep_small_objects_and_crowds(concepts: Concepts) -> None:
    photograph = disc_photograph(concepts.coco["apple"])
    tiny = np.zeros_like(photograph.masks)
    tiny[0, 2:5, 2:5] = True
    both = Photograph("x", photograph.pixels, np.concatenate([photograph.masks, tiny]), (1, 2), frozenset({7}))
    scene = whole(both, SIZE)
    assert [thing.concept for thing in scene.things] == [1, 2]
    assert scene.unclear == {7}


def test_coco_is_read_at_any_size_with_crowds_apart(tmp_path: Path, concepts: Concepts) -> None:
    Image.fromarray(np.full((600, 800, 3), 90, np.uint8)).save(tmp_path / "a.jpg")
    square = [100.0, 100.0, 500.0, 100.0, 500.0, 400.0, 100.0, 400.0]
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 800, "height": 600}, {"id": 2, "file_name": "gone.jpg"}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"image_id": 1, "category_id": 18, "segmentation": [square], "iscrowd": 0},
            {"image_id": 1, "category_id": 1, "segmentation": {"size": [600, 800], "counts": [480000]}, "iscrowd": 1},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document), encoding="utf-8")
    (photograph,) = coco_photographs(tmp_path / "instances.json", tmp_path, concepts)
    assert photograph.pixels.shape == (300, 400, 3)
    assert photograph.concepts == (concepts.coco["dog"],)
    assert photograph.unclear == {concepts.coco["person"]}
    assert photograph.masks[0].mean() == pytest.approx(400 * 300 / (800 * 600), abs=0.01)


def test_an_object_before_a_plain_background_is_outlined() -> None:
    pytest.importorskip("cv2")
    from litetext.photo.photographs import outline

    size = 200
    y, x = np.mgrid[0:size, 0:size]
    disc = (y - 100) ** 2 + (x - 90) ** 2 < 60**2
    pixels = np.full((size, size, 3), 250, np.uint8)
    pixels[disc] = (40, 90, 160)
    found = outline(pixels, (), None)  # type: ignore[arg-type]  # no label of ImageNet's, so nothing to ask it
    assert found is not None
    assert (found & disc).sum() / (found | disc).sum() > 0.95
