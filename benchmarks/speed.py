"""The whole pipeline's speed at SAM3's real size, and what faster forms cost. Run on the machine that matters to you:

    python benchmarks/speed.py full FOLDER     # SAM3-LiteText-S0 of random weights at its real size, built in FOLDER
    python benchmarks/speed.py memory FOLDER   # its int8 export again, with the system's own allocator
    python benchmarks/speed.py sizes           # mini at other input sizes: cgF1 with its interval
    python benchmarks/speed.py int8            # mini exported in int8 against float32: cgF1 with its paired interval
    python benchmarks/speed.py int4            # the same in 4 bits
    python benchmarks/speed.py nncf            # the same in OpenVINO's int8, and what the forms take, taking turns
    python benchmarks/speed.py compiled        # mini compiled against not compiled, taking turns

Each form runs in a process of its own, so that its peak memory is its own. All seconds are processor seconds on one
thread: on a free core they are seconds on the clock, and on a busy machine they stay about what they are. `full` keeps
the model and its exports in FOLDER (5 GB) and goes on where it was stopped. Results go to benchmarks/speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from time import process_time as clock
from typing import Any

RESULTS = Path(__file__).with_suffix(".json")
PROMPTS = ["white dog", "red car", "old tree", "person", "blue cup", "street lamp", "kite", "zebra"]
FORMS = (
    ("torch float32", "torch", "torch", "float32", 1008),
    ("OpenVINO bfloat16", "fp32", "openvino", "bfloat16", None),
    ("ONNX Runtime int8", "int8", "onnx", None, None),
    ("torch bfloat16", "torch", "torch", "bfloat16", 1008),
    ("torch bfloat16 at 672", "torch", "torch", "bfloat16", 672),
    ("torch bfloat16 at 504", "torch", "torch", "bfloat16", 504),
    ("ONNX Runtime float32", "fp32", "onnx", None, None),
)
"""Name, folder below the model's, backend, dtype and image size of each form."""


def run(folder: str, backend: str, dtype: str, size: str) -> dict[str, Any]:
    """Processor seconds of the stages on a shipped scene, and peak memory; ten queries of a prompt are drawn.

    ``prompt_above_mb`` is what one prompt takes at its peak above what the process held before it.
    """
    import numpy as np
    from memory import peak_above

    from litetext import Segmenter
    from litetext.bench.memory import peak_resident_bytes
    from litetext.data import samples
    from litetext.images import read_image

    start = clock()
    options: dict[str, Any] = {"backend": backend, "threads": 1}
    options |= {"dtype": dtype} if dtype != "None" else {}
    options |= {"image_size": int(size), "device": "cpu"} if size != "None" else {}
    segmenter = Segmenter.from_pretrained(folder, **options)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    found: dict[str, Any] = {"load_seconds": round(clock() - start, 1)}
    model, photo = segmenter.backend, read_image(samples()[0].image)
    text = model.prepare_text(segmenter.text.encode(PROMPTS))
    found["vision_seconds"], image = _timed(lambda: model.encode_images([photo])[0])
    seen = peak_resident_bytes()
    found["prompt_above_mb"] = peak_above(lambda: model.detect(image, text[:1]))  # compiles what a shape needs
    peak = max(seen, peak_resident_bytes())
    found["peak_one_prompt_mb"] = round(peak / 1e6)
    seconds, detections = _timed(lambda: model.detect(image, text))
    found["prompt_seconds"] = round(seconds / len(PROMPTS), 3)
    found["pixels_seconds"], _ = _timed(lambda: model.decode_masks(image, detections, 0, np.arange(10)))
    peak = max(peak, peak_resident_bytes())
    return found | {"peak_memory_mb": round(peak / 1e6), "torch": "torch" in sys.modules}


def _timed(stage: Any) -> tuple[float, Any]:
    start = clock()
    result = stage()
    return round(clock() - start, 3), result


