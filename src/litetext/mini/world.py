"""Scenes we can draw exactly, and phrases of which we know what is true: the world `mini` lives in.

A scene is some objects on a background, each pixel belonging to the topmost object there, so instance masks are
exact. A pair is a scene and a noun phrase with the objects it is true of; none of them makes it a negative, and
half of the negatives are hard: a present concept with the wrong attribute, an absent one of a present kind, or an
absent one with an attribute that something else has. Scene ``i`` of seed ``s`` is always the same scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import LitetextError, choice_error, short
from .art import COLORS, Sprite, icons_of, sprite
from .backgrounds import background
from .concepts import CONCEPTS, NEW_LOOK, STYLES, WorldConcept
from .language import PLACES, SIZES, Query, Rng, Traits, phrase, pick

TRAINING_STYLES = tuple(style for style in STYLES if style != NEW_LOOK)
MAX_OBJECTS = 14
MAX_COUNT = 12
CROWDS = 0.1
NEGATIVES = 0.5
NEGATIVE_KINDS = ("easy", "wrong attribute", "same kind", "shared attribute")

_VISIBLE = 0.6  # an object never has less than this share of it in sight
_HARD = 0.55  # a little over half, since a hard one cannot always be found


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """An object of a scene.

    Attributes:
        traits: its concept, and what is true of it.
        style: the drawing style.
        color: its tint, or None for its natural colours.
        box: x0, y0, x1, y1 in pixels around what is visible, x1 and y1 exclusive.
        area: visible pixels.
    """

    traits: Traits
    style: str
    color: str | None
    box: tuple[int, int, int, int]
    area: int


class Shown(Protocol):
    """An object of which something can be said."""

    @property
    def traits(self) -> Traits:
        """Its concept, and what is true of it."""
        ...


class Depiction(Protocol):
    """Something that shows objects: a scene, a clip."""

    @property
    def objects(self) -> Sequence[Shown]:
        """What it shows."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture and its exact instances.

    Attributes:
        image: [size, size, 3] uint8, RGB.
        instances: [size, size] uint8: 0 for background, k + 1 where objects[k] is visible.
        objects: the objects, those behind first.
    """

    image: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The visible pixels of objects[index]: [size, size] bool."""
        return self.instances == index + 1


@dataclass(frozen=True, slots=True)
class DrawnPair:
    """A noun phrase asked of a scene.

    Attributes:
        text: the phrase.
        query: what it means.
        kind: one of `PHRASE_KINDS`.
        targets: indices of the scene's objects that it is true of; empty for a negative.
        negative: None for a positive, else one of `NEGATIVE_KINDS`.
    """

    text: str
    query: Query
    kind: str
    targets: tuple[int, ...]
    negative: str | None


