"""The data engine: scenes with exact masks, from photographs as they are and from cut-outs pasted on them.

Scene i of a seed is always the same. A scene is a photograph, cropped and jittered, on which cut-outs of other
photographs may stand: scaled, flipped, relit, sometimes tinted, hiding one another, their seams softened. So a few
hundred photographs with masks become thousands of scenes in which things stand where they never stood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..mini.art import COLORS, Sprite
from .photographs import Photograph

Rng = np.random.Generator

LEAST_PIXELS = 40
"""An object with fewer visible pixels (of a scene of 320 x 320) is there, but not asked about."""

_VISIBLE = 0.45  # what has to stay in sight of an object when another is put before it


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """An object cut from a photograph.

    Attributes:
        rgba: uint8 [h, w, 4].
        concept: its number.
        truths: colour words that are true or false of it, as in `Sprite`.
    """

    rgba: NDArray[np.uint8]
    concept: int
    truths: dict[str, bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of a scene.

    Attributes:
        concept: its number.
        box: x0, y0, x1, y1 of what is visible, as fractions of the scene.
        area: its visible share of the scene.
        truths: what is known of its colours.
    """

    concept: int
    box: tuple[float, float, float, float]
    area: float
    truths: dict[str, bool | None]


@dataclass(frozen=True, slots=True, eq=False)
class PhotoScene:
    """A picture and what is in it.

    Attributes:
        image: uint8 [S, S, 3].
        instances: uint8 [S, S]: 0 for background, k + 1 where things[k] is visible.
        things: the objects.
        unclear: concepts that are there in some other way too; nothing is asked about them.
        exhaustive: whether all of COCO's categories are known to be absent unless they are among the things.
    """

    image: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    things: tuple[Thing, ...]
    unclear: frozenset[int]
    exhaustive: bool

    def facts(self) -> dict[str, Any]:
        """All but the pixels, JSON-ready."""
        return {
            "things": [
                {"concept": one.concept, "box": one.box, "area": one.area, "truths": one.truths} for one in self.things
            ],
            "unclear": sorted(self.unclear),
            "exhaustive": self.exhaustive,
        }


def cutouts_of(photograph: Photograph, least: float = 0.006) -> list[Cutout]:
    """Return the objects of a photograph that are large enough and not cut off by its border."""
    found = []
    for mask, concept in zip(photograph.masks, photograph.concepts, strict=True):
        if mask.mean() < least:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        cut_off = sum(
            float(side.sum()) / length
            for side, length in (
                (mask[0], x1 - x0), (mask[-1], x1 - x0), (mask[:, 0], y1 - y0), (mask[:, -1], y1 - y0)
            )
        )  # fmt: skip
        if cut_off > 0.4 or min(y1 - y0, x1 - x0) < 14:
            continue
        alpha = Image.fromarray((mask[y0:y1, x0:x1] * 255).astype(np.uint8))
        rgba = np.dstack([photograph.pixels[y0:y1, x0:x1], np.asarray(alpha)])
        found.append(Cutout(rgba, concept, Sprite.natural(rgba).truths))
    return found


