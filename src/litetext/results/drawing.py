"""Masks over a photo, with prompt and score: a light fill, a strong outline, one color a prompt.

The fill leaves the object's own colors to be seen; the outline lies on both sides of the mask's edge and is smooth.
Where masks of several prompts cover the same object, each shows in stripes of its own. Small photos are enlarged, so
that a label of eleven pixels still leaves the picture to be seen.

Pillow alone is needed, and little memory beside the picture: masks are decoded one at a time and laid on in strips.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import extras_named
from ..files import atomic_path
from .masks import Masks
from .rle import Runs, Size

with extras_named():
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

if TYPE_CHECKING:
    FloatArray = NDArray[np.float32]

PALETTE = ("#d6336c", "#1971c2", "#2f9e44", "#e8590c", "#7048e8", "#0c8599", "#a61e4d", "#846300", "#364fc7", "#5c940d")
"""Ten hues that white letters can be read on and that differ from their neighbors."""

_SHORTEST_LONG_SIDE = 768
_FILL, _OUTLINE = 0.22, 0.95  # opacities
_SAME_OBJECT = 0.6  # masks of two prompts with at least this IoU are of one object
_OPACITY = [
    round(255 * max(_FILL * part, _OUTLINE * min(2 * (1 - abs(2 * part - 1)), 1)))
    for part in (value / 255 for value in range(256))
]
"""By how much of the surroundings of a pixel the mask covers: half of it along the mask's edge."""

_STRIP = 2**20  # pixels laid on at once


def rgb(color: str) -> tuple[int, int, int]:
    """Return a color of the palette as red, green and blue, 0..255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def save_picture(picture: Image.Image, path: str | os.PathLike[str], kind: str) -> None:
    """Write a picture, atomically, in a format by Pillow's name for it."""
    with atomic_path(path) as temporary:
        picture.save(temporary, format=kind, **({"quality": 92} if kind in ("JPEG", "WEBP") else {}))


