"""What results and pictures take of memory at their peak, above what was held before. Linux only; run it anywhere:

    python benchmarks/memory.py            # writes benchmarks/memory.json

- ``segment``: one whole call of `mini` on a 12-megapixel photo file with 250 instances (threshold 0);
- ``thin``: the same on an image of 1 x 100,000 pixels, its picture saved as well;
- ``save_png_36``, ``save_png_81``: the picture of six large masks on a photo of 36 and 81 megapixels, held as an array.

Each is measured in a process of its own, after the model is loaded and has run once on a small image.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RESULTS = Path(__file__).with_suffix(".json")
PROMPTS = ["red apple", "owl", "airplane", "blue bus", "camera", "dolphin", "green cup", "fire truck", "toy", "food"]


def peak_above(call: Callable[[], Any]) -> float:
    """Return the megabytes that a call takes at its peak, above what the process held before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _memory("VmRSS")
    call()
    return round((_memory("VmHWM") - before) / 1e3, 1)


def _memory(name: str) -> int:
    """A line of the process's status in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def segmented(width: int, height: int, save: bool) -> dict[str, Any]:
    """Segment a photo of noise and large shapes with 250 instances."""
    import torch

    from litetext import Segmenter

    torch.set_num_threads(1)
    segmenter = Segmenter.from_pretrained("mini", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / ("photo.jpg" if max(width, height) < 65_000 else "photo.png")  # JPEG ends there
        _photo(width, height).save(photo)
        queries = len(segmenter.segment(_photo(64, 64), PROMPTS[0], threshold=0.0))
        prompts = PROMPTS[: -(-250 // queries)]
        found: list[Any] = []
        peak = peak_above(lambda: found.append(segmenter.segment(photo, prompts, threshold=0.0)))
        result = {"megapixels": width * height / 1e6, "instances": len(found[0]), "peak_mb": peak}
        result["masks_mb"] = round(sum(map(len, found[0].masks.counts)) / 1e6, 2)
        result["mean_mask_share"] = round(float(found[0].masks.areas.mean()) / (width * height), 3)
        if save:
            result["save_png_peak_mb"] = peak_above(lambda: found[0].save_png(Path(folder) / "out.png"))
        return result


def saved(megapixels: int) -> dict[str, Any]:
    """Draw six large masks on a large photo and write it."""
    from litetext.results import Instances, Masks

    side = int((megapixels * 1e6) ** 0.5)
    rows, columns = np.ogrid[:side, :side]
    centers = ((0.3, 0.3), (0.5, 0.6), (0.7, 0.4), (0.3, 0.3), (0.8, 0.8), (0.2, 0.8))
    discs = ((rows - y * side) ** 2 + (columns - x * side) ** 2 < (0.19 * side) ** 2 for y, x in centers)
    masks = Masks.from_dense(discs, (side, side))
    prompts = np.array([0, 0, 1, 2, 2, 2])
    photo = np.asarray(_photo(side, side))
    found = Instances(
        (side, side),
        ("a", "b", "c"),
        np.ones(3, np.float32),
        masks.boxes,
        masks,
        np.ones(6, np.float32),
        prompts,
        photo,
    )
    with tempfile.TemporaryDirectory() as folder:
        peak = peak_above(lambda: found.save_png(Path(folder) / "out.png"))
    return {"megapixels": side * side / 1e6, "picture_mb": side * side * 3 / 1e6, "peak_mb": peak}


def _photo(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (max(1, height // 16), max(1, width // 16), 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "segment": lambda: segmented(4000, 3000, save=False),
    "thin": lambda: segmented(100_000, 1, save=True),
    "save_png_36": lambda: saved(36),
    "save_png_81": lambda: saved(81),
}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(CASES[sys.argv[1]]()))
        return
    results: dict[str, Any] = {"machine": {"processor": platform.machine(), "cores": os.cpu_count()}}
    for name in CASES:
        done = subprocess.run([sys.executable, __file__, name], check=True, stdout=subprocess.PIPE, text=True)
        results[name] = json.loads(done.stdout)
        print(name, results[name], flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
