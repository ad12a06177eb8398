"""A picture of every object of a video: one crop each, from the frame in which it is seen best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import extras_named
from ..files import StrPath
from .drawing import PALETTE, draw_masks, font, rgb, save_picture
from .masklets import FrameResult, object_number
from .masks import Masks, whole_box

with extras_named():
    from PIL import Image, ImageDraw

_CELL = 176  # pixels of a crop's longer side
_GAP, _LINE, _TEXT = 10, 17, 13  # pixels between cells, from line to line, and of the letters
_MOST_ENLARGED = 4.0
_MARGIN = 0.15  # of an object's longer side, around it


@dataclass(slots=True)
class _Seen:
    """What is kept of an object: its prompt, a crop of its best frame, the mask there, and how often it is seen."""

    prompt: str
    place: int
    frames: int = 0
    best: tuple[float, int] = (-1.0, 0)  # score, pixels
    crop: Image.Image = field(default_factory=lambda: Image.new("RGB", (1, 1)))
    mask: Masks = field(default_factory=lambda: Masks((1, 1), ()))
    box: tuple[int, int, int, int] = (0, 0, 1, 1)


class ContactSheet:
    """The objects of a video, gathered frame by frame.

    An object is shown in the frame of its highest score; of several, where its mask is largest.
    """

    def __init__(self) -> None:
        self._objects: dict[int, _Seen] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def add(self, image: NDArray[np.uint8], frame: FrameResult) -> None:
        """Take what a frame shows.

        Args:
            image: of the frame, uint8 [H, W, 3].
            frame: what was found in it.
        """
        found = frame.instances
        areas = found.masks.areas.tolist()
        for row, object_id in enumerate(frame.object_ids.tolist()):
            place, score = int(found.prompt_index[row]), float(found.scores[row])
            seen = self._objects.setdefault(object_id, _Seen(found.prompts[place], place))
            seen.frames += 1
            if areas[row] and (score, areas[row]) > seen.best:
                seen.best = (score, areas[row])
                seen.mask = found.masks[[row]]
                seen.box = _around(seen.mask)
                seen.crop = _fitted(image, seen.box)

    def picture(self) -> Image.Image:
        """Return the sheet: by prompt, then by number, each crop with prompt, number, frames and best score."""
        several = sorted(self._objects.items(), key=lambda item: (item[1].place, item[0]))
        columns = max(1, min(8, math.ceil(math.sqrt(1.4 * len(several)))))
        rows = max(1, math.ceil(len(several) / columns))
        step = (_CELL + _GAP, _CELL + 2 * _LINE + _GAP)
        sheet = Image.new("RGB", (columns * step[0] + _GAP, rows * step[1] + _GAP), "white")
        for place, (object_id, seen) in enumerate(several):
            left, top = _GAP + place % columns * step[0], _GAP + place // columns * step[1]
            _draw_cell(sheet, (left, top), object_id, seen)
        return sheet

    def save(self, path: StrPath) -> None:
        """Write the sheet as a PNG, atomically."""
        save_picture(self.picture(), path, "PNG")


def _around(mask: Masks) -> tuple[int, int, int, int]:
    """The box of a mask with some of its surroundings: x1, y1, x2, y2 in whole pixels."""
    x1, y1, x2, y2 = mask.boxes[0].tolist()
    margin = max(4.0, _MARGIN * max(x2 - x1, y2 - y1))
    return whole_box((x1 - margin, y1 - margin, x2 + margin, y2 + margin), mask.size)


def _fitted(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> Image.Image:
    """A box of an image, of a size that fits a cell."""
    x1, y1, x2, y2 = box
    crop = Image.fromarray(np.ascontiguousarray(image[y1:y2, x1:x2]))
    scale = min(_MOST_ENLARGED, _CELL / max(crop.size))
    size = (max(1, round(crop.width * scale)), max(1, round(crop.height * scale)))
    return crop.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX)


def _draw_cell(sheet: Image.Image, place: tuple[int, int], object_id: int, seen: _Seen) -> None:
    left, top = place
    color = rgb(PALETTE[object_id % len(PALETTE)])
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), fill="#f1f3f5")
    crop = seen.crop.copy()
    if len(seen.mask):
        draw_masks(crop, seen.mask.crop(seen.box), np.array([object_id]))
    sheet.paste(crop, (left + (_CELL - crop.width) // 2, top + (_CELL - crop.height) // 2))
    draw.rectangle((left, top + _CELL, left + _CELL - 1, top + _CELL + 2 * _LINE - 1), fill=color)
    frames = f"{seen.frames:,} frame{'s' if seen.frames != 1 else ''}, best {max(seen.best[0], 0):.2f}"
    for line, text in enumerate((f"#{object_number(object_id)} {seen.prompt}", frames)):
        draw.text((left + 4, top + _CELL + line * _LINE), _cut(draw, text), fill="white", font=font(_TEXT))


def _cut(draw: ImageDraw.ImageDraw, text: str) -> str:
    """A text that fits a cell, with dots for what was cut off."""
    if draw.textlength(text, font=font(_TEXT)) <= _CELL - 8:
        return text
    while text and draw.textlength(text + "…", font=font(_TEXT)) > _CELL - 8:
        text = text[:-1]
    return text + "…"
