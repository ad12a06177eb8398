"""SA-Co Gold, whose unit is a pair of an image and a noun phrase: ground truth and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..annotations import ImageAnnotations
from ..masks import Masks
from . import coco


@dataclass(frozen=True, slots=True, eq=False)
class TruthPair:
    """A pair as it is written into ground truth.

    Attributes:
        id: of the pair.
        file_name: of the image.
        prompt: the noun phrase.
        masks: of all its instances; none for a negative.
        extra: further keys of the entry.
    """

    id: int
    file_name: str
    prompt: str
    masks: Masks
    extra: Mapping[str, Any] = field(default_factory=dict)


def document(pairs: Iterable[TruthPair], description: str, source: str) -> dict[str, Any]:
    """Return a SA-Co Gold document: an entry of ``images`` is a pair; one without annotations is a negative.

    Args:
        pairs: exhaustively annotated; a generator is read one pair at a time.
        description: of the data set.
        source: of the annotations.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for pair in pairs:
        height, width = pair.masks.size
        images.append(
            {
                "id": pair.id,
                "file_name": pair.file_name,
                "text_input": pair.prompt,
                "width": width,
                "height": height,
                **pair.extra,
                "is_instance_exhaustive": 1,
                "is_pixel_exhaustive": 1,
            }
        )
        corners = pair.masks.boxes.astype(np.float64)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1) / [
            width,
            height,
            width,
            height,
        ]
        for box, area, rle in zip(boxes.tolist(), pair.masks.areas.tolist(), pair.masks.to_rle(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": pair.id,
                    "category_id": 1,
                    "bbox": box,
                    "area": area / (width * height),
                    "segmentation": rle,
                    "iscrowd": 0,
                    "source": source,
                }
            )
    return {
        "info": {"description": description},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }


def predictions(
    image: ImageAnnotations,
    pair_ids: Sequence[int | str],
    *,
    presence: NDArray[np.float32] | None = None,
    category_id: int = 1,
) -> Iterator[dict[str, Any]]:
    """Yield SA-Co predictions of one image, one entry an instance: COCO results with boxes as fractions of the image.

    Args:
        image: with scores.
        pair_ids: for each of its categories (the noun phrases) the id of the pair, ``images[].id`` of the ground truth.
        presence: for each of its categories the belief that it is in the image at all; NaN where it is not known.
        category_id: SA-Co's only category.
    """
    height, width = image.size
    ids = [(id, category_id) for id in pair_ids]
    return coco.results(image, ids, presence=presence, box_unit=(width, height))