def full(folder: Path) -> None:
    """Build and export the model where that is not done yet, and run every form that is not recorded yet."""
    script = str(Path(__file__).with_name("segment.py"))
    if not (folder / "torch").is_dir():
        subprocess.run([sys.executable, script, "build", str(folder / "torch")], check=True)
    if not (folder / "int8").is_dir():
        print(json.dumps(alone("export", folder)))
    record("full", {"bytes": {name: _bytes(folder / name) for name in ("torch", "fp32", "int8")}})
    for name, part, backend, dtype, size in FORMS:
        if name not in _kept().get("full", {}):
            record("full", {name: alone("run", folder / part, backend, dtype, size)})


def memory(folder: Path) -> None:
    """Run the int8 export with the system's own allocator, whatever is preloaded here."""
    os.environ.pop("LD_PRELOAD", None)
    record("memory", {"ONNX Runtime int8": alone("run", folder / "int8", "onnx", None, None)})


def export(folder: Path) -> dict[str, Any]:
    """Write the graphs in float32 and in int8; nothing is compared with torch, since benchmarks/whole.py does that."""
    from litetext.data import SHIPPED_PHRASES
    from litetext.encoders import OnnxTextEncoder, read_checkpoint
    from litetext.encoders.export import export_onnx
    from litetext.files import write_json
    from litetext.prompts import read_prompts
    from litetext.segment.convention import KEY
    from litetext.segment.export import compared_on, write_graphs
    from litetext.segment.int8_export import put_into_int8
    from litetext.segment.onnx_backend import FORMAT, VERSION, WEIGHT_BITS
    from litetext.segment.torch_backend import TorchBackend

    texts = read_prompts(SHIPPED_PHRASES)
    exact, rough = folder / "fp32", folder / "int8"
    text = read_checkpoint(folder / "torch")
    backend = TorchBackend.load(folder / "torch", "cpu")
    exact.mkdir(parents=True, exist_ok=True)
    write_graphs(backend, exact, 20)
    settings = {"format": FORMAT, "version": VERSION, "opset": 20, KEY: backend.convention.to_dict()}
    del backend
    shutil.copytree(exact, rough)
    for target, precision, bits in ((exact, "fp32", None), (rough, "int8", 8)):
        export_onnx(text, target / "text", texts, precision=precision)
        write_json(target / "config.json", settings | {WEIGHT_BITS: bits})
    words, photos = compared_on(texts)
    features = OnnxTextEncoder(rough / "text").encode(words[:1])
    return {name: asdict(one) for name, one in put_into_int8(rough, features, photos[:1], 8).items()}


def sizes(pairs: int = 200, seed: int = 11) -> None:
    """Score mini at several input sizes on the same scenes, drawn at its own size, 128."""
    record("mini_sizes", {"pairs": pairs})
    for size in (64, 96, 128, 160, 192, 256):
        record("mini_sizes", {str(size): scored(_mini_scores(pairs, seed, {"image_size": size, "device": "cpu"}))})


def integers(precision: str) -> None:
    """Score mini's export in int8 or 4 bits against mini in float32, on the same scenes."""
    with tempfile.TemporaryDirectory() as folder:
        record(f"mini_{precision}", _against_float32(f"{folder}/mini", graph_precision=precision))


def nncf() -> None:
    """Score and time mini in OpenVINO's int8."""
    record("mini_nncf-int8", alone("nncf-one", "openvino"))


def nncf_one(_: str, scenes: int = 64, seed: int = 12) -> dict[str, Any]:
    """Calibrate mini on scenes that it is not scored on, score it against float32, and time all forms."""
    drawn = _drawn(scenes, seed)
    photos = [scene.image for scene in drawn.scenes]
    with tempfile.TemporaryDirectory() as folder:
        rough, dynamic = f"{folder}/nncf", f"{folder}/int8"
        found = _against_float32(rough, graph_precision="nncf-int8", calibration=photos)
        _export_mini(dynamic, graph_precision="int8")
        return found | {"calibrated on": len(photos), "forms": paces("mini", rough, dynamic)}