def data_uri(picture: Image.Image) -> str:
    """Return a picture as the ``src`` of an HTML image."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def overlay(
    photo: NDArray[np.uint8],
    masks: Masks,
    boxes: NDArray[np.float32],
    groups: NDArray[np.int64],
    labels: Sequence[str] | None = None,
    longest_side: int | None = None,
) -> Image.Image:
    """Return a photo with masks drawn on it.

    Args:
        photo: uint8 [H, W, 3].
        masks: N masks of its size.
        boxes: [N, 4] x1, y1, x2, y2 in pixels, beside which the labels stand.
        groups: [N] which color each has; masks of several groups on one object share it in stripes.
        labels: N texts; None: no labels.
        longest_side: of the picture in pixels; by default the photo's, or 768 where it is smaller.
    """
    height, width = masks.size
    scale = longest_side / max(height, width) if longest_side else max(1.0, _SHORTEST_LONG_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.fromarray(photo)
    del photo  # the canvas is a copy, and a large photo need not be held twice
    if size != canvas.size:
        canvas = canvas.resize(size, Image.Resampling.BILINEAR)
    draw_masks(canvas, masks, groups)
    if labels is not None:
        _write_labels(canvas, boxes * scale, [PALETTE[int(group) % len(PALETTE)] for group in groups], labels)
    return canvas


def draw_masks(canvas: Image.Image, masks: Masks, groups: NDArray[np.int64]) -> Image.Image:
    """Draw masks on a picture of their image, of any size, and return it.

    Args:
        canvas: RGB; it is drawn on.
        masks: N masks.
        groups: [N] which color each has, as in `overlay`.
    """
    runs = Runs.of(masks.counts)
    boxes, areas = runs.boxes(masks.size[0]), runs.areas
    stripes = _stripes(masks, groups, boxes, areas)
    pen = max(1.0, max(canvas.size) / 600)
    for row in np.argsort(-areas, kind="stable").tolist():  # small masks lie on large ones
        if areas[row]:
            region = runs.region(row, boxes[row], masks.size[0])
            color = rgb(PALETTE[int(groups[row]) % len(PALETTE)])
            left, top = int(boxes[row, 0]), int(boxes[row, 1])
            _lay(canvas, _Layer(region, (left, top), masks.size, canvas.size, color, stripes[row], pen))
    return canvas


@dataclass(frozen=True, slots=True)
class _Layer:
    """One mask to lay on: its color, which of how many stripes are its own, and how wide its outline is.

    Of the mask, of an image of ``size`` (height, width), only the box around it is held, which begins at ``corner``
    (x, y).
    """

    mask: NDArray[np.bool_]
    corner: tuple[int, int]
    size: Size
    canvas_size: tuple[int, int]
    color: tuple[int, int, int]
    stripe: tuple[int, int]
    pen: float

    def opacity(self, box: tuple[int, int, int, int]) -> Image.Image:
        """How strongly the color covers each pixel of a box of the canvas (x1, y1, x2, y2): 8 bits a pixel."""
        reach = int(np.ceil(2 * self.pen)) + 2
        x1, y1, x2, y2 = box
        soft = self._coverage((x1 - reach, y1 - reach, x2 + reach, y2 + reach))
        edge = soft.filter(ImageFilter.BoxBlur(self.pen))
        return self._striped(edge.crop((reach, reach, reach + x2 - x1, reach + y2 - y1)).point(_OPACITY), box)

    def _coverage(self, box: tuple[int, int, int, int]) -> Image.Image:
        """The mask inside a box of the canvas, resized and softened at its edge: 8 bits a pixel; 0 off the image."""
        height, width = self.size
        across, down = width / self.canvas_size[0], height / self.canvas_size[1]
        x1, y1, x2, y2 = box[0] * across, box[1] * down, box[2] * across, box[3] * down
        left, top = int(np.floor(x1)) - 1, int(np.floor(y1)) - 1
        right, bottom = int(np.ceil(x2)) + 1, int(np.ceil(y2)) + 1
        part = np.zeros((bottom - top, right - left), dtype=np.uint8)
        x, y = self.corner
        rows = slice(max(top, y), min(bottom, y + self.mask.shape[0]))
        columns = slice(max(left, x), min(right, x + self.mask.shape[1]))
        if rows.start < rows.stop and columns.start < columns.stop:
            inside = self.mask[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
            part[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside * np.uint8(
                255
            )
        sized = Image.fromarray(part).resize(
            (box[2] - box[0], box[3] - box[1]),
            Image.Resampling.BILINEAR,
            box=(x1 - left, y1 - top, x2 - left, y2 - top),
        )
        return sized.filter(ImageFilter.BoxBlur(max(0.6, 0.9 / across)))

    def _striped(self, opacity: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
        own, of = self.stripe
        if of == 1:
            return opacity
        x, y = np.arange(box[0], box[2]), np.arange(box[1], box[3])
        step = max(9.0, 7 * self.pen)
        shown = ((x + y[:, None]) / step).astype(np.int64) % of == own
        return Image.fromarray(np.asarray(opacity) * shown)


def _lay(canvas: Image.Image, layer: _Layer) -> None:
    """Blend a layer into the canvas, a strip of rows at a time."""
    for box in _strips(layer):
        canvas.paste(layer.color, box, layer.opacity(box))


def _strips(layer: _Layer) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of the canvas that hold the mask and its outline, none of very many pixels."""
    width, height = layer.canvas_size
    down, across = height / layer.size[0], width / layer.size[1]
    reach = int(np.ceil(2 * layer.pen)) + 2
    (x, y), (high, wide) = layer.corner, layer.mask.shape
    x1, x2 = max(0, int(x * across) - reach), min(width, int((x + wide) * across) + reach + 1)
    y1, y2 = max(0, int(y * down) - reach), min(height, int((y + high) * down) + reach + 1)
    step = max(1, _STRIP // (x2 - x1))
    for top in range(y1, y2, step):
        yield x1, top, x2, min(top + step, y2)


def _stripes(
    masks: Masks, groups: NDArray[np.int64], boxes: NDArray[np.float64], areas: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """For each mask its place among the groups on its object, and how many they are: (0, 1) where it is alone.

    Args:
        masks: N masks.
        groups: [N] of each.
        boxes: [N, 4] around them: x, y, width, height.
        areas: [N] their pixels.
    """
    if len(np.unique(groups)) < 2 or not _may_be_same(boxes, areas):
        return [(0, 1)] * len(masks)
    same = masks.iou(masks) >= _SAME_OBJECT
    stripes = []
    for row in range(len(masks)):
        here = np.unique(np.append(groups[same[row]], groups[row]))
        stripes.append((int(np.searchsorted(here, groups[row])), len(here)))
    return stripes


def _may_be_same(boxes: NDArray[np.float64], areas: NDArray[np.int64]) -> bool:
    """Whether any two masks are near enough to each other, and of sizes alike enough, to be of one object."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    shared = (np.minimum(high, high[:, None]) - np.maximum(low, low[:, None])).clip(0).prod(-1)
    smaller, larger = np.minimum(areas, areas[:, None]), np.maximum(np.maximum(areas, areas[:, None]), 1)
    return bool((np.triu(np.minimum(smaller, shared) / larger, 1) >= _SAME_OBJECT).any())


def _write_labels(
    canvas: Image.Image, boxes: NDArray[np.float32], colors: Sequence[str], labels: Sequence[str]
) -> None:
    """Write each label at its box's top left, on a plate of its color, and off the labels that stand there already."""
    width, height = canvas.size
    font_size = min(max(13, round(max(canvas.size) / 60)), max(13, min(canvas.size) // 4))
    letters = font(font_size)
    pad = max(2, font_size // 4)
    draw = ImageDraw.Draw(canvas)
    taken = np.zeros((0, 4))
    for (x1, y1, _, y2), color, label in zip(boxes.tolist(), colors, labels, strict=True):
        left, top, right, bottom = draw.textbbox((0, 0), label, font=letters)
        wide, high = right - left + 2 * pad, bottom - top + 2 * pad
        x = min(max(x1, 0), max(width - wide, 0))
        plate = _free_place(x, y1 - high, y2, wide, high, height, taken)
        taken = np.vstack([taken, plate])
        draw.rounded_rectangle(plate, radius=pad, fill=color)
        draw.text((plate[0] + pad - left, plate[1] + pad - top), label, fill="white", font=letters)


@lru_cache(maxsize=8)
def font(size: int) -> Any:
    """Return the font of all pictures, its letters that many pixels high."""
    return ImageFont.load_default(size)


def _free_place(
    x: float, y: float, lowest: float, wide: float, high: float, height: int, taken: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """A plate's box at x, from y downwards, that overlaps none that is taken; the first place if none is free."""
    first = min(max(y, 0.0), max(height - high, 0.0))
    top = first
    while top <= max(min(lowest, height - high), first):
        meets = (taken[:, 0] < x + wide) & (taken[:, 2] > x) & (taken[:, 1] < top + high) & (taken[:, 3] > top)
        if not meets.any():
            return (x, top, x + wide, top + high)
        top = float(taken[meets, 3].max()) + 1
    return (x, first, x + wide, first + high)