class Studio:
    """Makes scenes.

    Args:
        backdrops: photographs whose objects are all outlined (COCO's).
        portraits: photographs of one outlined object (Caltech's).
        size: side of a scene in pixels.
        paste: share of scenes with pasted cut-outs.
    """

    def __init__(
        self, backdrops: Sequence[Photograph], portraits: Sequence[Photograph], size: int = 320, paste: float = 0.5
    ) -> None:
        self.backdrops, self.portraits, self.size, self.paste = list(backdrops), list(portraits), size, paste
        self._by_concept: dict[int, list[Cutout]] = {}
        for photograph in (*self.backdrops, *self.portraits):
            for cutout in cutouts_of(photograph):
                self._by_concept.setdefault(cutout.concept, []).append(cutout)
        self._concepts = sorted(self._by_concept)
        # A concept with many cut-outs comes more often, but not in proportion.
        weights = np.array([len(self._by_concept[concept]) for concept in self._concepts], np.float64) ** 0.3
        self._weights = weights / weights.sum() if len(weights) else weights

    @property
    def cutouts(self) -> dict[int, list[Cutout]]:
        """The cut-outs of every concept."""
        return self._by_concept

    def scene(self, seed: int, index: int) -> PhotoScene:
        """Return scene ``index`` of ``seed``."""
        rng = np.random.default_rng([seed, index])
        pasting = rng.random() < self.paste
        from_portrait = bool(self.portraits) and rng.random() < (0.15 if pasting else 0.35)
        source = self.portraits if from_portrait else self.backdrops
        photograph = source[int(rng.integers(len(source)))]
        canvas, instances, concepts, unclear = _cropped(photograph, rng, self.size)
        truths: list[dict[str, bool | None]] = [{} for _ in concepts]
        if pasting:
            self._add_cutouts(rng, canvas, instances, concepts, truths)
        image = _developed(rng, canvas)
        return _scene(image, instances, concepts, truths, unclear, not from_portrait)

    def _add_cutouts(
        self,
        rng: Rng,
        canvas: NDArray[np.float32],
        instances: NDArray[np.uint8],
        concepts: list[int],
        truths: list[dict[str, bool | None]],
    ) -> None:
        crowd = rng.random() < 0.12
        count = int(rng.integers(4, 9)) if crowd else int(rng.choice([1, 2, 3, 4, 5], p=[0.2, 0.3, 0.25, 0.15, 0.1]))
        concept = 0
        for number in range(count):
            if number == 0 or not crowd:
                concept = int(rng.choice(self._concepts, p=self._weights))
            cutout = self._by_concept[concept][int(rng.integers(len(self._by_concept[concept])))]
            reach = rng.uniform(0.12, 0.3) if crowd else float(np.exp(rng.uniform(np.log(0.12), np.log(0.8))))
            if rng.random() < 0.12:
                tinted = Sprite(cutout.rgba).tinted(str(rng.choice(COLORS)))
                cutout = Cutout(tinted.rgba, concept, tinted.truths)
            drawing = _turned(cutout, reach * self.size, rng)
            if len(concepts) < 250 and _paste(rng, canvas, instances, drawing, len(concepts) + 1):
                concepts.append(concept)
                truths.append(cutout.truths)


def whole(photograph: Photograph, size: int) -> PhotoScene:
    """Return a photograph as it is, resized, for measuring."""
    height, width = photograph.pixels.shape[:2]
    image = Image.fromarray(photograph.pixels).resize((size, size), Image.Resampling.BILINEAR)
    instances = _numbered(photograph.masks, (0, 0, width, height), size)
    concepts = list(photograph.concepts)
    truths: list[dict[str, bool | None]] = [{} for _ in concepts]
    return _scene(np.asarray(image), instances, concepts, truths, set(photograph.unclear), True, least=1)


def _cropped(
    photograph: Photograph, rng: Rng, size: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8], list[int], set[int]]:
    """Return a random part of a photograph as canvas, instances, concepts and unclear concepts."""
    height, width = photograph.pixels.shape[:2]
    scale = 1.0 if rng.random() < 0.35 else rng.uniform(0.5, 1.0)
    w = max(48, round(width * scale * rng.uniform(0.85, 1.0)))
    h = max(48, round(height * scale * rng.uniform(0.85, 1.0)))
    w, h = min(w, width), min(h, height)
    x0, y0 = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    crop = Image.fromarray(photograph.pixels[y0 : y0 + h, x0 : x0 + w])
    canvas = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR)).astype(np.float32)
    instances = _numbered(photograph.masks, (x0, y0, x0 + w, y0 + h), size)
    return canvas, instances, list(photograph.concepts), set(photograph.unclear)


