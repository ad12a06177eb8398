"""Speed, memory, start and agreement of exported encoders: the bars of docs/deploy.md.

    python benchmarks/deploy.py PROMPTS.txt [--out benchmarks/deploy.json] [--with-teacher]

The encoder has S0's shape and masks padding everywhere. Its weights are random, RepMixer's layer scales among them (at
the initial 1e-5 the block would be an identity). It is compared with transformers' own S0, eager, at L = 16.

Seconds are processor time of one thread, so that other programs on the machine do not count; encoders take turns, and
figures are medians over the rounds of the ratio within a round. Resident memory and the start are those of a fresh
process that loads, encodes one prompt and stops.
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
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch

from litetext.encoders import (
    PRESETS,
    Checkpoint,
    ConceptBank,
    OnnxTextEncoder,
    TorchTextEncoder,
    build,
    build_bank,
    export_onnx,
)
from litetext.encoders.difference import measure_difference
from litetext.encoders.vocabulary import prune_checkpoint
from litetext.files import write_json
from litetext.tokenizer import Tokenizer

ROUNDS = 7
COMPARED = 2000

FRESH = """
import json, sys, time
from litetext import load_encoder
load_encoder(sys.argv[1], threads=1).encode(["white dog"])
cpu = time.process_time()
facts = dict(line.split(":") for line in open("/proc/self/status") if line.startswith(("VmRSS", "VmHWM")))
print(json.dumps({"cpu_s": cpu, **{key: int(value.split()[0]) * 1024 / 1e6 for key, value in facts.items()}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/deploy.json"))
    parser.add_argument("--with-teacher", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prompts = [line for line in arguments.prompts.read_text(encoding="utf-8").splitlines() if line]
    report: dict[str, Any] = {"prompts": arguments.prompts.name, "cpu": cpu_name()}

    def note(key: str, value: Any) -> None:
        report[key] = value
        write_json(arguments.out, report)
        print(key, json.dumps(value), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        note("tokenizer_us", tokenizer_us(prompts))
        note("bank_open_ms", bank_open_ms(place, prompts))
        checkpoint = random_checkpoint("s0")
        export_onnx(checkpoint, place / "int8", prompts[:64], precision="int8")
        pruned = prune_checkpoint(checkpoint, Tokenizer().prune_vocabulary(prompts, 8000))
        export_onnx(pruned, place / "int8-8000", prompts[:64], precision="int8")
        for name in ("int8", "int8-8000"):
            note(f"fresh {name}", fresh(place / name))
        encoders: dict[str, Callable[[Sequence[str]], Any]] = {
            "s0-eager": eager(),
            "int8": OnnxTextEncoder(place / "int8", threads=1).encode,
        }
        export_onnx(checkpoint, place / "fp32", prompts[:64])
        encoders["fp32"] = OnnxTextEncoder(place / "fp32", threads=1).encode
        if arguments.with_teacher:
            export_onnx(random_checkpoint("teacher"), place / "teacher", prompts[:4], precision="int8")
            encoders["teacher int8, trimmed"] = OnnxTextEncoder(place / "teacher", threads=1).encode
        bank = place / "known.safetensors"
        build_bank(prompts[:COMPARED], OnnxTextEncoder(place / "int8", threads=1), bank, encoder_name="int8")
        encoders["bank (all known)"] = ConceptBank(bank).encode
        for batch in (1, 64):
            note(f"speed at batch {batch}", speed(encoders, prompts[:COMPARED], batch))
        reference = TorchTextEncoder(checkpoint.module(), checkpoint.tokenizer)
        for batch in (1, 64):
            difference = measure_difference(
                OnnxTextEncoder(place / "int8", threads=1), reference, prompts[:COMPARED], batch
            )
            note(f"int8 against torch at batch {batch}", asdict(difference))


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


def eager() -> Callable[[Sequence[str]], Any]:
    """transformers' S0 at L = 16, as `litetext bench text` runs it."""
    from litetext.bench.text import REFERENCE, candidates

    return candidates([REFERENCE])[0].ready("cpu")


def speed(encoders: dict[str, Callable[[Sequence[str]], Any]], prompts: list[str], batch: int) -> dict[str, Any]:
    batches = [prompts[start : start + batch] for start in range(0, 8 * batch, batch)]
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for turn in range(ROUNDS + 1):
        for name, encode in encoders.items():
            chosen = batches if batch == 1 else [batches[turn % len(batches)]]
            start = time.process_time()
            for one in chosen:
                encode(one)
            seconds[name].append((time.process_time() - start) / len(chosen))
    return {
        name: {
            "ms": 1000 * statistics.median(own[1:]),  # the first round warms up
            "vs_s0_eager": statistics.median(a / b for a, b in zip(seconds["s0-eager"][1:], own[1:], strict=True)),
        }
        for name, own in seconds.items()
    }


def fresh(folder: Path) -> dict[str, float]:
    """Resident and peak memory (10^6 bytes) and processor seconds from start to first embedding, the median of five."""
    runs = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", FRESH, str(folder)], capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def tokenizer_us(prompts: list[str]) -> float:
    """Processor time a prompt in microseconds, in batches of 64, of the best of five passes over 6,400 prompts."""
    tokenizer, passes = Tokenizer(), []
    for _ in range(5):
        start = time.process_time()
        for first in range(0, 6400, 64):
            tokenizer(prompts[first : first + 64], 16)
        passes.append(time.process_time() - start)
    return min(passes) / 6400 * 1e6


def bank_open_ms(place: Path, prompts: list[str]) -> dict[str, float]:
    """Processor time to open a bank of 100,000 concepts, and to look 64 of them up, the medians of seven."""

    class Random:
        def encode(self, asked: Sequence[str]) -> Any:
            from litetext.encoders import TextFeatures

            return TextFeatures(np.ones((len(asked), 6, 256), np.float32), np.zeros((len(asked), 6), bool))

    concepts = [f"{prompts[i % len(prompts)]} {i}" for i in range(100_000)]
    build_bank(concepts, Random(), place / "bank.safetensors", encoder_name="random")
    opened, asked = [], []
    for turn in range(7):
        start = time.process_time()
        bank = ConceptBank(place / "bank.safetensors")
        opened.append(time.process_time() - start)
        start = time.process_time()
        bank.encode(concepts[turn * 64 : turn * 64 + 64])
        asked.append(time.process_time() - start)
    return {"open": 1000 * statistics.median(opened), "look_up_64": 1000 * statistics.median(asked)}


def cpu_name() -> str:
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = next(line for line in facts.splitlines() if line.startswith("flags"))
    vnni = "AVX-512 VNNI" if "avx512_vnni" in flags else "AVX2"
    return f"{os.cpu_count()} cores, {vnni}"


if __name__ == "__main__":
    main()