class World:
    """A seeded source of scenes and pairs.

    Args:
        concepts: names of the concepts that occur and are asked for; all by default.
        styles: drawing styles to take art from.
        size: side of the scenes in pixels.
        crowds: the share of scenes that show a crowd of one concept.
        negatives: the share of phrases that are true of nothing in their scene.
        hold_out: tint no object and ask no phrase in a combination that is `held_out`, as training does.

    Raises:
        LitetextError: an unknown concept or style, or no concept left that the styles draw.
    """

    def __init__(
        self,
        concepts: Sequence[str] | None = None,
        styles: Sequence[str] = TRAINING_STYLES,
        size: int = 128,
        crowds: float = CROWDS,
        negatives: float = NEGATIVES,
        hold_out: bool = False,
    ) -> None:
        by_name = {concept.name: concept for concept in CONCEPTS}
        for name in concepts or ():
            if name not in by_name:
                raise LitetextError(f"the world holds no concept {short(name)}; litetext.mini.concepts lists them")
        for style in styles:
            if style not in STYLES:
                raise choice_error("drawing style", style, STYLES)
        self.styles = tuple(styles)
        self.size = size
        self.crowds, self.negatives, self.hold_out = crowds, negatives, hold_out
        drawn = {icon: tuple(style for style in self.styles if icon in icons_of(style)) for icon in _icons()}
        chosen = [by_name[name] for name in concepts] if concepts else list(CONCEPTS)
        self.concepts = tuple(concept for concept in chosen if drawn[concept.icon])
        self._tints_of = {
            concept: [color for color in COLORS if not (hold_out and held_out(concept, color))]
            for concept in self.concepts
        }
        self._styles_of = {concept: drawn[concept.icon] for concept in self.concepts}
        if not self.concepts:
            raise LitetextError(f"none of the concepts is drawn in the style {', '.join(styles)}")

    @cached_property
    def _by_kind(self) -> dict[str, list[WorldConcept]]:
        groups: dict[str, list[WorldConcept]] = {}
        for concept in self.concepts:
            groups.setdefault(concept.kind, []).append(concept)
        return groups

    def scene(self, rng: Rng) -> Scene:
        """Draw one scene."""
        canvas = background(rng, self.size)
        instances = np.zeros((self.size, self.size), np.uint8)
        placed: list[tuple[WorldConcept, str, str | None, Sprite, float]] = []
        full_areas: list[int] = []
        for concept, reach in self._cast(rng):
            style, color, art = self.look(rng, concept)
            drawing = _turned(art, reach * self.size, rng)
            spot = _free_spot(rng, drawing, instances, full_areas)
            if spot is None:
                continue
            placed.append((concept, style, color, art, reach))
            full_areas.append(paste(canvas, instances, drawing, spot, len(placed)))
        image = _developed(rng, canvas)
        return Scene(image, instances, tuple(self._objects(instances, placed)))

    def look(self, rng: Rng, concept: WorldConcept) -> tuple[str, str | None, Sprite]:
        """Choose how an object of ``concept`` looks: the style, the tint (None: natural colours) and the sprite."""
        style = pick(rng, self._styles_of[concept])
        color = pick(rng, self._tints_of[concept]) if rng.random() < 0.55 else None
        return style, color, sprite(concept.icon, style, color)

    def pairs(self, scene: Depiction, rng: Rng, count: int) -> list[DrawnPair]:
        """Ask ``count`` different phrases of ``scene`` (fewer only if the world runs out of them).

        An attribute of which the objects' traits say nothing is asked for in negatives alone.
        """
        found: list[DrawnPair] = []
        for _ in range(count * 8):
            if len(found) == count:
                break
            pair = self._pair(scene, rng)
            if pair is not None and all(pair.query != other.query for other in found):
                found.append(pair)
        return found

    def _cast(self, rng: Rng) -> list[tuple[WorldConcept, float]]:
        """Choose what is in a scene: concepts with their reach (longer side over the scene's side), big ones first."""
        if rng.random() < self.crowds:  # a crowd of one concept, with some others
            crowd, others = int(rng.integers(5, MAX_COUNT + 1)), int(rng.integers(0, 3))
            concept = pick(rng, self.concepts)
            cast = [(concept, rng.uniform(0.17, 0.26)) for _ in range(crowd)]
            rest = [other for other in self.concepts if other is not concept] if others else []
            cast += [(pick(rng, rest), rng.uniform(0.18, 0.34)) for _ in range(others) if rest]
        else:
            cast = []
            count = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.08, 0.17, 0.25, 0.25, 0.15, 0.1]))
            for _ in range(count):
                concept = cast[-1][0] if cast and rng.random() < 0.3 else pick(rng, self.concepts)
                if rng.random() < 0.15 and cast:  # something of the same kind
                    concept = pick(rng, self._by_kind[cast[-1][0].kind])
                cast.append((concept, rng.uniform(0.18, 0.62 if count < 3 else 0.48)))
        return sorted(cast, key=lambda entry: -entry[1])

    def _objects(
        self, instances: NDArray[np.uint8], placed: list[tuple[WorldConcept, str, str | None, Sprite, float]]
    ) -> list[SceneObject]:
        objects = []
        for number, (concept, style, color, art, reach) in enumerate(placed, start=1):
            visible = instances == number
            box = box_of(visible)
            truths = {**art.truths, **_size_truths(reach), **_place_truths(box, self.size)}
            objects.append(SceneObject(Traits(concept, truths), style, color, box, int(visible.sum())))
        return objects

    def _pair(self, scene: Depiction, rng: Rng) -> DrawnPair | None:
        kind = str(rng.choice(["name", "synonym", "attribute", "referring"], p=[0.3, 0.2, 0.3, 0.2]))
        negative = None
        if rng.random() < self.negatives:
            negative = pick(rng, NEGATIVE_KINDS[1:]) if rng.random() < _HARD else "easy"
        query = self._query(scene, rng, kind, negative)
        if query is None or (self.hold_out and asks_new(query)):
            return None
        if kind == "synonym" and len(query.concept.words) == 1:
            kind = "name"
        elif kind in ("name", "synonym") and query.attributes:
            kind = "attribute"
        truths = [query.truth(thing.traits) for thing in scene.objects]
        if None in truths or (True in truths) != (negative is None):
            return None
        targets = tuple(index for index, truth in enumerate(truths) if truth)
        return DrawnPair(phrase(query, rng, kind), query, kind, targets, negative)

    def _query(self, scene: Depiction, rng: Rng, kind: str, negative: str | None) -> Query | None:
        """Guess a query that may be of the wanted sort; the caller checks its truth."""
        thing = pick(rng, scene.objects)
        present = {other.traits.concept for other in scene.objects}
        kinds = {concept.kind for concept in present}
        match negative:
            case None:
                return _described(rng, thing.traits.concept, thing.traits, kind)
            case "wrong attribute":
                made_up = {word: bool(rng.random() < 0.5) for word in (*SIZES, *PLACES)}
                made_up |= dict.fromkeys(COLORS, True)
                query = _described(rng, thing.traits.concept, Traits(thing.traits.concept, dict(made_up)), kind, 1)
                return query if query.attributes else None
            case "same kind":
                absent = [concept for concept in self._by_kind[thing.traits.concept.kind] if concept not in present]
                return _described(rng, pick(rng, absent), thing.traits, kind) if absent else None
            case "shared attribute":
                query = _described(rng, thing.traits.concept, thing.traits, kind, 1)
                absent = [concept for concept in self.concepts if concept not in present]
                if not query.attributes or not absent:
                    return None
                return Query(pick(rng, absent), query.color, query.size, query.place)
            case _:
                absent = [concept for concept in self.concepts if concept.kind not in kinds]
                if not absent:
                    return None
                made_up = {word: bool(rng.random() < 0.5) for word in (*COLORS, *SIZES, *PLACES)}
                concept = pick(rng, absent)
                query = _described(rng, concept, Traits(concept, dict(made_up)), kind)
                shared = any(_has(other, query) for other in scene.objects)
                return None if query.attributes and shared else query


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The box around a mask that is not empty: x0, y0, x1, y1 in pixels, the last two exclusive."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def held_out(concept: WorldConcept, color: str) -> bool:
    """Is this combination one that training neither draws as a tint nor asks for? One in ten is."""
    return (7 * CONCEPTS.index(concept) + 3 * COLORS.index(color)) % 10 == 0


