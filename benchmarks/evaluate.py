"""Measure `litetext evaluate` on synthetic pairs: time and memory of the whole command, from 50,000 to 200,000 pairs.

Each pair is 640 x 480 with four objects or, every second one, none; predictions are the objects' outlines moved a
little, with a false positive in every tenth pair. Files are written to a scratch folder and scored in a fresh process
with two worker processes.

    python benchmarks/evaluate.py                     # writes benchmarks/evaluate.json
    python benchmarks/evaluate.py --pairs 10000 --out /tmp/quick.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from litetext.files import write_json
from litetext.results.rle import encode

HEIGHT, WIDTH, OBJECTS = 480, 640, 4
OUTLINES = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[50_000, 100_000, 200_000])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    outlines = moved_outlines(np.random.default_rng(0))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for pairs in arguments.pairs:
            truth, predictions = write_files(Path(folder), pairs, outlines)
            rows.append(measured(truth, predictions, pairs, arguments.processes))
            print(rows[-1], file=sys.stderr)
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    write_json(arguments.out, {"machine": machine, "processes": arguments.processes, "rows": rows})


def moved_outlines(rng: np.random.Generator) -> list[tuple[str, str]]:
    """Pairs of masks as RLE strings: a wavy blob, and the same blob moved and resized a little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pairs = []
    for _ in range(OUTLINES):
        centre = np.array([rng.uniform(60, HEIGHT - 60), rng.uniform(60, WIDTH - 60)])
        radius, waves, phase = rng.uniform(20, 110), rng.integers(3, 12), rng.uniform(0, 6)

        def blob(centre: Any, radius: float, waves: int = waves, phase: float = phase) -> str:
            angle = np.arctan2(y - centre[0], x - centre[1])
            edge = radius * (1 + 0.15 * np.sin(waves * angle + phase) + 0.04 * np.sin(5 * waves * angle))
            return encode(np.hypot(y - centre[0], x - centre[1]) < edge).decode()

        moved = centre + rng.normal(0, radius / 12, 2)
        pairs.append((blob(centre, radius), blob(moved, radius * rng.uniform(0.9, 1.1))))
    return pairs


def write_files(folder: Path, pairs: int, outlines: list[tuple[str, str]]) -> tuple[Path, Path]:
    """Write ground truth and predictions, entry by entry (a file of 200,000 pairs is larger than its generator)."""
    rng = np.random.default_rng(pairs)
    truth, predictions = folder / "truth.json", folder / "predictions.json"
    chosen = rng.integers(0, len(outlines), (pairs, OBJECTS))
    with truth.open("w") as file:
        file.write('{"categories": [{"id": 1, "name": "object"}], "images": [')
        file.write(",\n".join(json.dumps(image(pair)) for pair in range(pairs)))
        file.write('], "annotations": [')
        objects = ((pair, number) for pair in range(0, pairs, 2) for number in range(OBJECTS))
        for count, (pair, number) in enumerate(objects):
            region = {"size": [HEIGHT, WIDTH], "counts": outlines[chosen[pair, number]][0]}
            entry = {"id": count, "image_id": pair, "category_id": 1, "iscrowd": 0, "segmentation": region}
            file.write((",\n" if count else "") + json.dumps(entry))
        file.write("]}")
    with predictions.open("w") as file:
        file.write("[")
        first = True
        for pair in range(pairs):
            for number in range(OBJECTS if pair % 2 == 0 else int(pair % 10 == 1)):
                region = {"size": [HEIGHT, WIDTH], "counts": outlines[chosen[pair, number]][1]}
                score = float(rng.uniform(0.4, 1))
                entry = {"image_id": pair, "category_id": 1, "score": score, "segmentation": region}
                file.write(("" if first else ",\n") + json.dumps(entry))
                first = False
        file.write("]")
    return truth, predictions


def image(pair: int) -> dict[str, Any]:
    return {
        "id": pair,
        "file_name": f"{pair // 8}.jpg",
        "text_input": f"phrase {pair % 997}",
        "width": WIDTH,
        "height": HEIGHT,
        "is_instance_exhaustive": 1,
    }


def measured(truth: Path, predictions: Path, pairs: int, processes: int) -> dict[str, Any]:
    """Run the command; its seconds and the largest sum of resident memory of the command and its workers, in MB."""
    program = str(Path(sys.executable).with_name("litetext"))
    command = [program, "evaluate", "--gt", str(truth), "--pred", str(predictions), "--json"]
    load = os.getloadavg()[0]  # above 0 at the start: the machine has other work, and seconds grow with it
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    run = subprocess.Popen([*command, "--processes", str(processes)], stdout=subprocess.PIPE, text=True)
    peak = [0.0]
    watcher = threading.Thread(target=watch, args=(run, peak), daemon=True)
    watcher.start()
    output, _ = run.communicate()
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise SystemExit(f"the command failed with exit code {run.returncode}")
    metrics = json.loads(output)
    size = (truth.stat().st_size + predictions.stat().st_size) / 1e6
    return {
        "pairs": pairs,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_mb": round(peak[0]),
        "input_mb": round(size),
        "load_average": round(load, 1),
        "cgF1": round(metrics["cgF1"], 4),
    }


def watch(run: subprocess.Popen[str], peak: list[float]) -> None:
    """Keep the largest resident memory of a process and its children (Linux: proportional set size)."""
    while run.poll() is None:
        peak[0] = max(peak[0], sum(resident_mb(pid) for pid in family(run.pid)))
        time.sleep(0.2)


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = children.read_text().split() if children.exists() else []
    return [pid, *(member for child in below for member in family(int(child)))]


def resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
