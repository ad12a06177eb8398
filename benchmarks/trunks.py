"""EfficientSAM3's image encoders beside SAM3's ViT, at real size. Run on the machine you want to know about:

    python benchmarks/trunks.py              # all of them: a minute or two for the ViT, less for the others

A row has the image encoder alone and, for some, a whole picture with one prompt through SAM3 with LiteText-S0 around:
image encoder, words, detector, and the ten best masks.

Weights are random (time does not depend on them), the picture is 1008 x 1008, float32, one thread. The networks take
turns, `ROUNDS` times; seconds are medians, and each ratio is the median of the ratios of a round. Peak memory is that
of a process that makes one network and runs it once, less what the process had before. Results: trunks.json.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from transformers import Sam3ImageProcessor, Sam3LiteTextConfig, Sam3LiteTextModel, Sam3ViTConfig, Sam3ViTModel

from litetext import Segmenter
from litetext.bench.memory import peak_resident_bytes
from litetext.segment.student_trunks import ARCHITECTURES, StudentTrunkConfig, StudentTrunkModel

RESULTS = Path(__file__).with_suffix(".json")
ROUNDS = 2
VIT = "SAM3's ViT"
WHOLE = ("repvit-m0.9", "repvit-m1.1", "tinyvit-21m", "efficientvit-b0")
PHOTO = np.random.default_rng(0).integers(0, 256, (720, 960, 3), np.uint8)


def network(name: str) -> torch.nn.Module:
    """Make an image encoder with random weights."""
    torch.manual_seed(0)
    made = Sam3ViTModel(Sam3ViTConfig()) if name == VIT else StudentTrunkModel(StudentTrunkConfig(name))
    return made.eval()


@torch.inference_mode()
def seconds(model: torch.nn.Module) -> float:
    """Time one picture."""
    picture = torch.randn(1, 3, 1008, 1008)
    begun = perf_counter()
    model(picture)
    return perf_counter() - begun


@torch.inference_mode()
def whole_seconds(name: str) -> float:
    """Time a picture with one prompt through a whole model, saved and loaded as users would load it."""
    torch.manual_seed(0)
    text = {"num_hidden_layers": 6, "max_position_embeddings": 16}  # the published S0
    config = Sam3LiteTextConfig(text_config=text)
    if name != VIT:
        config.vision_config.backbone_config = StudentTrunkConfig(name)
    model = Sam3LiteTextModel(config)
    model.detr_decoder.presence_head.layer3.bias.fill_(4.0)  # present, so that masks are drawn too
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        Sam3ImageProcessor().save_pretrained(folder)
        del model
        segmenter = Segmenter.from_pretrained(folder, device="cpu")
        scores = segmenter.backend.detect(
            segmenter.backend.encode_images([PHOTO])[0], segmenter.backend.prepare_text(segmenter.text.encode(["dog"]))
        ).scores
        tenth = float(np.sort(scores.ravel())[-10])  # random weights score all queries alike
        begun = perf_counter()
        segmenter.segment(PHOTO, ["dog"], threshold=tenth)
        return perf_counter() - begun


def peak(name: str) -> float:
    """Return the memory, in 10^6 bytes, that a process of its own needs to make and run a network."""
    code = f"import benchmarks.trunks as trunks; trunks.print_peak({name!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, check=True)
    return float(done.stdout)


def print_peak(name: str) -> None:
    """Print what making and running a network adds to the process's memory."""
    torch.set_num_threads(1)
    before = peak_resident_bytes()
    seconds(network(name))
    print((peak_resident_bytes() - before) / 1e6)


def main() -> None:
    """Measure, write and print."""
    torch.set_num_threads(1)
    names = [VIT, *ARCHITECTURES]
    models = {name: network(name) for name in names}
    for model in models.values():
        if model is not models[VIT]:
            seconds(model)  # warm
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            times[name].append(seconds(models[name]))
    rows: list[dict[str, Any]] = []
    for name in names:
        ratios = [vit / own for vit, own in zip(times[VIT], times[name], strict=True)]
        rows.append(
            {
                "image encoder": name,
                "parameters": sum(one.numel() for one in models[name].parameters()),
                "seconds": round(statistics.median(times[name]), 2),
                "times as fast as the ViT": round(statistics.median(ratios), 1),
                "peak MB": round(peak(name)),
            }
        )
        if name in (VIT, *WHOLE):
            rows[-1]["seconds of a whole picture, one prompt"] = round(whole_seconds(name), 2)
        print(rows[-1], flush=True)
    machine = {"cpu": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
    RESULTS.write_text(json.dumps({"machine": machine, "weights": "random", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