def asks_new(query: Query) -> bool:
    """Does it ask for a combination that is `held_out`?"""
    return query.color is not None and held_out(query.concept, query.color)


def _described(rng: Rng, concept: WorldConcept, traits: Traits, kind: str, least: int = 0) -> Query:
    """Ask for ``concept`` with attributes true in ``traits``: none for a name, one for "attribute", else up to two."""
    wanted = {"name": 0, "synonym": 0, "attribute": 1, "referring": int(rng.integers(0, 3))}[kind]
    wanted = max(wanted, least)
    true = {
        "color": [word for word in COLORS if traits.truths.get(word)],
        "size": [word for word in SIZES if traits.truths.get(word)],
        "place": [word for word in PLACES if traits.truths.get(word)],
    }
    slots = ["color", "size", "place"]
    weights = np.array([0.55, 0.2, 0.25])
    order = [slots[index] for index in rng.choice(3, 3, replace=False, p=weights)]
    chosen = {slot: pick(rng, true[slot]) for slot in [slot for slot in order if true[slot]][:wanted]}
    return Query(concept, **chosen)


def _has(thing: Shown, query: Query) -> bool:
    return any(thing.traits.truths.get(attribute) is not False for attribute in query.attributes)


def _size_truths(reach: float) -> dict[str, bool | None]:
    small = True if reach < 0.23 else False if reach > 0.29 else None
    large = True if reach > 0.38 else False if reach < 0.32 else None
    return {"small": small, "large": large}