def paces(model: str, calibrated: str, dynamic: str, rounds: int = 15) -> dict[str, Any]:
    """What the stages of all forms of a model take by threads, in milliseconds, and the ratio to OpenVINO's float32.

    One thread is measured in processor seconds, two on the clock. The forms take turns; medians count.
    """
    forms = {
        "OpenVINO float32": (model, "openvino", None),
        "OpenVINO bfloat16": (model, "openvino", "bfloat16"),
        "OpenVINO int8": (calibrated, "openvino", None),
        "OpenVINO int8, else bfloat16": (calibrated, "openvino", "bfloat16"),
        "ONNX Runtime float32": (model, "onnx", None),
        "ONNX Runtime int8": (dynamic, "onnx", None),
    }
    return {f"{threads} threads": _in_turns(forms, threads, rounds) for threads in (1, 2)}


def _in_turns(forms: dict[str, tuple[str, str, str | None]], threads: int, rounds: int) -> dict[str, Any]:
    stages = {name: _stages(*form, threads) for name, form in forms.items()}
    now = clock if threads == 1 else perf_counter
    taken: dict[str, dict[str, list[float]]] = {name: {stage: [] for stage in of} for name, of in stages.items()}
    for _ in range(rounds):
        for name, of in stages.items():
            for stage, run in of.items():
                start = now()
                run()
                taken[name][stage].append(now() - start)
    first = taken["OpenVINO float32"]
    return {
        name: {
            f"{stage}, ms": [
                round(1e3 * statistics.median(seconds), 2),
                round(statistics.median(a / b for a, b in zip(first[stage], seconds, strict=True)), 2),
            ]
            for stage, seconds in of.items()
        }
        for name, of in taken.items()
    }


def _stages(model: str, backend: str, dtype: str | None, threads: int) -> dict[str, Callable[[], Any]]:
    """The stages of a form that have run before: an image, eight prompts together, ten masks of one."""
    import numpy as np

    from litetext import Segmenter
    from litetext.data import samples
    from litetext.images import read_image

    segmenter = Segmenter.from_pretrained(model, backend=backend, dtype=dtype, threads=threads)
    runner, photo = segmenter.backend, read_image(samples()[0].image)
    text = runner.prepare_text(segmenter.text.encode(PROMPTS))
    image = runner.encode_images([photo])[0]
    detections = runner.detect(image, text)
    stages: dict[str, Callable[[], Any]] = {
        "vision": lambda: runner.encode_images([photo]),
        "eight prompts": lambda: runner.detect(image, text),
        "pixels": lambda: runner.decode_masks(image, detections, 0, np.arange(10)),
    }
    for run in stages.values():
        run()
    return stages


def _against_float32(folder: str, pairs: int = 400, seed: int = 11, **options: Any) -> dict[str, Any]:
    """Export mini, and score it against mini in float32."""
    from litetext.evaluate.compare import compare

    written = _export_mini(folder, **options)
    exact = _mini_scores(pairs, seed, {"backend": "onnx"})
    rough = _mini_scores(pairs, seed, {}, folder)
    differences = compare(exact, rough).to_dict()["differences"]
    of_cgf1 = {name: differences[name] for name in ("cgF1", "pmF1", "IL_MCC") if name in differences}
    graphs = {name: asdict(one) for name, one in (written.int8 or written.calibrated).items()}
    return {"pairs": pairs, "bytes": written.bytes, "differences": of_cgf1, "graphs": graphs}


def _export_mini(folder: str, **options: Any) -> Any:
    from litetext.data import SHIPPED_PHRASES
    from litetext.encoders import read_checkpoint
    from litetext.prompts import read_prompts
    from litetext.segment.export import export_segmenter
    from litetext.segment.sources import locate

    parts = locate("mini")
    text, words = read_checkpoint(parts.text), read_prompts(SHIPPED_PHRASES)
    return export_segmenter(parts.detector, text, folder, words, **options)


def compiled(rounds: int = 7) -> None:
    """Processor seconds of both stages with and without `torch.compile`, in turns; the medians' ratio counts."""
    record("compiled", {"mini": alone("compiled-one", "mini", rounds)})


