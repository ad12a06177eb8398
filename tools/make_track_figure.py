"""Draw docs/track.webp and docs/track.png: a clip of mini's world, tracked by detection; moving, and as a strip.

python tools/make_track_figure.py

The clip is the first of seed 2026 with phrases of three different objects or groups of them: none was chosen for what
mini makes of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from litetext.mini.facts import shipped_concepts
from litetext.mini.motion import Clip, MotionWorld
from litetext.mini.world import World, generator
from litetext.track import VideoSegmenter
from litetext.track.files import overlay

DOCS = Path(__file__).parents[1] / "docs"
SEED, SIZE, FRAMES = 2026, 320, 36
STRIP = (2, 9, 16, 23, 30)
MILLISECONDS, QUALITY = 120, 70


def chosen() -> tuple[Clip, list[str]]:
    """The clip and its phrases."""
    world = MotionWorld(World(shipped_concepts(), size=SIZE))
    index = 0
    while True:
        rng = generator(SEED, index)
        index += 1
        clip = world.clip(rng, np.linspace(0, 1, FRAMES))
        named: set[int] = set()
        phrases = []
        for pair in world.pairs(clip, rng, 12):
            if pair.targets and named.isdisjoint(pair.targets):
                named.update(pair.targets)
                phrases.append(pair.text)
        if len(phrases) >= 3:
            return clip, phrases


def main() -> None:
    """Track the clip and write both pictures."""
    clip, phrases = chosen()
    print(f"{len(clip.objects)} objects; asked: {', '.join(phrases)}")
    found = VideoSegmenter.from_pretrained("mini", device="cpu").stream(list(clip.frames), phrases)
    frames = [overlay(image, one) for image, one in zip(clip.frames, found, strict=True)]
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(
        DOCS / "track.webp",
        save_all=True,
        append_images=others,
        duration=MILLISECONDS,
        loop=0,
        quality=QUALITY,
        method=6,
    )
    strip = Image.fromarray(np.concatenate([frames[index] for index in STRIP], axis=1))
    strip.quantize(256, dither=Image.Dither.NONE).save(DOCS / "track.png", optimize=True)


if __name__ == "__main__":
    main()
