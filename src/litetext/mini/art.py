"""The art: one picture for each concept and drawing style, cut from the shipped atlases, and recoloured.

Colour words must be true, so a sprite knows which colours it can be called by: a recoloured one by exactly its
tint, a natural one by a colour only if most of it is of that colour, and *not* by a colour only if almost none of
it is. In between the world says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data import resolve
from ..json_files import read_json

TINTS: dict[str, tuple[int, int, int]] = {
    "red": (214, 30, 36),
    "orange": (247, 128, 16),
    "yellow": (250, 218, 36),
    "green": (42, 160, 58),
    "blue": (36, 92, 222),
    "purple": (134, 50, 186),
    "pink": (252, 126, 188),
    "gray": (128, 130, 134),
}
COLORS = tuple(TINTS)

_TRUE_SHARE = 0.62  # this much of a natural sprite's area in one colour, and the colour word is true of it
_FALSE_SHARE = 0.08  # no more than this much, and the colour word is false of it


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A concept in one style.

    Attributes:
        rgba: [H, W, 4] uint8, cropped to what is drawn; the longer side is about 94 pixels.
        truths: for each of `COLORS`: True, False, or None where neither could be said.
    """

    rgba: NDArray[np.uint8]
    truths: dict[str, bool | None] = field(default_factory=dict)

    @classmethod
    def natural(cls, rgba: NDArray[np.uint8]) -> Sprite:
        """Return a sprite in its own colours, of which it is known what they can be called."""
        shares = _color_shares(rgba)
        return cls(
            rgba,
            {
                color: True if shares[color] >= _TRUE_SHARE else False if shares[color] <= _FALSE_SHARE else None
                for color in COLORS
            },
        )

    def tinted(self, color: str) -> Sprite:
        """Return the sprite in one colour: its own light and shade, the tint's hue."""
        light = self.rgba[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
        drawn = self.rgba[..., 3] > 127
        low, high = np.percentile(light[drawn], [3, 97])
        light = np.clip((light - low) / max(float(high - low), 0.12), 0, 1)[..., None]
        tint = np.array(TINTS[color], np.float32)
        rgb = tint * (0.42 + 0.58 * light) + 38 * np.clip(light - 0.6, 0, None)
        rgba = np.concatenate([np.clip(rgb, 0, 255).astype(np.uint8), self.rgba[..., 3:]], axis=2)
        return Sprite(rgba, {other: other == color for other in COLORS})


@cache
def sprite(icon: str, style: str, color: str | None = None) -> Sprite:
    """Return the sprite of ``icon`` in ``style``, recoloured if ``color`` is given.

    Raises:
        KeyError: the style does not draw this icon.
    """
    if color is not None:
        return sprite(icon, style).tinted(color)
    cell = _cells(style)[icon]
    rows, columns = np.nonzero(cell[..., 3] > 24)
    rgba = np.ascontiguousarray(cell[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    return Sprite.natural(rgba)


def icons_of(style: str) -> frozenset[str]:
    """Return the names of the icons that ``style`` draws."""
    return frozenset(_index()["styles"][style]["icons"])


@cache
def _index() -> dict:  # type: ignore[type-arg]
    return read_json(resolve("world/art.json"))


@cache
def _cells(style: str) -> dict[str, NDArray[np.uint8]]:
    index = _index()
    size, columns = index["cell"], index["columns"]
    with Image.open(resolve(f"world/{index['styles'][style]['file']}")) as picture:
        atlas = np.asarray(picture.convert("RGBA"))
    return {
        icon: atlas[row * size : (row + 1) * size, column * size : (column + 1) * size]
        for icon, (row, column) in zip(
            index["styles"][style]["icons"], np.ndindex(atlas.shape[0] // size, columns), strict=False
        )
    }


def _color_shares(rgba: NDArray[np.uint8]) -> dict[str, float]:
    """Return the share of the drawn pixels that people would call each colour (white, black, brown are none)."""
    pixels = rgba[rgba[..., 3] > 127][:, :3].astype(np.float32) / 255
    high, low = pixels.max(1), pixels.min(1)
    span = np.maximum(high - low, 1e-6)
    red, green, blue = pixels.T
    hue = np.where(
        high == red,
        (green - blue) / span % 6,
        np.where(high == green, (blue - red) / span + 2, (red - green) / span + 4),
    )
    hue = hue * 60
    saturation = (high - low) / np.maximum(high, 1e-6)
    vivid = (saturation > 0.25) & (high > 0.3)
    pale = saturation < 0.6
    reddish = (hue < 16) | (hue > 340)
    inside = {
        "red": vivid & reddish & ~pale,
        "orange": vivid & (hue >= 16) & (hue < 40) & (high > 0.62),
        "yellow": vivid & (hue >= 40) & (hue < 66) & (high > 0.62),
        "green": vivid & (hue >= 66) & (hue < 168),
        "blue": vivid & (hue >= 178) & (hue < 250),
        "purple": vivid & (hue >= 250) & (hue < 300),
        "pink": vivid & (high > 0.6) & (((hue >= 300) & (hue <= 340)) | (reddish & pale)),
        "gray": (saturation < 0.2) & (high > 0.25) & (high < 0.85),
    }
    return {color: float(mask.mean()) for color, mask in inside.items()}
