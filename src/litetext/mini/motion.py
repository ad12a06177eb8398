"""The small world in motion: seeded clips whose objects move, grow, turn, cross, hide, leave and return.

A clip is a short play: actors on paths, before a background that the camera pans over, some of them behind a board.
Depth never changes, each pixel belongs to the topmost object there, and so masks and identities are exact. Everything
depends on the time in the clip, from 0 to 1, so a clip of few frames shows the same play as one of many.
Clip ``i`` of seed ``s`` is always the same clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import FrameResult, Instances, Masklets, Masks
from .art import Sprite
from .backgrounds import background
from .concepts import WorldConcept
from .language import Rng, Traits, pick
from .world import DrawnPair, World, box_of, paste, posed

FRAMES = 24
LEAST_PIXELS = 16
"""An object counts as seen in a frame where so many of its pixels are visible; fewer belong to no object."""

Point = NDArray[np.float64]  # y and x, in sides of the picture

_ROOM = 1.5  # side of the background, in sides of the picture: what the camera can pan over
_SEEN = 1 / 6  # an object is seen in this share of the frames, or it is not in the clip


@dataclass(frozen=True, slots=True, eq=False)
class ClipObject:
    """An object of a clip.

    Attributes:
        traits: its concept, and the colours that are true of it; its place and its size change.
        style: the drawing style.
        color: its tint, or None for its natural colours.
    """

    traits: Traits
    style: str
    color: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """T frames and their exact instances.

    Attributes:
        frames: [T, size, size, 3] uint8, RGB.
        instances: [T, size, size] uint8: 0 for background, k + 1 where objects[k] is visible.
        objects: the objects, those behind first; an object is the same one in every frame.
    """

    frames: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    objects: tuple[ClipObject, ...]

    def mask(self, frame: int, index: int) -> NDArray[np.bool_]:
        """The visible pixels of objects[index] in a frame: [size, size] bool, empty where it is hidden."""
        return self.instances[frame] == index + 1

    def stream(self, pairs: Sequence[DrawnPair]) -> Iterator[FrameResult]:
        """Yield the true answer to phrases, frame by frame; ids count through the pairs and their targets."""
        asked = [(row, target) for row, pair in enumerate(pairs) for target in pair.targets]
        size = (self.frames.shape[1], self.frames.shape[2])
        for frame in range(len(self.frames)):
            seen = [(id, row, self.mask(frame, target)) for id, (row, target) in enumerate(asked)]
            seen = [one for one in seen if one[2].any()]
            instances = Instances(
                size=size,
                prompts=tuple(pair.text for pair in pairs),
                presence=_present(seen, len(pairs)),
                boxes=np.array([box_of(mask) for _, _, mask in seen], np.float32).reshape(-1, 4),
                masks=Masks.from_dense([mask for _, _, mask in seen], size),
                scores=np.ones(len(seen), np.float32),
                prompt_index=np.array([row for _, row, _ in seen], np.int64),
            )
            yield FrameResult(frame, np.array([id for id, _, _ in seen], np.int64), instances)

    def masklets(self, pairs: Sequence[DrawnPair]) -> Masklets:
        """Return the true answer to phrases."""
        return Masklets.collect(self.stream(pairs), len(self.frames))


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """Where something is at a time from 0 to 1: on a line, swaying, and away for a while."""

    start: Point
    end: Point
    sway: Point
    swings: float
    phase: float
    away: Point
    leaves: float
    stays: float

    def at(self, time: float) -> Point:
        gone = np.clip((time - self.leaves) / self.stays, 0, 1)
        swing = np.sin(2 * np.pi * (self.swings * time + self.phase))
        place: Point = self.start + (self.end - self.start) * time + self.sway * swing
        return place + self.away * np.sin(np.pi * gone) ** 2


@dataclass(frozen=True, slots=True, eq=False)
class _Actor:
    """An object, how it looks, and how it moves."""

    concept: WorldConcept
    style: str
    color: str | None
    art: Sprite
    path: _Path
    reach: float
    growth: float
    tilt: float
    turn: float
    stretch: float
    flipped: bool
    light: float

    def drawn(self, time: float, size: int) -> NDArray[np.float32]:
        reach = max(8.0, self.reach * size * np.exp(self.growth * (time - 0.5)))
        angle = self.tilt + self.turn * time
        return posed(self.art, reach, self.stretch, flipped=self.flipped, angle=angle, light=self.light)

    @property
    def shown(self) -> ClipObject:
        return ClipObject(Traits(self.concept, dict(self.art.truths)), self.style, self.color)


@dataclass(frozen=True, slots=True, eq=False)
class _Board:
    """A board that hides what is behind it: [h, w, 4] float32, and its centre."""

    drawing: NDArray[np.float32]
    center: Point


@dataclass(frozen=True, slots=True, eq=False)
class _Play:
    """All of a clip but the times at which it is looked at."""

    background: NDArray[np.float32]
    camera: _Path
    actors: tuple[_Actor, ...]
    boards: tuple[_Board, ...]
    contrast: float
    brightness: float
    grain: float
    grain_seed: int


class MotionWorld:
    """A seeded source of clips.

    Args:
        world: whose concepts, styles and colours occur; clips have its size, and their phrases come from it.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def clip(self, rng: Rng, times: NDArray[np.float64] | None = None) -> Clip:
        """Draw one clip.

        Args:
            rng: of the clip.
            times: from 0 to 1, one a frame; by default 24 frames evenly spaced.
        """
        times = np.linspace(0, 1, FRAMES) if times is None else times
        clip = None
        while clip is None:
            clip = self._performed(self._play(rng), times)
        return clip

    def pairs(self, clip: Clip, rng: Rng, count: int) -> list[DrawnPair]:
        """Ask ``count`` different phrases of a clip: concepts and colours, which do not change as objects move."""
        asked = self.world.pairs(clip, rng, 3 * count)
        return [pair for pair in asked if pair.query.size is None and pair.query.place is None][:count]

    def _play(self, rng: Rng) -> _Play:
        count = int(rng.choice([1, 2, 3, 4, 5], p=[0.1, 0.25, 0.3, 0.2, 0.15]))
        concepts: list[WorldConcept] = []
        for _ in range(count):
            alike = concepts and rng.random() < 0.4
            concepts.append(concepts[-1] if alike else pick(rng, self.world.concepts))
        largest = 0.5 if count < 3 else 0.42
        return _Play(
            background=background(rng, round(_ROOM * self.world.size)),
            camera=_camera(rng),
            actors=tuple(self._actor(rng, concept, largest) for concept in concepts),
            boards=tuple(_board(rng, self.world.size) for _ in range(int(rng.random() < 0.45))),
            contrast=rng.uniform(0.85, 1.1),
            brightness=rng.uniform(-14, 14),
            grain=rng.uniform(1, 6) if rng.random() < 0.3 else 0.0,
            grain_seed=int(rng.integers(1 << 31)),
        )

    def _actor(self, rng: Rng, concept: WorldConcept, largest: float) -> _Actor:
        style, color, art = self.world.look(rng, concept)
        return _Actor(
            concept=concept,
            style=style,
            color=color,
            art=art,
            path=_PATHS[rng.choice(len(_PATHS), p=_PATH_SHARES)](rng),
            reach=rng.uniform(0.2, largest),
            growth=rng.uniform(-0.6, 0.6),
            tilt=rng.uniform(-25, 25) if rng.random() < 0.5 else 0.0,
            turn=rng.uniform(-90, 90) if rng.random() < 0.6 else 0.0,
            stretch=rng.uniform(0.92, 1.08),
            flipped=bool(rng.random() < 0.5),
            light=rng.uniform(0.85, 1.12),
        )

    def _performed(self, play: _Play, times: NDArray[np.float64]) -> Clip | None:
        """Return the play as a clip of those actors that are seen often enough; None if there is none."""
        drawn = [self._drawn(play, time) for time in times]
        instances = np.stack([numbers for _, numbers in drawn])
        shares = [(instances == number).any((1, 2)).mean() for number in range(1, len(play.actors) + 1)]
        actors = tuple(actor for actor, share in zip(play.actors, shares, strict=True) if share >= _SEEN)
        if not actors:
            return None
        if len(actors) < len(play.actors):
            return self._performed(replace(play, actors=actors), times)
        frames = np.stack([_developed(play, picture, index) for index, (picture, _) in enumerate(drawn)])
        return Clip(frames, instances, tuple(actor.shown for actor in actors))

    def _drawn(self, play: _Play, time: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The picture and the instances at a time."""
        size = self.world.size
        view = np.clip(play.camera.at(time), (1 - _ROOM) / 2, (_ROOM - 1) / 2)
        y, x = np.round((view + (_ROOM - 1) / 2) * size).astype(int)
        picture = play.background[y : y + size, x : x + size].copy()
        instances = np.zeros((size, size), np.uint8)
        for number, actor in enumerate(play.actors, start=1):
            _put(picture, instances, actor.drawn(time, size), actor.path.at(time) - view, number)
        for board in play.boards:
            _put(picture, instances, board.drawing, board.center - view, 0)
        visible = np.bincount(instances.ravel(), minlength=len(play.actors) + 1)
        instances[(visible < LEAST_PIXELS)[instances]] = 0
        return picture, instances


def _present(seen: Sequence[tuple[int, int, NDArray[np.bool_]]], pairs: int) -> NDArray[np.float32]:
    """1 for each pair of which something is seen, else 0: [pairs]."""
    present = np.zeros(pairs, np.float32)
    present[[row for _, row, _ in seen]] = 1
    return present


def _put(
    picture: NDArray[np.float32],
    instances: NDArray[np.uint8],
    drawing: NDArray[np.float32],
    center: Point,
    number: int,
) -> None:
    """Draw with the centre at ``center``, in sides of the picture; all of it may lie outside."""
    corner = np.round(center * len(picture) - np.array(drawing.shape[:2]) / 2).astype(int)
    paste(picture, instances, drawing, (int(corner[0]), int(corner[1])), number)


def _developed(play: _Play, picture: NDArray[np.float32], index: int) -> NDArray[np.uint8]:
    """Contrast and brightness as in the whole clip, grain anew in every frame."""
    values: NDArray[np.floating[Any]] = (picture - 128) * play.contrast + 128 + play.brightness
    if play.grain:
        rng = np.random.default_rng([play.grain_seed, index])
        values = values + rng.normal(0, play.grain, values.shape)
    return np.clip(values, 0, 255).astype(np.uint8)


def _path(rng: Rng, start: Point, end: Point, sway: float, away: Point | None = None, swings: float = 2.0) -> _Path:
    return _Path(
        start=start,
        end=end,
        sway=rng.uniform(-sway, sway, 2),
        swings=rng.uniform(0.3, swings),
        phase=rng.uniform(0, 1),
        away=np.zeros(2) if away is None else away,
        leaves=rng.uniform(0.1, 0.45),
        stays=rng.uniform(0.4, 0.55),
    )


def _roaming(rng: Rng) -> _Path:
    """From somewhere in the picture to somewhere else in it."""
    return _path(rng, rng.uniform(0.15, 0.85, 2), rng.uniform(0.15, 0.85, 2), 0.12)


def _passing(rng: Rng) -> _Path:
    """Into the picture, out of it, or right through."""
    inside, outside, beyond = rng.uniform(0.2, 0.8, 2), rng.uniform(0, 1, 2), rng.uniform(0, 1, 2)
    axis, from_low = int(rng.integers(2)), rng.random() < 0.5
    outside[axis], beyond[axis] = (-0.3, 1.3) if from_low else (1.3, -0.3)
    start, end = ((outside, inside), (inside, outside), (outside, beyond))[int(rng.integers(3))]
    return _path(rng, start, end, 0.06)


def _returning(rng: Rng) -> _Path:
    """Out of the picture and back, not quite to where it was."""
    start = rng.uniform(0.2, 0.8, 2)
    angle = rng.uniform(0, 2 * np.pi)
    away = rng.uniform(1.0, 1.3) * np.array([np.sin(angle), np.cos(angle)])
    return _path(rng, start, np.clip(start + rng.uniform(-0.3, 0.3, 2), 0.15, 0.85), 0.06, away)


def _camera(rng: Rng) -> _Path:
    """What the camera pans over; half of the time it stands still."""
    drift = rng.uniform(-0.18, 0.18, 2) if rng.random() < 0.5 else np.zeros(2)
    return _path(rng, -drift / 2, drift / 2, 0.06 if drift.any() else 0.0)


def _board(rng: Rng, size: int) -> _Board:
    """A board across the picture, upright or level, with a texture of its own."""
    width, long = round(rng.uniform(0.15, 0.32) * size), 2 * size
    across, center = rng.random() < 0.5, rng.uniform(0.2, 0.8)
    shape = (width, long) if across else (long, width)
    texture = background(rng, long)[: shape[0], : shape[1]]
    drawing = np.concatenate([texture, np.full((*shape, 1), 255, np.float32)], axis=2)
    return _Board(drawing, np.array([center, 0.5] if across else [0.5, center]))


_PATHS = (_roaming, _passing, _returning)
_PATH_SHARES = (0.5, 0.25, 0.25)
