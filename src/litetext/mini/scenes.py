"""Scenes of mini's world where a command needs images and is given none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .facts import shipped_concepts
from .world import World, generator


def scene_images(seed: int, count: int = 16) -> list[NDArray[np.uint8]]:
    """Return scenes of what the shipped mini knows: uint8 [H, W, 3] each."""
    world = World(shipped_concepts())
    return [world.scene(generator(seed, index)).image for index in range(count)]


def asked_scenes(seed: int, phrases: int, count: int = 8) -> list[tuple[NDArray[np.uint8], list[str]]]:
    """Return scenes of the whole world, uint8 [H, W, 3], each with at most so many phrases that are true of it."""
    world, asked = World(), []
    for index in range(count):
        rng = generator(seed, index)
        scene = world.scene(rng)
        pairs = world.pairs(scene, rng, 4 * phrases)
        present = list(dict.fromkeys(pair.text for pair in pairs if pair.targets))
        if present:
            asked.append((scene.image, present[:phrases]))
    return asked
