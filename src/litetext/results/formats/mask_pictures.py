"""One PNG a frame whose pixels are the numbers of the objects, 0 where there is none, as DAVIS has its annotations.

Up to 255 objects a pixel is a byte, with a palette that shows the objects in the colors of overlays; with more it is 16
bits of gray. Where objects overlap, the one of the higher score is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import LitetextError
from ...files import StrPath
from ...images import read_numbers
from ...videos.pictures import frame_files
from ..instances import Instances
from ..masklets import FrameResult, Masklets, object_number
from ..masks import Masks

_BYTE, _MOST = 255, 65_535


def write(frame: FrameResult, path: StrPath) -> None:
    """Write the objects of one frame.

    Raises:
        LitetextError: a number above 65,535.
    """
    from PIL import Image

    from ..drawing import PALETTE, rgb

    numbers = _painted(frame)
    picture = Image.fromarray(numbers)
    if numbers.dtype == np.uint8:
        picture = picture.convert("P")
        picture.putpalette([0, 0, 0, *(part for id in range(_BYTE) for part in rgb(PALETTE[id % len(PALETTE)]))])
    picture.save(path, "PNG")


def read(folder: StrPath) -> Masklets:
    """Read the pictures of a folder, one a frame in the order of their names; all objects answer the prompt "object".

    Raises:
        LitetextError: a folder without pictures, or one of them that holds no numbers.
    """
    return Masklets.collect(_frames(Path(folder)))


def _painted(frame: FrameResult) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The number of the object that each pixel of a frame shows [H, W], 0 for none."""
    numbers = [object_number(id) for id in frame.object_ids.tolist()]
    highest = max(numbers, default=0)
    if highest > _MOST:
        raise LitetextError(f"mask pictures hold numbers up to {_MOST:,}, and there is an object {highest:,}")
    picture = np.zeros(frame.instances.size, np.uint8 if highest <= _BYTE else np.uint16)
    for row in np.argsort(frame.instances.scores, kind="stable").tolist():
        picture[frame.instances.masks[row]] = numbers[row]
    return picture


def _frames(folder: Path) -> Iterator[FrameResult]:
    for index, path in enumerate(frame_files(folder)):
        picture = read_numbers(path)
        numbers = np.unique(picture[picture > 0]).astype(np.int64)
        masks = Masks.from_dense((picture == number for number in numbers), (picture.shape[0], picture.shape[1]))
        instances = Instances(
            masks.size,
            ("object",),
            np.full(1, np.nan, np.float32),
            masks.boxes,
            masks,
            np.ones(len(numbers), np.float32),
            np.zeros(len(numbers), np.int64),
        )
        yield FrameResult(index, numbers - object_number(0), instances)
