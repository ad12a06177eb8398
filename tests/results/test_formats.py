"""Every format of files: what is written is read back, by litetext and by the tools that people use."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from litetext import Instances, LitetextError
from litetext.results import ImageAnnotations, Masks
from litetext.results.formats import FOLDERS, FORMATS, coco, label_studio, labelme, pascal_voc, read, table, write, yolo

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import supervision

SIZE = (48, 64)
EXACT = ("coco", "yolo", "labelme", "label-studio", "csv")
"""Formats that keep masks to the pixel."""


def _mask(draw: Callable[[Any, Any], Any]) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.asarray(draw(rows, columns))


@pytest.fixture
def image() -> ImageAnnotations:
    """A ring, an object in two parts, one that reaches the edge; a cat was looked for and is not there."""
    masks = Masks.from_dense(
        [
            _mask(lambda y, x: abs((y - 15) ** 2 + (x - 15) ** 2 - 75) < 60),
            _mask(lambda y, x: (y > 30) & (y < 40) & ((x < 12) & (x > 4) | (x > 20) & (x < 30))),
            _mask(lambda y, x: x + y > 85),
        ]
    )
    return ImageAnnotations(
        "street/a photo.png",
        SIZE,
        ("dog", "cat", "white car"),
        np.array([0, 0, 2]),
        masks.boxes,
        masks,
        np.array([0.9, 0.5, 0.25], np.float32),
    )


def _empty(image: ImageAnnotations) -> ImageAnnotations:
    none = np.zeros(0, np.int64)
    return replace(
        image,
        file_name="b.png",
        category_index=none,
        boxes=np.zeros((0, 4), np.float32),
        masks=Masks(SIZE),
        scores=np.zeros(0, np.float32),
    )


def _written(images: list[ImageAnnotations], folder: Path, name: str) -> Path:
    """The images in a format, with image files beside them for those that need them."""
    path = folder / "out" if name in FOLDERS else folder / f"out.{name}"
    write(iter(images), path, name)
    for image in images:
        photo = folder / "out" / "images" / image.file_name
        if name == "yolo":
            photo.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (image.size[1], image.size[0])).save(photo)
    return path


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_is_written_is_read(image: ImageAnnotations, tmp_path: Path, name: str) -> None:
    images = [image, _empty(image)]
    found = {one.file_name: one for one in read(_written(images, tmp_path, name), name)}
    first = next(one for file_name, one in found.items() if "a photo" in file_name)
    assert first.size == SIZE and first.labels == image.labels
    np.testing.assert_allclose(first.boxes, image.boxes, atol=0.01)
    if name in EXACT:
        assert first.masks.counts == image.masks.counts
    else:
        assert first.masks.boxes.tolist() == image.masks.boxes.tolist()
        assert (first.masks.areas > image.masks.areas).all(), "a box, filled"
    if name in ("yolo", "voc"):
        assert first.scores is None
    else:
        assert first.scores is not None and image.scores is not None
        np.testing.assert_allclose(first.scores, image.scores, atol=1e-6)
    assert len(found) == 2 and len(next(one for key, one in found.items() if key.endswith("b.png"))) == 0


@pytest.mark.parametrize("name", list(FORMATS))
def test_people_draw_objects_without_scores(image: ImageAnnotations, tmp_path: Path, name: str) -> None:
    drawn = replace(image, scores=None)
    (found,) = read(_written([drawn], tmp_path, name), name)
    assert found.scores is None and found.labels == image.labels
    instances = Instances.from_annotations(found)
    assert instances.scores.tolist() == [1, 1, 1] and np.isnan(instances.presence).all()


def test_instances_come_back_in_their_order(image: ImageAnnotations) -> None:
    shuffled = replace(
        image,
        category_index=image.category_index[[2, 1, 0]],
        boxes=image.boxes[[2, 1, 0]],
        masks=image.masks[[2, 1, 0]],
        scores=None if image.scores is None else image.scores[[2, 1, 0]],
    )
    found = Instances.from_annotations(shuffled)
    assert found.labels == ["dog", "dog", "white car"] and found.scores.tolist() == pytest.approx([0.9, 0.5, 0.25])
    assert found.prompts == ("dog", "cat", "white car")
    again = found.annotations("x.png")
    assert again.masks.counts == image.masks.counts and again.file_name == "x.png"


def test_pycocotools_reads_coco(image: ImageAnnotations, tmp_path: Path) -> None:
    coco.write([image], tmp_path / "coco.json")
    document = COCO(str(tmp_path / "coco.json"))
    annotations = document.loadAnns(document.getAnnIds())
    assert all(
        np.array_equal(document.annToMask(one), mask) for one, mask in zip(annotations, image.masks, strict=True)
    )
    with_polygons = json.loads((tmp_path / "coco.json").read_text())
    for one, parts in zip(with_polygons["annotations"], image.masks.to_polygons(), strict=True):
        one["segmentation"] = [part.ravel().tolist() for part in parts]
    with_polygons["annotations"].append({**with_polygons["annotations"][0], "id": 9, "iscrowd": 1})
    (tmp_path / "polygons.json").write_text(json.dumps(with_polygons))
    (found,) = coco.read(tmp_path / "polygons.json")
    assert found.masks.counts == image.masks.counts, "crowds are left out"


def test_supervision_reads_coco_yolo_and_voc(image: ImageAnnotations, tmp_path: Path) -> None:
    photos = tmp_path / "images"
    photos.mkdir()
    plain = replace(image, file_name="a.png")
    Image.new("RGB", SIZE[::-1]).save(photos / "a.png")
    coco.write([plain], tmp_path / "coco.json")
    yolo.write([plain], tmp_path)
    pascal_voc.write([plain], tmp_path / "voc")
    data = supervision.DetectionDataset
    sets = [
        data.from_coco(str(photos), str(tmp_path / "coco.json"), force_masks=True),
        data.from_yolo(str(photos), str(tmp_path / "labels"), str(tmp_path / "data.yaml"), force_masks=True),
        data.from_pascal_voc(str(photos), str(tmp_path / "voc")),
    ]
    for number, dataset in enumerate(sets):
        ((_, _, found),) = list(dataset)
        order = np.argsort(found.xyxy[:, 0])
        wanted = np.argsort(image.boxes[:, 0])
        assert [dataset.classes[row] for row in found.class_id[order]] == [image.labels[row] for row in wanted]
        np.testing.assert_allclose(found.xyxy[order], image.boxes[wanted], atol=1.01)  # it counts VOC's ends otherwise
        if number == 0:
            assert np.array_equal(found.mask[order], image.masks.dense()[wanted])
        if number == 1:  # OpenCV paints outlines a pixel wide, and so the cuts
            overlap = (found.mask[order] & image.masks.dense()[wanted]).sum((1, 2)) / image.masks.areas[wanted]
            assert (overlap > 0.95).all()


def test_labels_are_as_ultralytics_reads_them(image: ImageAnnotations, tmp_path: Path) -> None:
    """One row an object: a class and an even number of fractions, as its own check of label files asks."""
    yolo.write([image], tmp_path, tolerance=0.5)
    rows = [line.split() for line in (tmp_path / "labels" / "street" / "a photo.txt").read_text().splitlines()]
    assert [int(row[0]) for row in rows] == [0, 0, 2]
    for row in rows:
        values = np.array(row[1:], dtype=np.float32)
        assert len(values) > 6 and len(values) % 2 == 0 and values.min() >= 0 and values.max() <= 1
    names = yaml.safe_load((tmp_path / "data.yaml").read_text())["names"]
    assert names == {0: "dog", 1: "cat", 2: "white car"}
    exact = tmp_path / "exact"
    yolo.write([image], exact, scores=True)
    assert len((exact / "labels" / "street" / "a photo.txt").read_text()) > sum(map(len, map(" ".join, rows)))
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a photo.png")
    (exact / "images" / "street").mkdir(parents=True)
    (tmp_path / "a photo.png").rename(exact / "images" / "street" / "a photo.png")
    (found,) = yolo.read(exact)
    assert found.scores is not None and found.scores.tolist() == pytest.approx([0.9, 0.5, 0.25])


def test_boxes_are_read_where_there_is_no_outline(image: ImageAnnotations, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    photo = Image.new("RGB", (64, 48))
    exif = photo.getexif()
    exif[0x0112] = 6  # on its side
    photo.save(tmp_path / "images" / "a.jpg", exif=exif)
    (tmp_path / "labels" / "a.txt").write_text("1 0.5 0.5 0.25 0.5\n0 0.5 0.25 0.5 0.5 0.75\n")
    (tmp_path / "data.yaml").write_text("names: [dog, 'a: cat']\n")
    (found,) = yolo.read(tmp_path)
    assert found.size == (64, 48) and found.labels == ["a: cat", "dog"] and found.scores is None
    assert found.boxes.tolist() == [[18, 16, 30, 48], [12, 0, 36, 32]] == found.masks.boxes.tolist()
    document = coco.document([replace(image, file_name="c.png")])
    document["annotations"][0]["segmentation"] = []
    (tmp_path / "coco.json").write_text(json.dumps(document))
    (read_back,) = coco.read(tmp_path / "coco.json")
    assert read_back.masks.areas[0] == np.prod(image.boxes[0, 2:] - image.boxes[0, :2])


def test_labelme_shapes_of_every_kind(tmp_path: Path) -> None:
    shapes = [
        {"label": "a", "points": [[2, 3], [10, 20]], "shape_type": "rectangle"},
        {"label": "b", "points": [[30, 20], [30, 30]], "shape_type": "circle", "group_id": None},
        {"label": "a", "points": [[40, 30], [50, 30], [50, 40], [40, 40]], "group_id": 4},
        {"label": "a", "points": [[52, 30], [60, 30], [60, 40]], "shape_type": "polygon", "group_id": 4},
    ]
    value = {"shapes": shapes, "imagePath": "x.jpg", "imageHeight": 48, "imageWidth": 64, "imageData": None}
    (tmp_path / "x.json").write_text(json.dumps(value))
    (found,) = labelme.read(tmp_path)
    assert found.labels == ["a", "b", "a"] and found.file_name == "x.jpg"
    assert found.masks.areas[0] == 8 * 17 and abs(found.masks.areas[1] - np.pi * 100) < 8
    assert found.masks.boxes[2].tolist() == [40, 30, 60, 40]


def test_a_label_that_xml_cannot_hold_is_read_again(image: ImageAnnotations, tmp_path: Path) -> None:
    names = tuple(f"{number}\x01\N{DOG FACE}" for number, _ in enumerate(image.categories))
    pascal_voc.write([replace(image, categories=names)], tmp_path)
    (found,) = pascal_voc.read(tmp_path)
    assert found.labels == [names[row].replace("\x01", "\N{REPLACEMENT CHARACTER}") for row in image.category_index]


def test_label_studio_packs_as_its_own_converter() -> None:
    """Bytes of the reference encoder for a 4 x 3 mask, written down once, and runs of every length."""
    small = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 0, 1]], bool)
    # 48 numbers in words of 8 bits, run sizes 3, 4, 8 and 16; runs of 8 x 0, 12 x 255, 24 x 0 and 4 x 255
    bits = f"{48:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += "100111" + "0" * 8 + "101" + f"{11:04b}" + "1" * 8 + "110" + f"{23:08b}" + "0" * 8 + "100011" + "1" * 8
    bits += "0" * (-len(bits) % 8)
    assert label_studio.packed(small) == [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 200), (300, 400)):
        for mask in (rng.random(shape) < 0.5, np.zeros(shape, bool), np.ones(shape, bool)):
            values = label_studio.packed(mask)
            assert all(0 <= value < 256 for value in values)
            assert np.array_equal(label_studio.unpacked(values, shape), mask)
    single = "0" + "00" + "010" + "".join(f"{value:08b}" for value in (255, 0, 7))  # values one by one
    head = f"{12:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    rest = "1" + "01" + f"{8:04b}" + "1" * 8
    text = head + single + rest
    text += "0" * (-len(text) % 8)
    mask = label_studio.unpacked([int(text[at : at + 8], 2) for at in range(0, len(text), 8)], (1, 3))
    assert mask.tolist() == [[True, True, True]]


def test_label_studio_reads_what_people_drew(tmp_path: Path) -> None:
    head = {"original_width": 64, "original_height": 48, "from_name": "label", "to_name": "image"}
    result = [
        {
            **head,
            "type": "rectanglelabels",
            "value": {"x": 25, "y": 0, "width": 50, "height": 50, "rectanglelabels": ["a"]},
        },
        {
            **head,
            "type": "polygonlabels",
            "value": {"points": [[0, 0], [50, 0], [50, 50], [0, 50]], "polygonlabels": ["b"]},
        },
        {"type": "choices", "value": {"choices": ["good"]}},
    ]
    task = {"data": {"image": "/data/x.jpg"}, "annotations": [{"result": []}, {"result": result}], "predictions": []}
    (tmp_path / "tasks.json").write_text(json.dumps([task]))
    (found,) = label_studio.read(tmp_path / "tasks.json")
    assert found.labels == ["a", "b"] and found.file_name == "/data/x.jpg" and found.scores is None
    assert found.masks.boxes.tolist() == [[16, 0, 48, 24], [0, 0, 32, 24]]


def test_two_images_of_one_name_are_refused(image: ImageAnnotations, tmp_path: Path) -> None:
    for name in FOLDERS:
        with pytest.raises(LitetextError, match="two images would have the file"):
            write([image, image], tmp_path / name, name)
    labelme.write([replace(image, file_name="/elsewhere/x.png"), replace(image, file_name="../y.png")], tmp_path / "in")
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["x.json", "y.json"]
    assert not (tmp_path / "y.json").exists(), "nothing is written outside the folder"


BROKEN: list[tuple[str, str, Callable[[str], str], str]] = [
    ("coco", "out.coco", lambda text: text.replace('"category_id": 1', '"category_id": 77'), "'category_id' is 77"),
    ("coco", "out.coco", lambda text: text.replace('"image_id": 1', '"image_id": 5'), "'image_id' is of no image"),
    ("coco", "out.coco", lambda text: text.replace('"counts": "', '"counts": "0'), "the RLE"),
    ("coco", "out.coco", lambda text: text.replace('"categories"', '"kinds"'), "'categories' is missing"),
    ("yolo", "out/labels/street/a photo.txt", lambda text: "9" + text[1:], "class 9 is not among"),
    ("yolo", "out/labels/street/a photo.txt", lambda text: "0 0.1 0.2 nan 0.3\n", "is no box"),
    ("yolo", "out/labels/street/a photo.txt", lambda text: "dog 0.1 0.2 0.2 0.3\n", "is no class number"),
    ("yolo", "out/data.yaml", lambda text: "names: {", "not valid YAML"),
    ("yolo", "out/data.yaml", lambda text: "train: images", "names no classes"),
    ("labelme", "out/street/a photo.json", lambda text: text.replace('"polygon"', '"mask"'), "'shape_type' is 'mask'"),
    (
        "labelme",
        "out/street/a photo.json",
        lambda text: re.sub(r'"points": \[.*?\]', '"points": [5', text, count=1, flags=re.DOTALL),
        "points",
    ),
    ("voc", "out/street/a photo.xml", lambda text: text.replace("<xmin>", "<xmin>many"), "bndbox/xmin is"),
    ("voc", "out/street/a photo.xml", lambda text: "<!DOCTYPE a>" + text, "document type"),
    ("voc", "out/street/a photo.xml", lambda text: text[:-30], "not valid XML"),
    ("label-studio", "out.label-studio", lambda text: text.replace('"rle": [0', '"rle": [1'), "of 16,7"),
    (
        "label-studio",
        "out.label-studio",
        lambda text: re.sub(r'"rle": \[([\d, ]{90})[^]]*', r'"rle": [\1 1', text),
        "cut short",
    ),
    ("csv", "out.csv", lambda text: text.replace("0.9,", "high,"), "score is 'high'"),
    ("csv", "out.csv", lambda text: text.replace("rle", "mask", 1), "no column 'rle'"),
    ("csv", "out.csv", lambda text: text.replace(",64,", ",65,"), "the RLE covers"),
]


@pytest.mark.parametrize(("name", "file", "broken", "message"), BROKEN)
def test_what_is_malformed_is_named(
    image: ImageAnnotations, tmp_path: Path, name: str, file: str, broken: Callable[[str], str], message: str
) -> None:
    path = _written([image], tmp_path, name)
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(broken(text))
    assert broken(text) != text
    with pytest.raises(LitetextError, match=message) as error:
        list(read(path, name))
    assert Path(file).name in str(error.value) or "data.yaml" in str(error.value)


def test_a_csv_file_may_hold_large_masks(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((600, 600)) < 0.5
    masks = Masks.from_dense(noise[None])
    boxes = np.array([[0, 0, 600, 600]], np.float32)
    image = ImageAnnotations("a.png", (600, 600), ("owl",), np.zeros(1, np.int64), boxes, masks, None)
    table.write([image], tmp_path / "a.csv")
    (again,) = table.read(tmp_path / "a.csv")
    assert again.masks.counts == masks.counts and len(masks.counts[0]) > 1 << 17
    (tmp_path / "b.csv").write_text("a\rb\0,\n")
    with pytest.raises(LitetextError, match=r"b\.csv"):
        list(table.read(tmp_path / "b.csv"))


@pytest.mark.parametrize("writer", [yolo, labelme])
def test_images_without_a_name_are_refused(writer: Any, image: ImageAnnotations, tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match=r"name it, as in annotations\('photo\.jpg'\)"):
        writer.write([replace(image, file_name="")], tmp_path / "set")


def test_unknown_formats_and_suffixes(image: ImageAnnotations, tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match="format 'kitti'"):
        write([image], tmp_path / "x", "kitti")
    found = Instances.from_annotations(image)
    found.save(tmp_path / "a.csv")
    (again,) = table.read(tmp_path / "a.csv")
    assert again.masks.counts == image.masks.counts
    found.save(tmp_path / "a.xml")
    assert "<xmin>" in (tmp_path / "a.xml").read_text()