def _place_truths(box: tuple[int, int, int, int], size: int) -> dict[str, bool | None]:
    x, y = (box[0] + box[2]) / 2 / size, (box[1] + box[3]) / 2 / size

    def below(value: float) -> bool | None:
        return True if value < 0.44 else False if value > 0.56 else None

    return {"left": below(x), "right": below(1 - x), "top": below(y), "bottom": below(1 - y)}


def _turned(art: Sprite, reach: float, rng: Rng) -> NDArray[np.float32]:
    """Return the sprite at its size in the scene, flipped, tilted and lit a little: [h, w, 4] float32."""
    stretch = rng.uniform(0.92, 1.08)
    flipped = rng.random() < 0.5
    angle = rng.uniform(-25, 25) if rng.random() < 0.5 else 0.0
    return posed(art, reach, stretch, flipped=flipped, angle=angle, light=rng.uniform(0.85, 1.12))


def posed(
    art: Sprite, reach: float, stretch: float, *, flipped: bool, angle: float, light: float
) -> NDArray[np.float32]:
    """Return the sprite in a pose: [h, w, 4] float32 in 0 to 255, alpha last.

    Args:
        art: the sprite.
        reach: the longer side in pixels.
        stretch: factor on the width, and divisor of the height.
        flipped: left for right.
        angle: degrees, counter-clockwise.
        light: factor on the colours.
    """
    height, width = art.rgba.shape[:2]
    scale = reach / max(height, width)
    shape = (max(4, round(width * scale * stretch)), max(4, round(height * scale / stretch)))
    picture = Image.fromarray(art.rgba).resize(shape, Image.Resampling.BILINEAR)
    if flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if angle:
        picture = picture.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    drawing = np.asarray(picture).astype(np.float32)
    drawing[..., :3] *= light
    return drawing


def _free_spot(
    rng: Rng, drawing: NDArray[np.float32], instances: NDArray[np.uint8], full_areas: list[int]
) -> tuple[int, int] | None:
    """Find a place (y, x) that leaves every object already there in sight; None if ten tries find none."""
    size = instances.shape[0]
    height, width = drawing.shape[:2]
    if height >= size or width >= size:
        return None
    opaque = drawing[..., 3] > 127
    for _ in range(10):
        y, x = int(rng.integers(0, size - height + 1)), int(rng.integers(0, size - width + 1))
        hidden = np.bincount(instances[y : y + height, x : x + width][opaque], minlength=1)
        remaining = np.bincount(instances.ravel(), minlength=len(full_areas) + 1)
        if all(
            hidden[number] == 0 or remaining[number] - hidden[number] >= _VISIBLE * full_areas[number - 1]
            for number in range(1, min(len(hidden), len(full_areas) + 1))
        ):
            return y, x
    return None


def paste(
    canvas: NDArray[np.float32],
    instances: NDArray[np.uint8],
    drawing: NDArray[np.float32],
    spot: tuple[int, int],
    number: int,
) -> int:
    """Draw on the canvas and the instance map in place; return how many of their pixels the object covers.

    Args:
        canvas: [H, W, 3] float32.
        instances: [H, W] uint8.
        drawing: [h, w, 4] float32, as `posed` gives it.
        spot: y and x of its upper left corner; what lies outside is cut off.
        number: of the object in ``instances``.
    """
    y, x = spot
    top, left = max(0, y), max(0, x)
    drawing = drawing[top - y : max(0, canvas.shape[0] - y), left - x : max(0, canvas.shape[1] - x)]
    window = np.s_[top : top + drawing.shape[0], left : left + drawing.shape[1]]
    region = canvas[window]
    region += (drawing[..., :3] - region) * (drawing[..., 3:] / 255)
    opaque = drawing[..., 3] > 127
    instances[window][opaque] = number
    return int(opaque.sum())


def _developed(rng: Rng, canvas: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Contrast, brightness and a little grain over everything."""
    canvas = (canvas - 128) * rng.uniform(0.85, 1.1) + 128 + rng.uniform(-14, 14)
    if rng.random() < 0.3:
        canvas = canvas + rng.normal(0, rng.uniform(1, 6), canvas.shape).astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _icons() -> list[str]:
    return [concept.icon for concept in CONCEPTS]


def generator(seed: int, index: int) -> Rng:
    """The random numbers of scene ``index`` of ``seed``, independent of every other scene's."""
    return np.random.default_rng([seed, index])
