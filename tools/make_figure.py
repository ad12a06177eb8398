"""Draw docs/figure.png: the same phrases through the teacher and through its students, and what each keeps.

python tools/make_figure.py     needs benchmarks/students.json (benchmarks/students.py) and matplotlib

The scenes are the first ones of seed 2026 with three true phrases: none was chosen for its answers.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from litetext.mini.ship import shipped_concepts
from litetext.mini.world import Scene, World, generator
from litetext.segment import Segmenter
from litetext.segment.drawing import overlay

ROOT = Path(__file__).parents[1]
SEED, SCENES, SIZE = 2026, 4, 288


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
    """Scenes on the left, a row an encoder; retention against parameters on the right."""
    results = json.loads((ROOT / "benchmarks" / "students.json").read_text())
    rows = {"teacher": "the teacher", "student": "its student"}
    figure = plt.figure(figsize=(15, 6.2))
    grid = figure.add_gridspec(2, SCENES + 1, width_ratios=[1] * SCENES + [1.35], wspace=0.06, hspace=0.08)
    asked = scenes()
    for row, (text, label) in enumerate(rows.items()):
        segmenter = Segmenter.from_pretrained("mini", text=text, device="cpu")
        parameters = sum(tensor.numel() for tensor in segmenter.text.module.parameters())
        for column, (scene, phrases) in enumerate(asked):
            axis = figure.add_subplot(grid[row, column])
            axis.imshow(overlay(segmenter.segment(scene.image, phrases), scene.image))
            axis.set(xticks=[], yticks=[])
            if column == 0:
                axis.set_ylabel(f"{label}: {parameters / 1e6:.2f} M", fontsize=11)
            if row == 0:
                axis.set_title("\n".join(f"“{phrase}”" for phrase in phrases), fontsize=7.5)
    axis = figure.add_subplot(grid[:, SCENES])
    scored = {
        name: {**run, **results["scores"][name]} for name, run in results["runs"].items() if name in results["scores"]
    }
    main_runs = {name.split(",")[0]: run for name, run in scored.items() if "seed 0" in name and "3000 steps" in name}
    control = main_runs.pop("control")
    points = sorted((run["parameters"], 100 * run["retained"]) for run in main_runs.values())
    axis.plot(*zip(*points, strict=True), marker="o", color="#c2410c", label="students")
    axis.plot(control["parameters"], 100 * control["retained"], "s", color="#6b7280", label="no use of context")
    axis.axhline(100, color="#9ca3af", linewidth=0.8, linestyle=":", label="teacher")
    axis.set(xscale="log", xlabel="parameters of the text encoder, millions", title="cgF1 kept, % of the teacher's")
    axis.set_xticks([1e5, 2e5, 5e5, 1e6], ["0.1", "0.2", "0.5", "1"])
    axis.minorticks_off()
    axis.legend(frameon=False, loc="center right")
    axis.yaxis.tick_right()
    for side in ("top", "left"):
        axis.spines[side].set_visible(False)
    figure.savefig(ROOT / "docs" / "figure.png", dpi=90, bbox_inches="tight")


if __name__ == "__main__":
    main()
