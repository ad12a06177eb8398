"""`make demo`: noun phrases turn into masks, on the scenes and the small SAM3 that come with the package.

    python examples/demo.py [FOLDER]

Every scene is asked for things that are there and things that are not; overlays are written to FOLDER (out/demo).
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from litetext import Segmenter
from litetext.data import samples


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo")
    folder.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter.from_pretrained("mini")
    table = Table("scene", "phrase", "found", "best score", title="mini, the small SAM3 that comes with litetext")
    for sample in samples():
        found = segmenter.segment(sample.image, list(sample.phrases))
        for phrase in sample.phrases:
            scores = found[phrase].scores
            best = f"{scores.max():.2f}" if len(scores) else ""
            table.add_row(sample.image.stem, phrase, str(len(scores) or "[dim]-[/]"), best)
        table.add_section()
        found.save_png(folder / f"{sample.image.stem}_masks.png")
    console = Console()
    console.print(table)
    console.print(f"Look at {folder}/*_masks.png. mini knows its own small world, not photographs; for those:")
    console.print('litetext segment street.jpg -p "white dog" --model Simon7108528/sam3-litetext-s0', style="bold")


if __name__ == "__main__":
    main()
