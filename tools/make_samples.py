"""Draw the shipped sample scenes, with phrases that are true of them and phrases that are not.

python tools/make_samples.py
"""

from __future__ import annotations

from litetext.mini.ship import shipped_concepts, write_samples
from litetext.mini.world import World, generator

SEED = 2026
SCENES = (2, 13, 17, 18)
SIZE = 256


def main() -> None:
    """Write four scenes, each with up to four true and two untrue phrases."""
    world = World(shipped_concepts(), size=SIZE)
    entries = []
    for index in SCENES:
        rng = generator(SEED, index)
        scene = world.scene(rng)
        pairs = world.pairs(scene, rng, 14)
        true = [pair.text for pair in pairs if pair.targets][:4]
        untrue = [pair.text for pair in pairs if not pair.targets][:2]
        entries.append((f"scene-{index:02d}", scene.image, true + untrue))
    write_samples(entries)


if __name__ == "__main__":
    main()
