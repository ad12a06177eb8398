"""CSV: one row an object, for spreadsheets and data frames; its mask is COCO's compressed run lengths.

An image in which nothing was found has one row without a label, so that it is not lost.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from ...errors import LitetextError, short
from ...files import StrPath, atomic_path, read_text
from ..annotations import ImageAnnotations
from ..masks import Masks

COLUMNS = ("image", "width", "height", "label", "score", "x1", "y1", "x2", "y2", "area", "rle")


def write(images: Iterable[ImageAnnotations], path: StrPath) -> None:
    """Write several images as one CSV file (UTF-8), atomically; a generator is read one image at a time."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for image in images:
            table.writerows(_rows(image))


def read(path: StrPath) -> Iterator[ImageAnnotations]:
    """Read a CSV file, image by image; the rows of an image stand together.

    Raises:
        LitetextError: a column that is missing, or a value that cannot be; the message names file and row.
    """
    columns, lines = _read_rows(path)
    missing = set(COLUMNS) - set(columns)
    if missing:
        raise LitetextError(f"{path} has no column {sorted(missing)[0]!r}; it has {', '.join(columns)}")
    for name, rows in groupby(enumerate(lines, start=2), key=lambda row: row[1]["image"]):
        yield _image(Path(path), name, list(rows))


def _read_rows(path: StrPath) -> tuple[Sequence[str], list[dict[str, str]]]:
    """The columns and the rows of a CSV file, whose cells may be longer than Python's `csv` allows by default."""
    text = read_text(path, "a CSV file")
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        return reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise LitetextError(f"{path} is not a CSV file ({error}); give one that litetext wrote") from None
    finally:
        csv.field_size_limit(limit)


def _rows(image: ImageAnnotations) -> Iterator[list[object]]:
    height, width = image.size
    head: list[object] = [image.file_name, width, height]
    if not len(image):
        yield [*head, *[""] * (len(COLUMNS) - len(head))]
    scores = [""] * len(image) if image.scores is None else [f"{score:.6g}" for score in image.scores.tolist()]
    rows = zip(image.labels, scores, image.boxes.tolist(), image.masks.areas.tolist(), image.masks.counts, strict=True)
    for label, score, box, area, counts in rows:
        yield [*head, label, score, *(f"{side:.2f}" for side in box), area, counts.decode("ascii")]


def _image(path: Path, name: str, rows: list[tuple[int, dict[str, str]]]) -> ImageAnnotations:
    line, first = rows[0]
    size = (int(_number(path, line, first, "height")), int(_number(path, line, first, "width")))
    objects = [(line, row) for line, row in rows if row["label"]]
    labels = [row["label"] for _, row in objects]
    categories = tuple(dict.fromkeys(labels))
    boxes = [[_number(path, line, row, side) for side in ("x1", "y1", "x2", "y2")] for line, row in objects]
    try:
        masks = Masks.from_rle([{"size": size, "counts": row["rle"]} for _, row in objects], size)
    except LitetextError as error:
        raise LitetextError(f"{path}: rows of {name} from line {line} on: {error}") from None
    scored = bool(objects) and all(row["score"] for _, row in objects)
    return ImageAnnotations(
        name,
        size,
        categories,
        np.array([categories.index(label) for label in labels], dtype=np.int64),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        masks,
        np.array([_number(path, line, row, "score") for line, row in objects], np.float32) if scored else None,
    )


def _number(path: Path, line: int, row: dict[str, str], column: str) -> float:
    text = row[column] or ""
    try:
        value = float(text)
        if math.isfinite(value) and abs(value) < 2**31:
            return value
    except ValueError:
        pass
    raise LitetextError(f"{path}: line {line}: {column} is {short(text)}, where a number should stand")
