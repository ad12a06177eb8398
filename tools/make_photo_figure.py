"""Draw docs/photo.webp: what `photo` makes of photographs, one of them a failure.

python tools/make_photo_figure.py IMAGES

Two photographs ship with the package. Those from COCO (CC BY 2.0, see NOTICE) are read from IMAGES, a folder of COCO's
val2017; they belong to the 32 that neither training nor any choice of the model saw, and were picked by eye to show
what to expect: outlines that fit roughly, a neighbour that is outlined too, and a kitchen in which nothing is found.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from litetext import Segmenter
from litetext.data import photographs

TARGET = Path(__file__).parents[1] / "docs" / "photo.webp"
FROM_COCO = (
    ("000000418281.jpg", ("cow", "dog")),
    ("000000261888.jpg", ("bicycle", "person")),
    ("000000491525.jpg", ("dog", "person")),
    ("000000408805.jpg", ("microwave", "oven")),
)
WIDTH, HEIGHT, COLUMNS, MARGIN = 400, 267, 3, 8


def main() -> None:
    """Segment and put side by side."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("images", type=Path)
    given = arguments.parse_args()
    asked = [(one.image, one.phrases) for one in photographs()]
    asked += [(given.images / name, phrases) for name, phrases in FROM_COCO]
    segmenter = Segmenter.from_pretrained("photo")
    rows = -(-len(asked) // COLUMNS)
    size = (COLUMNS * (WIDTH + MARGIN) - MARGIN, rows * (HEIGHT + MARGIN) - MARGIN)
    sheet = Image.new("RGB", size, "white")
    for number, (path, phrases) in enumerate(asked):
        found = segmenter.segment(path, list(phrases))
        print(path.name, *(f"{phrase}: {len(found[phrase])}" for phrase in phrases), sep=", ")
        place = (number % COLUMNS * (WIDTH + MARGIN), number // COLUMNS * (HEIGHT + MARGIN))
        sheet.paste(_tile(found.plot()), place)
    sheet.save(TARGET, quality=82, method=6)


def _tile(overlay: Image.Image) -> Image.Image:
    """The overlay, cut to the shape of all tiles."""
    scale = max(WIDTH / overlay.width, HEIGHT / overlay.height)
    resized = overlay.resize((round(overlay.width * scale), round(overlay.height * scale)), Image.Resampling.LANCZOS)
    left, top = (resized.width - WIDTH) // 2, (resized.height - HEIGHT) // 2
    return resized.crop((left, top, left + WIDTH, top + HEIGHT))


if __name__ == "__main__":
    main()
