"""What a device is given: exports of mini, and what torch says of them. ``python -m tests.install.exports FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

PHRASES = ("airplane", "blue dolphin", "the bus on the left", "purple café")


def write(folder: Path) -> None:
    """Write mini's student (fp32, int8), mini as a whole, a picture, and torch's results into ``folder``."""
    from litetext import Segmenter, load_encoder
    from litetext.cli import main
    from litetext.data import samples
    from litetext.segment import read_image

    for name, options in (("fp32", []), ("int8", ["--precision", "int8"]), ("whole", ["--whole"])):
        try:
            main(["export", "mini", str(folder / name), *options])
        except SystemExit as done:
            assert not done.code
    scene = read_image(samples()[0].image)
    features = load_encoder("mini", device="cpu").encode(PHRASES).numpy()
    found = Segmenter.from_pretrained("mini", device="cpu").segment(scene, PHRASES)
    np.savez(
        folder / "torch.npz",
        scene=scene,
        tokens=features.tokens,
        mask=features.mask,
        scores=found.scores,
        areas=found.masks.areas,
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
