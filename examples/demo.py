"""`make demo`: noun phrases turn into masks, on the pictures and the small SAM3s that come with the package.

    python examples/demo.py [FOLDER]

Every picture is asked for things that are there and things that are not; overlays are written to FOLDER (out/demo).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from litetext import Segmenter
from litetext.data import Sample, photographs, samples

SHOWN = (
    ("mini", "mini: a drawn world", samples()),
    ("photo", "photo: rough masks in photographs", photographs()),
)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo")
    folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    for model, title, pictures in SHOWN:
        console.print(_shown(Segmenter.from_pretrained(model), title, pictures, folder))
    console.print(f"Look at {folder}/*_masks.png. Both models come with litetext. Masks that count need SAM3:")
    console.print('litetext segment street.jpg -p "white dog" --model Simon7108528/sam3-litetext-s0', style="bold")


def _shown(segmenter: Segmenter, title: str, pictures: Sequence[Sample], folder: Path) -> Table:
    """Segment pictures, write their overlays and return what was found."""
    table = Table("picture", "phrase", "found", "best score", title=title)
    for sample in pictures:
        found = segmenter.segment(sample.image, list(sample.phrases))
        for phrase in sample.phrases:
            scores = found[phrase].scores
            best = f"{scores.max():.2f}" if len(scores) else ""
            table.add_row(sample.image.stem, phrase, str(len(scores) or "[dim]-[/]"), best)
        table.add_section()
        found.save_png(folder / f"{sample.image.stem}_masks.png")
    return table


if __name__ == "__main__":
    main()
