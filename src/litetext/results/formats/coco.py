"""COCO datasets, ``images``, ``categories`` and ``annotations`` in one JSON document, and COCO results, one list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LitetextError
from ..annotations import ImageAnnotations


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
