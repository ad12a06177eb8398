"""A whole model's export at real size, and what running it takes. Run on the machine you want to know about:

    python benchmarks/whole.py mini                    # the shipped model, in torch and exported, side by side
    python benchmarks/whole.py full PHOTO [-n 3]       # SAM3-LiteText-S0 at its real size, of random weights

Each stage runs in a process of its own, so that its peak memory is its own. All seconds are processor seconds on one
thread: on a free core they are seconds on the clock, and on a busy machine they stay what they are. Results go to
benchmarks/whole.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from time import process_time as clock
from typing import Any

RESULTS = Path(__file__).with_suffix(".json")
PROMPTS = ["white dog", "red car", "old tree", "person", "blue cup", "street lamp"]


def export(model: str, folder: str) -> dict[str, Any]:
    """Seconds, bytes and agreement of an export, tracing and comparing with torch included."""
    import torch

    from litetext.data import SHIPPED_PHRASES
    from litetext.encoders import read_checkpoint
    from litetext.prompts import read_prompts
    from litetext.segment.export import export_segmenter
    from litetext.segment.sources import locate

    torch.set_num_threads(1)
    parts = locate(model)
    start = clock()
    written = export_segmenter(parts.detector, read_checkpoint(parts.text), folder, read_prompts(SHIPPED_PHRASES))
    return {"export_seconds": round(clock() - start, 1), "bytes": written.bytes, "agreement": asdict(written.agreement)}


def run(model: str, photo: str, prompts: int) -> dict[str, Any]:
    """Seconds of the stages on one photo, and peak memory; ten queries of a prompt are drawn."""
    import numpy as np

    from litetext import Segmenter
    from litetext.segment import read_image

    if "torch" in sys.modules:
        raise SystemExit("torch was imported where none is needed")
    start = clock()
    segmenter = Segmenter.from_pretrained(model, device="cpu", threads=1)
    loaded = clock() - start
    backend, picture = segmenter.backend, read_image(photo)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    text = backend.prepare_text(segmenter.text.encode(PROMPTS[:prompts]))
    stages: dict[str, list[float]] = {"vision": [], "prompt": [], "pixels": []}
    for _ in range(1 if backend.dim == 256 else 9):
        marks = [clock()]
        (image,) = backend.encode_images([picture])
        marks.append(clock())
        detections = backend.detect(image, text)
        marks.append(clock())
        backend.decode_masks(image, detections, 0, np.arange(10))
        marks.append(clock())
        seconds = [marks[1] - marks[0], (marks[2] - marks[1]) / prompts, marks[3] - marks[2]]
        for values, value in zip(stages.values(), seconds, strict=True):
            values.append(value)
    return {
        "load_seconds": round(loaded, 2),
        **{f"{stage}_seconds": round(statistics.median(values), 4) for stage, values in stages.items()},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "torch_imported": "torch" in sys.modules,
    }


def alone(*arguments: object) -> dict[str, Any]:
    """One stage in a process of its own."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def record(name: str, part: dict[str, Any]) -> None:
    """Add to a result and keep it beside the others in benchmarks/whole.json."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    setup = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": 1}
    kept[name] = kept.get(name, {}) | part | {"setup": setup}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(part, indent=1), flush=True)


def mini() -> None:
    from litetext.data import samples

    photo = samples()[0].image
    with tempfile.TemporaryDirectory() as folder:
        record("mini", alone("export", "mini", f"{folder}/onnx"))
        record("mini", {"onnx": alone("run", f"{folder}/onnx", photo, "-n", 6)})
        record("mini", {"torch": alone("run", "mini", photo, "-n", 6)})


def full(photo: str, prompts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, str(Path(__file__).with_name("segment.py")), "build", f"{folder}/torch"]
        subprocess.run(build, check=True)
        record("full", alone("export", f"{folder}/torch", f"{folder}/onnx"))
        record("full", {"onnx": alone("run", f"{folder}/onnx", photo, "-n", prompts)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    stages.add_parser("mini")
    stage = stages.add_parser("full")
    stage.add_argument("photo")
    stage.add_argument("-n", "--prompts", type=int, default=3)
    stage = stages.add_parser("export")
    stage.add_argument("model")
    stage.add_argument("folder")
    stage = stages.add_parser("run")
    stage.add_argument("model")
    stage.add_argument("photo")
    stage.add_argument("-n", "--prompts", type=int, default=3)
    given = parser.parse_args()
    if given.stage == "mini":
        mini()
    elif given.stage == "full":
        full(given.photo, given.prompts)
    elif given.stage == "export":
        print(json.dumps(export(given.model, given.folder)))
    else:
        print(json.dumps(run(given.model, given.photo, given.prompts)))


if __name__ == "__main__":
    main()