def compiled_one(model: str, rounds: str) -> dict[str, Any]:
    """The stages of one model, eight prompts over one image."""
    import torch

    from litetext import Segmenter
    from litetext.data import samples
    from litetext.images import read_image

    torch.set_num_threads(1)
    segmenter = Segmenter.from_pretrained(model, device="cpu", backend="torch", compile=True)
    backend, photo = segmenter.backend, read_image(samples()[0].image)
    text = backend.prepare_text(segmenter.text.encode(PROMPTS))
    image = backend.encode_images([photo])[0]
    stages = {"vision": lambda: backend.encode_images([photo]), "eight prompts": lambda: backend.detect(image, text)}
    functions = backend.compiled
    found: dict[str, Any] = {}
    for name, stage in stages.items():
        stage()  # compiles
        taken: dict[Any, list[float]] = {None: [], functions: []}
        for _ in range(int(rounds)):
            for backend.compiled, seconds in taken.items():
                seconds.append(_timed(stage)[0])
        plain, ours = (statistics.median(taken[one]) for one in (None, functions))
        found[f"{name}, ms"] = {"plain": round(1e3 * plain, 1), "compiled": round(1e3 * ours, 1)}
        backend.compiled = functions
    return found


def _mini_scores(pairs: int, seed: int, options: dict[str, Any], model: str = "mini") -> Any:
    """The scores of every pair, of scenes drawn anew."""
    from litetext import Segmenter
    from litetext.evaluate.image import score_pairs
    from litetext.mini.evaluation import predictions
    from litetext.mini.export import saco_document
    from litetext.results.formats.saco import ground_truth_from, predictions_from

    drawn = _drawn(pairs, seed)
    segmenter = Segmenter.from_pretrained(model, **options)
    found = predictions(segmenter, drawn, [pair.text for _, pair in drawn.pairs])
    return score_pairs([ground_truth_from(saco_document(drawn), name="drawn pairs")], predictions_from(found))


def _drawn(pairs: int, seed: int) -> Any:
    """Pairs on scenes of the small world at mini's size."""
    from litetext.mini.export import draw_pairs
    from litetext.mini.facts import shipped_concepts
    from litetext.mini.world import World

    return draw_pairs(World(shipped_concepts(), size=128), seed, pairs)


def scored(scores: Any) -> dict[str, float]:
    """cgF1 with the bounds between which 95 % of a bootstrap over scenes lie."""
    import numpy as np

    from litetext.evaluate.image import summarize

    names = [pair.file_name for pair in scores.pairs]
    scenes = {name: number for number, name in enumerate(dict.fromkeys(names))}
    rng = np.random.default_rng(0)
    drawn = [np.bincount(rng.integers(0, len(scenes), len(scenes)), minlength=len(scenes)) for _ in range(500)]
    spread = 100 * summarize(scores, np.stack(drawn)[:, [scenes[name] for name in names]])["cgF1"].mean(-1)
    middle = 100 * float(summarize(scores)["cgF1"].mean())
    low, high = np.percentile(spread, [2.5, 97.5])
    return {"cgF1": round(middle, 2), "low": round(float(low), 2), "high": round(float(high), 2)}


def alone(*arguments: object) -> dict[str, Any]:
    """One stage in a process of its own."""
    environment = os.environ | ({"LD_PRELOAD": ""} if "openvino" in arguments else {})
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _kept() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def record(name: str, part: dict[str, Any]) -> None:
    """Add to a result and keep it beside the others in benchmarks/speed.json."""
    kept = _kept()
    kept[name] = kept.get(name, {}) | part
    kept["setup"] = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": 1, "cpu": _cpu()}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(part), flush=True)


def _cpu() -> list[str]:
    """What of the CPU decides the speed."""
    from litetext.devices import cpu_flags

    return [flag for flag in ("avx2", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if flag in cpu_flags()]


def main(given: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    others = {"sizes": sizes, "compiled": compiled, "compiled-one": compiled_one, "run": run, "nncf": nncf}
    others["nncf-one"] = nncf_one
    stages = ("full", "memory", "int8", "int4", "export", *others)
    parser.add_argument("stage", choices=stages)
    parser.add_argument("rest", nargs="*")
    stage = parser.parse_args(given)
    if stage.stage in ("full", "memory", "export"):
        result = {"full": full, "memory": memory, "export": export}[stage.stage](Path(stage.rest[0]))
    elif stage.stage in ("int8", "int4"):
        result = integers(stage.stage)
    else:
        result = others[stage.stage](*stage.rest)
    if result is not None:
        print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
