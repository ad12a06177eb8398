"""What was found, as answers hold it: JSON, COCO or a picture."""

from __future__ import annotations

import io
from typing import Any, Literal

from ..results import Instances
from .uploads import Upload

MaskForm = Literal["rle", "polygons", "none"]


def found_answer(
    found: Instances, upload: Upload, model: str, *, cached: bool, masks: MaskForm, tolerance: float
) -> dict[str, Any]:
    """Return what was found in an image as JSON values, see `litetext.serve.schemas.SegmentAnswer`.

    Args:
        found: in it.
        upload: the image.
        model: that found it.
        cached: whether the image's features were kept.
        masks: as run lengths, as polygons, or not at all.
        tolerance: of polygons, in pixels.
    """
    counts = [0] * len(found.prompts)
    for row in found.prompt_index.tolist():
        counts[row] += 1
    presence = found.presence.tolist()
    return {
        "model": model,
        "image": upload.name,
        "width": found.size[1],
        "height": found.size[0],
        "cached": cached,
        "phrases": [
            {"phrase": phrase, "presence": probability, "count": count}
            for phrase, probability, count in zip(found.prompts, presence, counts, strict=True)
        ],
        "instances": _instances(found, masks, tolerance),
    }


def picture_answer(found: Instances, upload: Upload) -> bytes:
    """Return a PNG of the image with what was found drawn on it."""
    buffer = io.BytesIO()
    found.plot(upload.pixels()).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _instances(found: Instances, masks: MaskForm, tolerance: float) -> list[dict[str, Any]]:
    shapes: list[dict[str, Any]] = [{}] * len(found)
    if masks == "rle":
        shapes = [{"mask": one} for one in found.masks.to_rle()]
    elif masks == "polygons":
        shapes = [{"polygons": [part.tolist() for part in one]} for one in found.masks.to_polygons(tolerance)]
    scores, boxes, areas = found.scores.tolist(), found.boxes.tolist(), found.masks.areas.tolist()
    rows = zip(found.labels, scores, boxes, areas, shapes, strict=True)
    return [
        {"phrase": phrase, "score": score, "box": box, "area": area, **shape}
        for phrase, score, box, area, shape in rows
    ]
