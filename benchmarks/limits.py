"""Why some bars of speed and memory are not reached: where the time goes, and what this machine could do at best.

    python benchmarks/limits.py time      # SAM3 at its real size with a small image encoder: stages and operators
    python benchmarks/limits.py memory    # what a process that encodes text is made of

Weights are random (time does not depend on them), the picture is 1008 x 1008, with one prompt and ten masks. Seconds
are processor seconds on one thread, the forms taking turns. The limit of a stage is its arithmetic at the speed of a
product of two square matrices in the same dtype: nothing that multiplies can be faster, and whatever is not a product
would have to take no time at all. Results: limits.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time as clock
from typing import Any

import numpy as np

RESULTS = Path(__file__).with_suffix(".json")
VIT, TRUNK = "SAM3's ViT", "efficientvit-b0"
FORMS = ((VIT, "float32"), (TRUNK, "float32"), (TRUNK, "bfloat16"))
ROUNDS, SIDE = 3, 2048
PHOTO = np.random.default_rng(0).integers(0, 256, (720, 960, 3), np.uint8)
KINDS = {
    "attention": ("attention",),
    "convolutions": ("conv",),
    "matrix products": ("mm", "linear"),
    "normalizing": ("norm",),
    "copying": ("copy", "cat", "clone", "contiguous", "pad", "index", "to"),
    "activations": ("relu", "gelu", "silu", "sigmoid", "hardswish", "softmax", "exp"),
    "adding and multiplying": ("add", "mul", "sub", "div"),
}
"""Kinds of operators by what their names hold; the first that fits."""


def segmenter(trunk: str, dtype: str) -> Any:
    """SAM3 with LiteText-S0 at its real size, with random weights."""
    import torch
    from transformers import Sam3ImageProcessor, Sam3LiteTextConfig, Sam3LiteTextModel

    from litetext import Segmenter
    from litetext.segment.student_trunks import StudentTrunkConfig

    torch.manual_seed(0)
    config = Sam3LiteTextConfig(text_config={"num_hidden_layers": 6, "max_position_embeddings": 16})
    if trunk != VIT:
        config.vision_config.backbone_config = StudentTrunkConfig(trunk)
    with tempfile.TemporaryDirectory() as folder:
        Sam3LiteTextModel(config).save_pretrained(folder)
        Sam3ImageProcessor().save_pretrained(folder)
        return Segmenter.from_pretrained(folder, device="cpu", dtype=dtype)


def stages(model: Any) -> dict[str, Callable[[], Any]]:
    """The stages of a picture with one prompt, all of which have run before."""
    backend = model.backend
    text = backend.prepare_text(model.text.encode(["dog"]))
    image = backend.encode_images([PHOTO])[0]
    detections = backend.detect(image, text)
    runs: dict[str, Callable[[], Any]] = {
        "image encoder": lambda: backend.encode_images([PHOTO]),
        "text": lambda: model.text.encode(["dog"]),
        "prompt": lambda: backend.detect(image, text),
        "pixels": lambda: backend.decode_masks(image, detections, 0, np.arange(10)),
    }
    runs["pixels"]()
    return runs


def product_gflops(dtype: str) -> float:
    """10^9 operations a second of a product of two square matrices, the fastest of some."""
    import torch

    rows, columns = torch.randn(2, SIDE, SIDE).to(getattr(torch, dtype))
    return 2 * SIDE**3 / min(_seconds(lambda: rows @ columns) for _ in range(5)) / 1e9


def operators(run: Callable[[], Any]) -> dict[str, float]:
    """The share of a run's time by kind of operator."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    taken: dict[str, float] = {}
    for event in profiled.key_averages():
        name = event.key.lower()
        kind = next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "other")
        taken[kind] = taken.get(kind, 0.0) + event.self_cpu_time_total
    whole = sum(taken.values())
    return {kind: round(one / whole, 3) for kind, one in sorted(taken.items(), key=lambda item: -item[1])}


def time() -> None:
    """Seconds, arithmetic, limits and operators of all stages, and how many times the ViT in float32 a form is."""
    import torch

    torch.set_num_threads(1)
    with torch.inference_mode():
        runs = {form: stages(segmenter(*form)) for form in FORMS}
        taken: dict[Any, dict[str, list[float]]] = {form: {stage: [] for stage in of} for form, of in runs.items()}
        speeds: dict[str, list[float]] = {}
        for turn in range(ROUNDS):
            for form, of in runs.items():
                speeds.setdefault(form[1], []).append(product_gflops(form[1]))
                if form[0] != VIT or not turn:  # a minute
                    for stage, run in of.items():
                        taken[form][stage].append(_seconds(run))
        fastest = {dtype: max(several) for dtype, several in speeds.items()}
        found = {
            ", ".join(form): _form(of, taken[form], fastest[form[1]]) for form, of in runs.items() if form[0] != VIT
        }
    vit = sum(sum(seconds) for seconds in taken[FORMS[0]].values())
    for form in found.values():
        form["whole"][f"times {VIT}"] = round(vit / form["whole"]["seconds"], 1)
        form["whole"]["times at the limit"] = round(vit / form["whole"]["limit"], 1)
    vit_seconds = {stage: round(seconds[0], 2) for stage, seconds in taken[FORMS[0]].items()}
    speeds_found = {dtype: round(one, 1) for dtype, one in fastest.items()}
    record("time", {"torch": torch.__version__, "product, gflop/s": speeds_found, VIT: vit_seconds, "forms": found})


def _form(of: dict[str, Callable[[], Any]], taken: dict[str, list[float]], fastest: float) -> dict[str, Any]:
    from litetext.bench.segment import counted_gflops

    rows = {}
    for stage, run in of.items():
        arithmetic = counted_gflops(run)
        rows[stage] = {
            "seconds": round(statistics.median(taken[stage]), 3),
            "gflop": round(arithmetic, 1),
            "limit": round(arithmetic / fastest, 3),
            "operators": operators(run),
        }
    whole = {name: round(sum(row[name] for row in rows.values()), 3) for name in ("seconds", "gflop", "limit")}
    return rows | {"whole": whole}


def memory() -> None:
    """Resident memory (10^6 bytes) of a process as it gets what encoding text needs, medians of five processes."""
    steps = {
        "Python": "",
        "numpy": "import numpy",
        "ONNX Runtime": "import onnxruntime",
        "what encodes": "from litetext.encoders.runtime import OnnxTextEncoder, open_session",
        "a session of an empty graph": "session = open_session(__import__('pathlib').Path(sys.argv[1]), 1)",
    }
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "empty.onnx"
        onnx.save(_identity(onnx.helper), graph)
        found = {}
        for count, step in enumerate(steps, start=1):
            code = "import sys\n" + "\n".join(list(steps.values())[:count]) + _RESIDENT
            command = [sys.executable, "-c", code, str(graph)]
            runs = [float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(5)]
            found[step] = round(statistics.median(runs), 1)
    record("memory", {"resident after, MB": found})


_RESIDENT = """
line = next(x for x in open("/proc/self/status") if x.startswith("VmRSS"))
print(int(line.split()[1]) * 1024 / 1e6)
"""


def _identity(helper: Any) -> Any:
    ends = [helper.make_tensor_value_info(name, 1, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _seconds(run: Callable[[], Any]) -> float:
    start = clock()
    run()
    return clock() - start


def record(name: str, part: dict[str, Any]) -> None:
    """Keep a result beside the others in benchmarks/limits.json."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[name] = part
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(part), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("time", "memory"))
    {"time": time, "memory": memory}[parser.parse_args().stage]()
