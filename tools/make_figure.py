"""Draw docs/figure.png: the same phrases through the teacher and through its students, and what each keeps.

python tools/make_figure.py     needs benchmarks/students.json (benchmarks/students.py) and matplotlib

The scenes are the first ones of seed 2026 with three true phrases: none was chosen for its answers.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from litetext.mini.facts import shipped_concepts
from litetext.mini.world import Scene, World, generator
from litetext.results.drawing import PALETTE, overlay
from litetext.segment import Segmenter

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from students import RESULTS, draw_retention  # noqa: E402

SEED, SCENES, SIZE = 2026, 3, 288
FONT, WRAP = 12, 27  # points; characters a line


def scenes() -> list[tuple[Scene, list[str]]]:
    """The first scenes with three phrases that are true of them, and one that is not."""
    world = World(shipped_concepts(), size=SIZE)
    found: list[tuple[Scene, list[str]]] = []
    index = 0
    while len(found) < SCENES:
        rng = generator(SEED, index)
        index += 1
        scene = world.scene(rng)
        pairs = world.pairs(scene, rng, 10) if scene.objects else []
        true = [pair.text for pair in pairs if pair.targets][:3]
        untrue = [pair.text for pair in pairs if not pair.targets][:1]
        if len(true) == 3 and untrue:
            found.append((scene, true + untrue))
    return found


def main() -> None:
    """Scenes on the left, a row an encoder, each phrase in its color; retention against parameters on the right."""
    results = json.loads(RESULTS.read_text())
    rows = {"mini-teacher": "the teacher", "mini-student": "its student"}
    plt.rcParams["font.size"] = FONT
    figure = plt.figure(figsize=(13.5, 6.9))
    grid = figure.add_gridspec(2, SCENES + 1, width_ratios=[1] * SCENES + [1.15], wspace=0.05, hspace=0.05)
    asked = scenes()
    for row, (text, label) in enumerate(rows.items()):
        segmenter = Segmenter.from_pretrained("mini", text=text, device="cpu")
        parameters = sum(tensor.numel() for tensor in segmenter.text.module.parameters())
        for column, (scene, phrases) in enumerate(asked):
            axis = figure.add_subplot(grid[row, column])
            found = segmenter.segment(scene.image, phrases)
            axis.imshow(overlay(scene.image, found.masks, found.boxes, found.prompt_index, longest_side=400))
            axis.set(xticks=[], yticks=[])
            if column == 0:
                axis.set_ylabel(f"{label}: {parameters / 1e6:.2f} M", fontsize=FONT + 2)
            if row == 0:
                write_phrases(axis, phrases)
    axis = figure.add_subplot(grid[:, SCENES])
    draw_retention(axis, results)
    axis.set_title("cgF1 kept, % of the teacher's", fontsize=FONT + 2)
    axis.yaxis.tick_right()
    for side in ("top", "left"):
        axis.spines[side].set_visible(False)
    figure.savefig(ROOT / "docs" / "figure.png", dpi=100, bbox_inches="tight")


def write_phrases(axis: plt.Axes, phrases: list[str]) -> None:
    """Write the phrases above a scene, each in the color of its masks; the last is not true of it."""
    lines = []
    for row, phrase in enumerate(phrases):
        text = f"{phrase} (not there)" if row == len(phrases) - 1 else phrase
        lines += [(line, PALETTE[row]) for line in textwrap.wrap(text, WRAP, subsequent_indent="    ")]
    for row, (line, color) in enumerate(reversed(lines)):
        axis.text(0, 1.03 + 0.085 * row, line, color=color, transform=axis.transAxes, clip_on=False)


if __name__ == "__main__":
    main()
