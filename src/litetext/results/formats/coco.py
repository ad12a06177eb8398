"""COCO datasets, ``images``, ``categories`` and ``annotations`` in one JSON document, and COCO results, one list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LitetextError
from ...files import StrPath, write_json
from ...json_files import Entry, stream_json
from ..annotations import ImageAnnotations
from ..masks import Masks
from ..polygons import corners_of
from .checks import ID, MaskCheck, fault, require, require_box, require_mask, require_score, require_size


def document(images: Iterable[ImageAnnotations], first_image_id: int = 1) -> dict[str, Any]:
    """Return one COCO dataset of several images.

    Masks are compressed run lengths, boxes x, y, width, height in pixels; an annotation that was predicted carries its
    ``score``.

    Args:
        images: a generator is read one image at a time. Categories of the same name are one.
        first_image_id: id of the first image; the others count up.
    """
    category_ids: dict[str, int] = {}
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=first_image_id):
        height, width = image.size
        listed.append({"id": image_id, "file_name": image.file_name, "width": width, "height": height})
        for name in image.categories:
            category_ids.setdefault(name, len(category_ids) + 1)
        rows = zip(image.labels, image.xywh.tolist(), image.masks.areas.tolist(), image.masks.to_rle(), strict=True)
        for row, (label, box, area, rle) in enumerate(rows):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[label],
                    "bbox": box,
                    "area": area,
                    "segmentation": rle,
                    "iscrowd": 0,
                    **({} if image.scores is None else {"score": float(image.scores[row])}),
                }
            )
    return {
        "images": listed,
        "categories": [{"id": index, "name": name} for name, index in category_ids.items()],
        "annotations": annotations,
    }


def results(
    image: ImageAnnotations,
    ids: Sequence[tuple[int | str, int]],
    *,
    presence: NDArray[np.float32] | None = None,
    box_unit: tuple[float, float] = (1.0, 1.0),
) -> Iterator[dict[str, Any]]:
    """Yield COCO results of one image, one entry an object.

    Args:
        image: with scores.
        ids: for each of its categories the ``image_id`` and ``category_id`` to write.
        presence: for each of its categories the belief that it is in the image at all; NaN where it is not known.
        box_unit: what x and y are divided by: 1 for pixels, the image's width and height for fractions.
    """
    if image.scores is None:
        raise LitetextError(f"{image.file_name or 'the image'}: results need a score for every object")
    boxes = (image.xywh.clip([-math.inf, -math.inf, 0, 0]) / [*box_unit, *box_unit]).tolist()
    rows = zip(image.category_index.tolist(), image.scores.tolist(), boxes, image.masks.to_rle(), strict=True)
    for category, score, box, rle in rows:
        image_id, category_id = ids[category]
        there = math.nan if presence is None else float(presence[category])
        yield {
            "image_id": image_id,
            "category_id": category_id,
            "score": score,
            **({} if math.isnan(there) else {"presence": there}),
            "bbox": box,
            "segmentation": rle,
        }


def write(images: Iterable[ImageAnnotations], path: StrPath) -> None:
    """Write several images as one COCO file, atomically."""
    write_json(path, document(images), indent=None)


def read(path: StrPath) -> Iterator[ImageAnnotations]:
    """Read a COCO dataset, image by image in the file's order.

    Outlines may be run lengths or polygons; an object that has none is its box, filled. Crowds are left out: their
    outline is of many.

    Raises:
        LitetextError: missing or mistyped keys, ids that nothing has, or masks that do not fit their image; the message
            names file, entry and key.
    """
    name = str(path)
    images: dict[int | str, Entry] = {}
    categories: dict[int, str] = {}
    objects: dict[int | str, list[Entry]] = {}
    for entry in stream_json(Path(path)):
        if entry.key == "images":
            images[require(entry, "id", ID, name)] = entry
        elif entry.key == "categories":
            categories[require(entry, "id", int, name)] = require(entry, "name", str, name)
        elif entry.key == "annotations":
            image = require(entry, "image_id", ID, name)
            if not entry.value.get("iscrowd", 0):
                objects.setdefault(image, []).append(entry)
    for key, found in (("images", images), ("categories", categories)):
        if not found:
            raise LitetextError(f"{name}: key {key!r} is missing or empty; give a COCO annotation file")
    unknown = next((entries[0] for image, entries in objects.items() if image not in images), None)
    if unknown is not None:
        raise fault(name, unknown, "image_id", "is of no image in the file")
    for image, entry in images.items():
        yield _image(name, entry, objects.get(image, []), categories)


def _image(name: str, entry: Entry, objects: list[Entry], categories: dict[int, str]) -> ImageAnnotations:
    size = require_size(entry, name)
    rows = {id: row for row, id in enumerate(categories)}
    boxes, counts, index = [], [], []
    check = MaskCheck(name)
    for one in objects:
        category = require(one, "category_id", int, name)
        if category not in rows:
            raise fault(name, one, "category_id", f"is {category}, which no entry of 'categories' has")
        x, y, width, height = require_box(one, "bbox", require(one, "bbox", list, name), name)
        boxes.append((x, y, x + width, y + height))
        outline = one.value.get("segmentation") or [corners_of(boxes[-1])]
        mask, own = require_mask(one, "segmentation", outline, name, size)
        if own != size:
            raise fault(name, one, "segmentation", f"has size {own}, its image {size} (height, width)")
        check.add(mask, size, one.place, "segmentation")
        counts.append(mask)
        index.append(rows[category])
    check.finish()
    scored = [one for one in objects if "score" in one.value]
    return ImageAnnotations(
        file_name=str(entry.value.get("file_name", "")),
        size=size,
        categories=tuple(categories.values()),
        category_index=np.array(index, dtype=np.int64),
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        masks=Masks(size, tuple(counts)),
        scores=np.array([require_score(one, name) for one in objects], np.float32) if scored else None,
    )
