"""Speed, memory, start and agreement of exported encoders: every figure of docs/deploy.md.

    python benchmarks/deploy.py PROMPTS.txt                             # everything, some ten minutes
    python benchmarks/deploy.py PROMPTS.txt --speed-only --threads 2    # these rows alone, into the same file
    python benchmarks/deploy.py PROMPTS.txt --openvino                  # int8 in OpenVINO beside ONNX Runtime, alone

The encoder has S0's shape and masks padding everywhere. Its weights are random, RepMixer's layer scales among them (at
the initial 1e-5 the block would be an identity). Speed is that of the rows of `litetext bench text`: against
transformers' own S0, eager, at L = 16, in the same run with the same threads, medians over rounds of the ratio within a
round. With one thread, seconds are processor time, so that other programs on the machine do not count; two threads need
a machine of their own (``load_average`` stands beside them). The teacher is there as the honest opponent: the large
model, trimmed and in int8 as well. Resident memory and the start are those of a fresh process that loads, encodes and
stops.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # of the fresh processes; here torch.set_num_threads decides

import numpy as np
import onnxruntime
import torch

from litetext.bench.text import REFERENCE, bench_text, candidates
from litetext.encoders import (
    PRESETS,
    Checkpoint,
    ConceptBank,
    OnnxTextEncoder,
    TextFeatures,
    TorchTextEncoder,
    build,
    build_bank,
    export_onnx,
)
from litetext.encoders.difference import measure_difference
from litetext.encoders.vocabulary import prune_checkpoint
from litetext.files import write_json
from litetext.json_files import read_json
from litetext.tokenizer import Tokenizer

ROUNDS = 9
COMPARED = {"fp32": 2000, "fp16": 2000, "int8": 2000, "teacher-int8": 128}  # prompts
ENCODED = {"one prompt": ["white dog"], "one accented prompt": ["café table"]}

FRESH = """
import json, sys, time
from litetext import load_encoder
load_encoder(sys.argv[1], threads=1).encode(json.loads(sys.argv[2]))
cpu = time.process_time()
facts = dict(line.split(":") for line in open("/proc/self/status") if line.startswith(("VmRSS", "VmHWM")))
print(json.dumps({"cpu_s": cpu, **{key: int(value.split()[0]) * 1024 / 1e6 for key, value in facts.items()}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--speed-only", action="store_true")
    parser.add_argument("--openvino", action="store_true")
    arguments = parser.parse_args()
    prompts = [line for line in arguments.prompts.read_text(encoding="utf-8").splitlines() if line]
    report: dict[str, Any] = read_json(arguments.out) if arguments.out.exists() else {}

    def note(key: str, value: Any) -> None:
        report[key] = value
        write_json(arguments.out, report)
        print(key, json.dumps(value), flush=True)

    if arguments.openvino:
        for threads in arguments.threads:
            note(f"OpenVINO, {threads} threads", in_openvino(prompts, threads))
        return
    note("machine", machine())
    note("prompts", {"file": arguments.prompts.name, "count": len(prompts)})
    if not arguments.speed_only:
        note("tokenizer_us", tokenizer_us(prompts))  # first, while no word was met
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        checkpoints = export_all(place, prompts)
        if not arguments.speed_only:
            note("resident", {name: resident(place / name, prompts) for name in ("int8", "int8-8000")})
            note("bank", bank(place, prompts))
        if not arguments.speed_only or "agreement" not in report:
            note("agreement", {name: agreement(place / name, checkpoints[name], prompts) for name in COMPARED})
        worst = {name: min(one["min_cosine"] for one in found) for name, found in report["agreement"].items()}
        for threads in arguments.threads:
            note(f"speed, {threads} threads", speed(place, list(checkpoints), prompts, threads, worst))


def export_all(place: Path, prompts: list[str]) -> dict[str, Checkpoint]:
    """Write every export that is measured into ``place``, and return what each was made from."""
    s0, teacher = random_checkpoint("s0"), random_checkpoint("teacher")
    pruned = prune_checkpoint(s0, Tokenizer().prune_vocabulary(prompts, 8000))
    made: dict[str, Checkpoint] = {"fp32": s0, "fp16": s0, "int8": s0, "int8-8000": pruned, "teacher-int8": teacher}
    for name, checkpoint in made.items():
        export_onnx(checkpoint, place / name, prompts[:16], precision=name.replace("teacher-", "")[:4])
    return made


def random_checkpoint(name: str) -> Checkpoint:
    torch.manual_seed(0)
    config = PRESETS[name]
    if not config.causal:
        config = replace(config, unused_projection=0).with_convention(mask_padding="everywhere")
    module = build(config)
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif key.endswith("scale"):
                tensor.uniform_(0.2, 0.8)
            elif "norm" in key and key.endswith("weight"):
                tensor.uniform_(0.5, 1.5)
            elif "norm" in key and key.endswith(("bias", "running_mean")):
                tensor.normal_(std=0.1)
    return Checkpoint(config, module.state_dict(), Tokenizer(), "litetext", name)


def speed(
    place: Path, names: Sequence[str], prompts: list[str], threads: int, worst: dict[str, float]
) -> dict[str, Any]:
    """The rows of `litetext bench text`, with the cosines that `agreement` found."""
    before = os.getloadavg()[0]
    rows = [*candidates([REFERENCE]), *(replace(candidates(["s0-16"], [str(place / n)])[1], name=n) for n in names)]
    found = bench_text(rows, prompts, batches=(1, 64), threads=threads, rounds=ROUNDS, memory=False)
    kept = ("name", "batch", "threads", "texts_per_s", "vs_s0_eager", "bytes", "min_cosine")
    dicts = [asdict(replace(row, min_cosine=worst.get(row.name))) for row in found]
    return {"load_average": before, "rows": [{key: row[key] for key in kept} for row in dicts]}


def in_openvino(prompts: list[str], threads: int) -> dict[str, Any]:
    """Int8 in both runtimes, taking turns with transformers' S0."""
    s0, before = random_checkpoint("s0"), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(s0, Path(folder) / "int8", prompts[:16], precision="int8")
        rows = candidates([REFERENCE], [f"{folder}/int8"])
        rows = [replace(row, name=row.name.rpartition("/")[2]) for row in rows]
        found = bench_text(rows, prompts, batches=(1, 64), threads=threads, rounds=ROUNDS, memory=False)
    kept = ("name", "batch", "texts_per_s", "vs_s0_eager")
    return {"load_average": before, "rows": [{key: asdict(row)[key] for key in kept} for row in found]}


def agreement(folder: Path, checkpoint: Checkpoint, prompts: list[str]) -> list[dict[str, Any]]:
    """How far an export is from torch; int8, which sees a prompt's company, in batches of 1 as well as of 64."""
    reference = TorchTextEncoder(checkpoint.module(), checkpoint.tokenizer)
    exported, some = OnnxTextEncoder(folder, threads=1), prompts[: COMPARED[folder.name]]
    batches = (1, 64) if folder.name == "int8" else (64,)
    return [{"batch": n} | asdict(measure_difference(exported, reference, some, n)) for n in batches]


def resident(folder: Path, prompts: list[str]) -> dict[str, dict[str, float]]:
    """Resident and peak memory (10^6 bytes) and processor seconds from start to features, medians of five processes."""
    found = {}
    for what, encoded in (ENCODED | {"64 prompts": prompts[:64]}).items():
        command = [sys.executable, "-c", FRESH, str(folder), json.dumps(encoded)]
        runs = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(5)]
        found[what] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return found


def tokenizer_us(prompts: list[str]) -> dict[str, float]:
    """Processor microseconds a prompt, in batches of 64 over 6,400 prompts: new ones, and the same once more."""

    def taken() -> float:
        start = time.process_time()
        for first in range(0, 6400, 64):
            tokenizer(prompts[first : first + 64], 16)
        return (time.process_time() - start) / 6400 * 1e6

    tokenizer = Tokenizer()
    tokenizer(prompts[-64:], 16)  # loads the merges
    return {"new": taken(), "again": taken()}


def bank(place: Path, prompts: list[str]) -> dict[str, float]:
    """Processor milliseconds to open a bank of 100,000 concepts, and to look up some of them, medians of 32."""

    class Ones:
        def encode(self, asked: Sequence[str]) -> TextFeatures:
            return TextFeatures(np.ones((len(asked), 6, 256), np.float32), np.zeros((len(asked), 6), bool))

    concepts = [f"{prompts[i % len(prompts)]} {i}" for i in range(100_000)]
    build_bank(concepts, Ones(), place / "bank.safetensors", encoder_name="ones")
    times: dict[str, list[float]] = {"open": [], "look_up_1": [], "look_up_64": []}

    def timed(key: str, start: float) -> None:
        times[key].append(1000 * (time.process_time() - start))

    for turn in range(32):
        start = time.process_time()
        opened = ConceptBank(place / "bank.safetensors")
        timed("open", start)
        for count in (1, 64):
            asked = concepts[(turn * 2 + (count == 1)) * 64 :][:count]
            start = time.process_time()
            opened.encode(asked)
            timed(f"look_up_{count}", start)
    return {f"{key}_ms": statistics.median(own) for key, own in times.items()}


def machine() -> dict[str, Any]:
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = next(line for line in facts.splitlines() if line.startswith("flags"))
    return {
        "cores": os.cpu_count(),
        "cpu": "AVX-512 VNNI" if "avx512_vnni" in flags else "AVX2",
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
