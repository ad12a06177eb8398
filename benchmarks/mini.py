"""How fast `mini`'s scenes are drawn and how fast the shipped model is; how good it is, `tools/ship_mini.py` measures.

python benchmarks/mini.py > benchmarks/mini.json
python benchmarks/mini.py curve     draws docs/mini/curve.png from benchmarks/mini_curve.csv (needs matplotlib)
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent


def scenes_a_second(size: int) -> float:
    """Scenes with six phrases each that one process draws in a second."""
    from litetext.mini.facts import shipped_concepts
    from litetext.mini.world import World, generator

    world = World(shipped_concepts(), size=size)

    def draw(seed: int) -> None:
        for index in range(100):
            rng = generator(seed, index)
            scene = world.scene(rng)
            if scene.objects:
                world.pairs(scene, rng, 6)

    draw(0)  # sprites are cut and tinted once
    return 100 / _median_seconds(lambda: draw(1), 3)


def seconds_an_image() -> float:
    """Seconds for one shipped sample with five phrases, after the model is loaded and warm."""
    from litetext.data import samples
    from litetext.segment import Segmenter

    segmenter = Segmenter.from_pretrained("mini", device="cpu")
    phrases = ["car", "red key", "the umbrella on the left", "large crown", "snail"]
    sample = samples()[0].image
    segmenter.segment(sample, phrases)
    return _median_seconds(lambda: segmenter.segment(sample, phrases), 9)


def draw_curve() -> None:
    """Draw the learning curve that training logged on held-out scenes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from litetext.mini.config import recipes

    with (HERE / "mini_curve.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    steps = [row["step"] for row in rows]
    figure, left = plt.subplots(figsize=(7.5, 4))
    right = left.twinx()
    left.plot(steps, [row["pmF1"] for row in rows], color="#c2410c", marker="o", markersize=3, label="pmF1 (left)")
    for name, color, label in (
        ("IL_MCC", "#1d4ed8", "IL_MCC"),
        ("presence_auc", "#6d28d9", "presence AUC"),
        ("dense_accuracy", "#15803d", "places that know their concept"),
    ):
        right.plot(steps, [row[name] for row in rows], color=color, linewidth=1.2, label=f"{label} (right)")
    small, _ = recipes("cpu")
    dense, semantic, _ = small.steps
    stages = (
        (dense, "+ detector, semantic map"),
        (dense + semantic, "everything"),
        (small.text_steps, "text fixed"),
        (sum(small.steps), "128 pixels"),
    )
    for step, stage in stages:
        left.axvline(step, color="#9ca3af", linewidth=0.8, linestyle=":")
        left.text(step + 20, 5.5 if step == dense else 1.5, stage, fontsize=8, color="#6b7280")
    left.set(xlabel="step (8 scenes with 6 phrases each)", ylabel="pmF1", ylim=(0, 100))
    right.set_ylim(0, 1)
    handles = [line for axis in (left, right) for line in axis.get_lines() if not line.get_label().startswith("_")]
    labels = [line.get_label() for line in handles]
    figure.legend(handles, labels, loc="upper center", ncol=len(labels), fontsize=8, frameon=False)
    for axis in (left, right):
        axis.spines["top"].set_visible(False)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    target = HERE.parent / "docs" / "mini" / "curve.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def _median_seconds(run: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    if sys.argv[1:] == ["curve"]:
        draw_curve()
    else:
        document = {
            "machine": "2-core CPU, shared with other work",
            "scenes_a_second_one_process": {str(size): round(scenes_a_second(size)) for size in (96, 128, 256)},
            "seconds_an_image_five_phrases": round(seconds_an_image(), 3),
        }
        print(json.dumps(document, indent=1))
