"""LabelMe: one JSON file an image, with polygons that people can go on editing.

The parts of an object are shapes of one ``group_id``; a hole is joined to its outline by a cut of no width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ...errors import LitetextError, short
from ...files import StrPath, write_json
from ...json_files import Entry, read_json
from ..annotations import ImageAnnotations
from ..masks import Masks
from ..polygons import corners_of
from .checks import fault, require, require_score
from .folders import file_beside

_VERSION = "5.5.0"
_CIRCLE_CORNERS = 64


def write(images: Iterable[ImageAnnotations], folder: StrPath, *, tolerance: float = 0.0) -> None:
    """Write a JSON file for each of several images into a folder.

    Args:
        images: a generator is read one image at a time.
        folder: made if it is not there.
        tolerance: how far, in pixels, outlines may be moved to save corners, see `Masks.to_polygons`.

    Raises:
        LitetextError: two images whose files would have the same name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: set[Path] = set()
    for image in images:
        write_json(file_beside(folder, image.file_name, ".json", written), document(image, tolerance))


def document(image: ImageAnnotations, tolerance: float = 0.0) -> dict[str, Any]:
    """Return the LabelMe document of one image; an object's ``score`` stands beside its label."""
    shapes = [
        {
            "label": image.labels[row],
            "points": [[float(x), float(y)] for x, y in part.tolist()],
            "group_id": row,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            **({} if image.scores is None else {"score": float(image.scores[row])}),
        }
        for row, parts in enumerate(image.masks.to_polygons(tolerance))
        for part in parts
    ]
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": PurePath(image.file_name).name,
        "imageData": None,
        "imageHeight": image.size[0],
        "imageWidth": image.size[1],
    }


def read(folder: StrPath) -> Iterator[ImageAnnotations]:
    """Read the LabelMe files of a folder (or one file), image by image in the order of their names.

    Polygons, rectangles and circles are read; shapes of one ``group_id`` are one object.

    Raises:
        LitetextError: a file that is malformed, or a shape of another kind; the message names file and shape.
    """
    folder = Path(folder)
    files = sorted(folder.rglob("*.json")) if folder.is_dir() else [folder]
    if not files:
        raise LitetextError(f"{folder} holds no .json files; give a folder of LabelMe annotations")
    for path in files:
        relative = path.relative_to(folder).parent if folder.is_dir() else PurePath()
        yield _image(str(path), relative, read_json(path))


def _image(name: str, folder: PurePath, value: Any) -> ImageAnnotations:
    whole = Entry("the document", None, value)
    size = (require(whole, "imageHeight", int, name), require(whole, "imageWidth", int, name))
    if min(size) < 1:
        raise fault(name, whole, "imageHeight", f"and 'imageWidth' are {size[0]} and {size[1]}, at least 1 is needed")
    labels: dict[Any, str] = {}
    outlines: dict[Any, list[list[float]]] = {}
    scores: dict[Any, float] = {}
    for number, shape in enumerate(require(whole, "shapes", list, name)):
        entry = Entry("shapes", number, shape)
        label = require(entry, "label", str, name)
        group = shape.get("group_id")
        key = (label, group) if isinstance(group, int | str) else number
        labels[key] = label
        outlines.setdefault(key, []).append(_outline(name, entry))
        if "score" in shape:
            scores[key] = require_score(entry, name)
    masks = Masks.from_polygons(outlines.values(), size)
    categories = tuple(dict.fromkeys(labels.values()))
    return ImageAnnotations(
        (folder / str(value.get("imagePath") or "")).as_posix(),
        size,
        categories,
        np.array([categories.index(label) for label in labels.values()], dtype=np.int64),
        masks.boxes,
        masks,
        np.array([scores[key] for key in labels], np.float32) if labels and scores.keys() == labels.keys() else None,
    )


def _outline(name: str, entry: Entry) -> list[float]:
    """A shape as a flat polygon."""
    kind, points = entry.value.get("shape_type", "polygon"), require(entry, "points", list, name)
    try:
        corners = np.array(points, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        corners = np.full((1, 2), np.nan)
    needed = {"polygon": len(corners) >= 3, "rectangle": len(corners) == 2, "circle": len(corners) == 2}
    if not isinstance(kind, str) or kind not in needed:
        raise fault(name, entry, "shape_type", f"is {short(kind)}; polygon, rectangle and circle can be read")
    if not needed[kind] or not np.isfinite(corners).all() or np.abs(corners).max() > 2**20:
        raise fault(name, entry, "points", f"are no {kind} in pixels")
    if kind == "rectangle":
        return corners_of([*corners.min(0).tolist(), *corners.max(0).tolist()])
    if kind == "circle":
        angles = np.arange(_CIRCLE_CORNERS) * (2 * math.pi / _CIRCLE_CORNERS)
        radius = float(np.hypot(*(corners[1] - corners[0])))
        corners = corners[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    flat: list[float] = corners.ravel().tolist()
    return flat