def _numbered(masks: NDArray[np.bool_], window: tuple[int, int, int, int], size: int) -> NDArray[np.uint8]:
    """Return the masks' numbers (from 1) in a window of them, small objects before large ones."""
    x0, y0, x1, y1 = window
    instances = np.zeros((size, size), np.uint8)
    order = sorted(range(min(len(masks), 250)), key=lambda index: -int(masks[index].sum()))
    for index in order:
        part = Image.fromarray(masks[index, y0:y1, x0:x1].astype(np.uint8) * 255)
        instances[np.asarray(part.resize((size, size), Image.Resampling.BILINEAR)) > 127] = index + 1
    return instances


def _turned(cutout: Cutout, reach: float, rng: Rng) -> NDArray[np.float32]:
    """Return a cut-out at its size in the scene, flipped, tilted, relit, its seam softened: [h, w, 4] float32."""
    height, width = cutout.rgba.shape[:2]
    scale = min(reach / max(height, width), 2.5)
    stretch = rng.uniform(0.9, 1.1)
    shape = (max(6, round(width * scale * stretch)), max(6, round(height * scale / stretch)))
    picture = Image.fromarray(cutout.rgba).resize(shape, Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.35:
        picture = picture.rotate(rng.uniform(-20, 20), Image.Resampling.BILINEAR, expand=True)
    if rng.random() < 0.7:
        picture.putalpha(picture.getchannel("A").filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2))))
    drawing = np.asarray(picture).astype(np.float32)
    drawing[..., :3] = (drawing[..., :3] - 128) * rng.uniform(0.8, 1.15) + 128 + rng.uniform(-25, 25)
    return drawing


def _paste(
    rng: Rng,
    canvas: NDArray[np.float32],
    instances: NDArray[np.uint8],
    drawing: NDArray[np.float32],
    number: int,
) -> bool:
    """Draw in place where every object already there stays in sight; return False if ten tries find no such place."""
    size = instances.shape[0]
    height, width = drawing.shape[:2]
    if height >= size or width >= size:
        return False
    opaque = drawing[..., 3] > 127
    areas = np.bincount(instances.ravel(), minlength=256)
    for _ in range(10):
        y, x = int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))
        window = instances[y : y + height, x : x + width]
        hidden = np.bincount(window[opaque], minlength=256)
        if (areas[1:] - hidden[1:] >= _VISIBLE * areas[1:]).all():
            region = canvas[y : y + height, x : x + width]
            region += (drawing[..., :3] - region) * (drawing[..., 3:] / 255)
            window[opaque] = number
            return True
    return False


def _developed(rng: Rng, canvas: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Contrast, brightness, colour balance and a little grain or blur over everything."""
    canvas = (canvas - 128) * rng.uniform(0.8, 1.15) + 128 + rng.uniform(-20, 20)
    canvas = canvas * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    if rng.random() < 0.1:
        canvas = np.repeat(canvas.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.25:
        canvas = canvas + rng.normal(0, rng.uniform(1, 7), canvas.shape).astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _scene(
    image: NDArray[np.uint8],
    instances: NDArray[np.uint8],
    concepts: list[int],
    truths: list[dict[str, bool | None]],
    unclear: set[int],
    exhaustive: bool,
    least: int = LEAST_PIXELS,
) -> PhotoScene:
    """Drop what is hardly visible (its concept is unclear then) and describe the rest."""
    size = instances.shape[0]
    renumbered = np.zeros_like(instances)
    things: list[Thing] = []
    doubtful = set(unclear)
    for number, (concept, known) in enumerate(zip(concepts, truths, strict=True), start=1):
        mask = instances == number
        pixels = int(mask.sum())
        if pixels < least:
            if pixels or least == 1:
                doubtful.add(concept)
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = tuple(float(edge) / size for edge in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        things.append(Thing(concept, box, pixels / size**2, known))  # type: ignore[arg-type]
        renumbered[mask] = len(things)
    return PhotoScene(image, renumbered, tuple(things), frozenset(doubtful), exhaustive)
