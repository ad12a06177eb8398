"""Draw the shipped sample scenes, with phrases that are true of them and phrases that are not.

python tools/make_samples.py
"""

from __future__ import annotations

from PIL import Image

from litetext.data import ROOT
from litetext.files import write_json
from litetext.mini.facts import shipped_concepts
from litetext.mini.world import World, generator

SEED = 2026
SCENES = (2, 13, 17, 18)
SIZE = 256


def main() -> None:
    """Write four scenes, each with up to four true and two untrue phrases."""
    world = World(shipped_concepts(), size=SIZE)
    folder, listed = ROOT / "samples", []
    for index in SCENES:
        rng = generator(SEED, index)
        scene = world.scene(rng)
        pairs = world.pairs(scene, rng, 14)
        true = [pair.text for pair in pairs if pair.targets][:4]
        untrue = [pair.text for pair in pairs if not pair.targets][:2]
        name = f"scene-{index:02d}.png"
        Image.fromarray(scene.image).save(folder / name, optimize=True)
        listed.append({"image": name, "phrases": true + untrue})
    write_json(folder / "phrases.json", listed)


if __name__ == "__main__":
    main()
