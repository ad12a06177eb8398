"""Masks over the photo, with prompt and score, by supervision's annotators.

One colour a prompt; outlines keep neighbours of one prompt apart. Small images are enlarged first, so that a
label of eleven pixels still leaves the picture to be seen.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import LitetextError
from ..files import atomic_path
from .images import ImageLike, read_image

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # that OpenCV is not installed: its drawing without it is as good
    import supervision

if TYPE_CHECKING:
    from .instances import Instances

_SHORTEST_LONG_SIDE = 768

# Ten hues that white letters can be read on and that differ from their neighbours.
_PALETTE = supervision.ColorPalette.from_hex(
    ["#d6336c", "#1971c2", "#2f9e44", "#e8590c", "#7048e8", "#0c8599", "#a61e4d", "#846300", "#364fc7", "#5c940d"]
)


def save_overlay(instances: Instances, image: ImageLike, path: str | os.PathLike[str]) -> None:
    """Write `overlay` as a PNG, atomically."""
    picture = Image.fromarray(overlay(instances, image))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def overlay(instances: Instances, image: ImageLike) -> NDArray[np.uint8]:
    """Return ``image`` with the instances drawn on it: RGB, uint8 [H, W, 3].

    An image whose longer side is under 768 pixels is enlarged to it (bilinear; masks by nearest neighbour).
    """
    photo = read_image(image)
    if photo.shape[:2] != instances.size:
        raise LitetextError(
            f"the image to draw on is {photo.shape[1]}x{photo.shape[0]}, "
            f"but the instances are of one of {instances.size[1]}x{instances.size[0]}"
        )
    height, width = instances.size
    scale = max(1.0, _SHORTEST_LONG_SIDE / max(height, width))
    size = (round(width * scale), round(height * scale))
    canvas = np.array(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR))
    if len(instances) == 0:
        return canvas
    masks = [_resized(mask, size) for mask in instances.masks]
    detections = supervision.Detections(
        xyxy=(instances.boxes * scale).clip(0, [size[0], size[1]] * 2),
        mask=np.stack(masks),
        class_id=instances.prompt_index,
    )
    labels = [f"{label} {score:.2f}" for label, score in zip(instances.labels, instances.scores, strict=True)]
    font_size = max(13, round(max(size) / 60))
    canvas = np.ascontiguousarray(canvas[:, :, ::-1])  # supervision draws on BGR
    canvas = supervision.MaskAnnotator(_PALETTE, opacity=0.45).annotate(canvas, detections)
    line = max(1, round(max(size) / 500))
    outlines = replace(detections, mask=np.stack([_rim(mask, line) for mask in masks]))
    canvas = supervision.MaskAnnotator(_PALETTE, opacity=1.0).annotate(canvas, outlines)
    writer = supervision.RichLabelAnnotator(
        _PALETTE, font_size=font_size, text_padding=max(2, font_size // 4), smart_position=True
    )
    canvas = writer.annotate(canvas, detections, labels)
    return np.ascontiguousarray(canvas[:, :, ::-1])


def _rim(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The inner rim of a mask, ``width`` pixels wide, along the image's edge too."""
    inner = np.pad(mask, width)
    for axis in (0, 1):
        inner = np.logical_and.reduce([np.roll(inner, step, axis) for step in range(-width, width + 1)])
    return mask & ~inner[width:-width, width:-width]


def _resized(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
