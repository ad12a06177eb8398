"""Backgrounds, made from nothing: flats, gradients, soft noise, patterns and clutter, in any mixture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Rng = np.random.Generator
Picture = NDArray[np.float32]  # [size, size, 3], 0 to 255


def background(rng: Rng, size: int) -> Picture:
    """Return a random background [size, size, 3], float32 in 0 to 255."""
    picture = _BASES[rng.choice(len(_BASES), p=_WEIGHTS)](rng, size)
    if rng.random() < 0.4:
        picture = _clutter(rng, picture)
    if rng.random() < 0.5:
        picture = picture + rng.normal(0, rng.uniform(2, 12), (size, size, 1)).astype(np.float32)
    return np.clip(picture, 0, 255)


def _color(rng: Rng) -> NDArray[np.float32]:
    """A random colour, more often a dull one, as backgrounds are."""
    color = rng.uniform(0, 255, 3)
    return (color.mean() + (color - color.mean()) * rng.uniform(0.1, 1.0)).astype(np.float32)


def _ramp(rng: Rng, size: int) -> NDArray[np.float32]:
    """A ramp from 0 to 1 in a random direction, or from a random centre outwards: [size, size, 1]."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    if rng.random() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        values = x * np.cos(angle) + y * np.sin(angle)
    else:
        center_x, center_y = rng.uniform(0, 1, 2)
        values = np.hypot(x - center_x, y - center_y)
    values = (values - values.min()) / np.ptp(values)
    return values[..., None].astype(np.float32)


def _soft_noise(rng: Rng, size: int, cells: int, channels: int = 1) -> NDArray[np.float32]:
    """Smooth noise in 0 to 1 with about ``cells`` bumps a side: [size, size, channels]."""
    layers = []
    for _ in range(channels):
        small = Image.fromarray(rng.uniform(0, 1, (cells, cells)).astype(np.float32))
        layers.append(np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)))
    return np.clip(np.stack(layers, -1), 0, 1)


def _flat(rng: Rng, size: int) -> Picture:
    return np.broadcast_to(_color(rng), (size, size, 3)).copy()


def _gradient(rng: Rng, size: int) -> Picture:
    ramp = _ramp(rng, size)
    return _color(rng) * (1 - ramp) + _color(rng) * ramp


def _clouds(rng: Rng, size: int) -> Picture:
    """Two colours mixed by soft noise of two scales: plaster, water, sky, grass."""
    mix = 0.6 * _soft_noise(rng, size, int(rng.integers(3, 8))) + 0.4 * _soft_noise(
        rng, size, int(rng.integers(10, 40))
    )
    return _color(rng) * (1 - mix) + _color(rng) * mix


def _landscape(rng: Rng, size: int) -> Picture:
    """Something above, something else below, with an uneven line between: a horizon, a table, a floor."""
    line = rng.uniform(0.3, 0.75) * size + rng.uniform(0, 0.1) * size * np.sin(
        np.linspace(0, rng.uniform(1, 12), size) + rng.uniform(0, 6)
    )
    below = (np.arange(size)[:, None] > line[None]).astype(np.float32)[..., None]
    upper, lower = (_clouds if rng.random() < 0.5 else _gradient)(rng, size), _clouds(rng, size)
    return upper * (1 - below) + lower * below


def _pattern(rng: Rng, size: int) -> Picture:
    """Stripes or checks in two colours that are not far apart."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    period = rng.uniform(0.05, 0.3) * size
    across = ((x * np.cos(angle) + y * np.sin(angle)) / period) % 1 < 0.5
    if rng.random() < 0.5:
        across ^= ((y * np.cos(angle) - x * np.sin(angle)) / period) % 1 < 0.5
    color = _color(rng)
    other = color + (_color(rng) - color) * rng.uniform(0.15, 0.6)
    return np.where(across[..., None], color, other).astype(np.float32)


def _clutter(rng: Rng, picture: Picture) -> Picture:
    """Shapes that are no objects: discs, slabs, blades and lines."""
    size = picture.shape[0]
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(2, 14)):
        fill = tuple(int(value) for value in _color(rng))
        x, y = rng.uniform(0, size, 2)
        reach = rng.uniform(0.03, 0.22) * size
        match rng.integers(4):
            case 0:
                draw.ellipse([x - reach, y - reach * 0.8, x + reach, y + reach * 0.8], fill=fill)
            case 1:
                draw.rectangle([x - reach, y - reach * 0.5, x + reach, y + reach * 0.5], fill=fill)
            case 2:
                corners = rng.uniform(-reach, reach, (3, 2)) + np.array([x, y])
                draw.polygon([tuple(corner) for corner in corners.tolist()], fill=fill)
            case _:
                end = rng.uniform(0, size, 2)
                draw.line([x, y, *end.tolist()], fill=fill, width=int(rng.integers(1, max(2, size // 24))))
    return np.asarray(image).astype(np.float32)


_BASES = (_flat, _gradient, _clouds, _landscape, _pattern)
_WEIGHTS = (0.15, 0.2, 0.3, 0.2, 0.15)
