"""YOLO segmentation labels, as ultralytics reads them: ``labels/NAME.txt`` beside ``images/``, and ``data.yaml``.

A line is an object: its class number, then x and y of its outline's corners as fractions of the image. YOLO has one
line of points an object, so parts and holes are joined by cuts of no width, as ultralytics' own converter does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ...errors import LitetextError, short
from ...files import StrPath, read_text
from ...images import image_files, image_size
from ..annotations import ImageAnnotations
from ..masks import Masks
from ..polygons import corners_of, joined
from ..rle import Size
from .folders import file_beside

_DIGITS = 6


def write(
    images: Iterable[ImageAnnotations],
    folder: StrPath,
    *,
    tolerance: float = 0.0,
    scores: bool = False,
    train: str = "images",
    val: str = "images",
) -> None:
    """Write the labels of several images, and ``data.yaml`` with the classes, into a folder.

    Args:
        images: a generator is read one image at a time. Categories of the same name are one class.
        folder: made if it is not there; the images themselves belong in its folder ``images``.
        tolerance: how far, in pixels, outlines may be moved to save corners, see `Masks.to_polygons`.
        scores: end each line with the score, as ultralytics' predictions do; training does not read such lines.
        train: the folder in ``folder`` of the images to train on, for ``data.yaml``.
        val: that of the images to validate on.

    Raises:
        LitetextError: two images whose labels would have the same name.
    """
    folder = Path(folder)
    classes: dict[str, int] = {}
    written: set[Path] = set()
    for image in images:
        for name in image.categories:
            classes.setdefault(name, len(classes))
        path = file_beside(folder / "labels", image.file_name, ".txt", written)
        path.write_text("".join(_lines(image, classes, tolerance, scores)), encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    names = {number: name for name, number in classes.items()}
    document = {"train": train, "val": val, "names": names}  # without a path, they are looked for beside the file
    (folder / "data.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")


def labels(image: ImageAnnotations, *, tolerance: float = 0.0) -> str:
    """Return the file of labels of one image, see `write`; its classes are the image's categories in their order."""
    return "".join(_lines(image, {name: row for row, name in enumerate(image.categories)}, tolerance, scores=False))


def read(folder: StrPath, images: StrPath | None = None) -> Iterator[ImageAnnotations]:
    """Read labels, image by image in the order of their names; an image without a file of labels has no object.

    Lines of four numbers after the class are boxes (center x, center y, width, height), which are filled; a number left
    over at the end of a line is a score.

    Args:
        folder: with ``labels`` and ``data.yaml``.
        images: the folder of the images, whose sizes are needed; by default ``images`` in ``folder``.

    Raises:
        LitetextError: a file that is missing or malformed, by name and line.
    """
    folder = Path(folder)
    images = folder / "images" if images is None else Path(images)
    names = _class_names(folder / "data.yaml")
    for path in image_files(images):
        file_name = path.relative_to(images)
        yield _image(folder / "labels" / file_name.with_suffix(".txt"), file_name, image_size(path), names)


def _lines(image: ImageAnnotations, classes: Mapping[str, int], tolerance: float, scores: bool) -> Iterator[str]:
    """One line an object; an empty mask has none."""
    height, width = image.size
    for row, parts in enumerate(image.masks.to_polygons(tolerance)):
        if parts:
            outline: NDArray[np.float64] = reduce(joined, [part.astype(np.float64) for part in parts])
            values = (outline / [width, height]).ravel().tolist()
            if scores and image.scores is not None:
                values.append(float(image.scores[row]))
            numbers = (f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".") for value in values)
            yield f"{classes[image.labels[row]]} {' '.join(numbers)}\n"


def _image(path: Path, file_name: PurePath, size: Size, names: Mapping[int, str]) -> ImageAnnotations:
    rows = {number: row for row, number in enumerate(names)}
    index, outlines, scores = [], [], []
    for number, line in enumerate(read_text(path, "YOLO labels").splitlines() if path.exists() else [], start=1):
        if line.strip():
            category, outline, score = _object(line, f"{path}: line {number}", size)
            if category not in rows:
                raise LitetextError(f"{path}: line {number}: class {category} is not among the names in data.yaml")
            index.append(rows[category])
            outlines.append(outline)
            scores.append(score)
    boxes = [[*outline.min(0), *outline.max(0)] for outline in outlines]
    scored = [score for score in scores if score is not None]
    return ImageAnnotations(
        file_name.as_posix(),
        size,
        tuple(names.values()),
        np.array(index, dtype=np.int64),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        Masks.from_polygons([[outline] for outline in outlines], size),
        np.array(scored, np.float32) if scored and len(scored) == len(scores) else None,
    )


def _object(line: str, place: str, size: Size) -> tuple[int, NDArray[np.float64], float | None]:
    """A line's class, outline in pixels [n, 2] and score."""
    height, width = size
    try:
        category = int(line.split()[0])
        numbers = np.array([float(value) for value in line.split()[1:]])
    except ValueError:
        raise LitetextError(f"{place}: {short(line)} is no class number with coordinates") from None
    if len(numbers) < 4 or not np.isfinite(numbers).all() or np.abs(numbers).max() > 2:
        raise LitetextError(f"{place}: {short(line)} is no box of 4 fractions of the image and no outline of 6 or more")
    score = float(numbers[-1]) if len(numbers) % 2 else None
    numbers = numbers[: len(numbers) // 2 * 2]
    if len(numbers) == 4:
        x, y, w, h = numbers.tolist()
        numbers = np.array(corners_of((x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
    return category, numbers.reshape(-1, 2) * [width, height], score


def _class_names(path: Path) -> dict[int, str]:
    """The classes in ``data.yaml`` by number; ``names`` may be a mapping or a list."""
    try:
        document: Any = yaml.safe_load(read_text(path, "a data.yaml"))
    except yaml.YAMLError as error:
        raise LitetextError(f"{path} is not valid YAML ({' '.join(str(error).split())})") from None
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(type(number) is int for number in names):
        raise LitetextError(f"{path} names no classes; write them under 'names:', as NUMBER: NAME")
    return {number: str(name) for number, name in names.items()}
