"""MOTChallenge's CSV: one line an object and frame, with its box, and no mask.

The columns are frame (from 1), object (from 1), left, top, width and height in pixels, confidence, class (from 1, the
prompts in their order), and two of -1, as results of MOTChallenge have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from ...errors import LitetextError, short
from ...files import StrPath, read_text, write_text
from ..instances import Instances
from ..masklets import FrameResult, Masklets, object_number
from ..masks import Masks
from ..polygons import corners_of
from ..rle import Size

_LEAST_COLUMNS = 6
_MOST = 1_000_000  # frames and objects


def write(found: Masklets, path: StrPath) -> None:
    """Write the objects of a video, frame by frame, atomically."""
    write_text(path, "".join(_lines(found)))


def read(path: StrPath, size: Size, prompts: Sequence[str] = ("object",)) -> Masklets:
    """Read the objects of a video. Their masks are their boxes, filled: the file has no others.

    Results and ground truth are read alike; a confidence of -1, or none at all, is 1.

    Args:
        path: of the file.
        size: height and width of the frames in pixels, which the file does not tell.
        prompts: the names of classes 1, 2, …; objects without a class have the first.

    Raises:
        LitetextError: a line that is malformed, by its number.
    """
    places = [_place(row, f"{path}: line {number}", size, len(prompts)) for number, row in _rows(path)]
    if not places:
        raise LitetextError(f"{path} has no line; give a CSV file of MOTChallenge")
    places.sort(key=lambda place: (place.frame, place.category, -place.score))
    frames = (_frame(list(group), size, tuple(prompts)) for _, group in groupby(places, lambda place: place.frame))
    try:
        return Masklets.collect(frames)
    except LitetextError as error:  # an object twice in a frame, or of two classes
        raise LitetextError(f"{path}: {error}") from None


class _Place(NamedTuple):
    """Where an object is in a frame: all numbers from 0, the box x1, y1, x2, y2 in pixels."""

    frame: int
    object_id: int
    box: tuple[float, float, float, float]
    score: float
    category: int


def _lines(found: Masklets) -> Iterator[str]:
    columns = (found.frames, found.object_ids[found.objects], found.boxes, found.frame_scores)
    classes = found.prompt_index[found.objects].tolist()
    for frame, object_id, box, score, index in zip(*(column.tolist() for column in columns), classes, strict=True):
        x1, y1, x2, y2 = box
        sides = ",".join(f"{side:.2f}" for side in (x1, y1, x2 - x1, y2 - y1))
        yield f"{frame + 1},{object_number(object_id)},{sides},{score:.4f},{index + 1},-1,-1\n"


def _rows(path: StrPath) -> Iterator[tuple[int, list[str]]]:
    """The cells of every line that is not empty, and its number; commas and spaces are alike, as in MOT15's files."""
    for number, line in enumerate(read_text(path, "a CSV file of MOTChallenge").splitlines(), start=1):
        if line.strip():
            yield number, line.replace(",", " ").split()


def _place(row: list[str], place: str, size: Size, classes: int) -> _Place:
    try:
        numbers = [float(cell) for cell in row]
    except ValueError:
        numbers = []
    if len(numbers) < _LEAST_COLUMNS or not np.isfinite(numbers).all():
        raise LitetextError(f"{place} is {short(','.join(row))}, where frame, object, x, y, width, height should stand")
    frame, object_id, x, y, width, height, score, category = [*numbers, -1, -1][:8]
    if not (1 <= frame <= _MOST and 1 <= object_id <= _MOST):
        raise LitetextError(f"{place}: frame {frame:g} and object {object_id:g} must be 1 to {_MOST:,}")
    box = (x, y, x + width, y + height)
    if min(width, height) < 0 or max(map(abs, box)) > 3 * max(size):
        raise LitetextError(
            f"{place}: the box {x:g}, {y:g}, {width:g}, {height:g} is none of a {size[1]}x{size[0]} frame"
        )
    if not (0 <= score <= 1 or score == -1):
        raise LitetextError(f"{place}: the confidence {score:g} is no number from 0 to 1")
    if category > classes:
        raise LitetextError(f"{place}: class {category:g}, but {classes} prompts are given: prompts=[…]")
    return _Place(int(frame) - 1, int(object_id) - 1, box, abs(score), max(0, int(category) - 1))


def _frame(places: list[_Place], size: Size, prompts: tuple[str, ...]) -> FrameResult:
    boxes = [place.box for place in places]
    instances = Instances(
        size,
        prompts,
        np.full(len(prompts), np.nan, np.float32),
        np.array(boxes, dtype=np.float32),
        Masks.from_polygons([[corners_of(box)] for box in boxes], size),
        np.array([place.score for place in places], dtype=np.float32),
        np.array([place.category for place in places], dtype=np.int64),
    )
    return FrameResult(places[0].frame, np.array([place.object_id for place in places]), instances)
