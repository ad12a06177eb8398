"""How long `litetext audit` takes and how much memory, from 404,796 prompts to four million.

Prompts are made distinct by joining phrases of the lists given ("red dog and tall tree"), as many as asked for.
Each size is one whole run of the command in a process of its own: reading, de-duplicating, tokenizing, context
window, vocabulary, recipe, page and pictures. Beside it, the manifold of 5,000 bent points in 256 dimensions, and
the bias curve that the report prints.

    python benchmarks/audit.py PHRASES.txt... --out benchmarks/audit.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from litetext.anatomy.manifold import bent_ball, bias_curve, dimension
from litetext.files import write_json
from litetext.prompts import read_corpus

SIZES = (404_796, 1_000_000, 2_000_000, 4_000_000)
_RUN = """
import json, resource, sys
from litetext.cli import main
try:
    main(["audit", sys.argv[1], "--out", sys.argv[2]])
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), file=sys.stderr)
"""


def joined(phrases: list[str], count: int) -> Iterator[str]:
    """Yield ``count`` distinct prompts: the phrases themselves, then pairs of them."""
    yield from phrases[:count]
    rng, seen = random.Random(0), set()
    while len(phrases) + len(seen) < count:
        pair = rng.randrange(len(phrases)), rng.randrange(len(phrases))
        if pair not in seen:
            seen.add(pair)
            yield f"{phrases[pair[0]]} and {phrases[pair[1]]}"


def measured(file: Path, out: Path) -> dict[str, float]:
    """Return seconds and peak memory of one audit."""
    start, used = time.perf_counter(), _child_seconds()
    done = subprocess.run([sys.executable, "-c", _RUN, file, out], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    report = json.loads((out / "report.json").read_text())
    return {
        "prompts": report["prompts"]["unique"],
        "mean_tokens": round(report["tokens"]["mean"], 3),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(_child_seconds() - used, 2),
        "peak_mb": round(json.loads(done.stderr.splitlines()[-1])["peak_mb"]),
    }


def _child_seconds() -> float:
    """Processor time of all finished child processes: what a busy machine does not stretch."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phrases", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    options = parser.parse_args()
    phrases = read_corpus(options.phrases).phrases
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.txt"
        for size in options.sizes:
            with file.open("w", encoding="utf-8") as lines:
                lines.writelines(f"{phrase}\n" for phrase in joined(phrases, size))
            rows.append(measured(file, Path(folder) / "audit"))
            print(rows[-1], flush=True)
    points = bent_ball(5_000, 16, 256)
    start = time.process_time()
    reading = dimension(points)
    seconds = time.process_time() - start
    start = time.process_time()
    curve = bias_curve(5_000)
    manifold = {
        "points": 5_000,
        "width": 256,
        "true_dimension": 16,
        "two_nn": round(reading.two_nn.value, 2),
        "mle_mean": round(reading.mle_mean, 2),
        "cpu_seconds": round(seconds, 2),
        "bias_curve_cpu_seconds": round(time.process_time() - start, 2),
        "bias_curve": asdict(curve),
        "true_dimension_of_readings": {
            str(value): [curve.true_dimension(value), curve.true_dimension(value, "two_nn")]
            for value in (16, 17, 18, 19)
        },
    }
    print(manifold)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    write_json(options.out, {"machine": machine, "audit": rows, "manifold": manifold})


if __name__ == "__main__":
    main()
