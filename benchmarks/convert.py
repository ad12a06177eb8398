"""What converting whole models takes at real size. Run on the machine you want to know about:

    python benchmarks/convert.py convert       # SAM3 with its tracker through every layout: peak memory, seconds
    python benchmarks/convert.py info          # how long `litetext info` takes over a file of 2 GB

The files hold random numbers under the published names, in the published shapes. Each command runs in a process of its
own: its peak memory is the largest that it had resident, files mapped into memory included, and its seconds include the
start of Python and imports. On a busy machine those of processors stay what they are. Results go to
benchmarks/convert.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

RESULTS = Path(__file__).with_suffix(".json")


def make(path: str, dtype: str) -> None:
    """Write SAM3 with its tracker as Meta publishes it, 3.45 GB in float32, of random numbers."""
    import torch
    from transformers import Sam3VideoConfig, Sam3VideoModel

    from litetext.encoders.dtypes import dtype_name
    from litetext.encoders.encoder_file import EncoderFile
    from litetext.encoders.layouts import TRANSFORMERS_TEACHER as LAYOUT
    from litetext.encoders.tensorfile import LazyTensor, TensorFile, cast
    from litetext.segment.convention import META
    from litetext.segment.meta_writer import write_meta
    from litetext.segment.whole_model import WholeModel
    from litetext.tokenizer import Tokenizer

    config = Sam3VideoConfig()
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in Sam3VideoModel(config).state_dict().items()}
    numbers = {
        key.removeprefix("detector_model."): LazyTensor(
            shape, dtype_name(torch.float32), partial(torch.randn, shape, dtype=torch.float32)
        )
        for key, shape in shapes.items()
    }
    numbers = cast(numbers, getattr(torch, dtype))
    file = TensorFile("sam3", numbers)
    encoder = LAYOUT.infer(file, "", None, "sam3")
    text = EncoderFile(encoder, Tokenizer(), LAYOUT.name, "sam3", 0, LAYOUT.read(file, "", encoder))
    model = WholeModel(
        source="sam3",
        config=config.detector_config,
        convention=META,
        detector={key: one for key, one in numbers.items() if not key.startswith(("text_", "tracker_"))},
        preprocessor={},
        video={},
        tracker={key: one for key, one in numbers.items() if key.startswith("tracker_")},
        unported={},
        release=lambda: None,
    )
    write_meta(model, text, path)


def measured(*arguments: str) -> dict[str, float]:
    """Run a command of litetext's; return its peak resident memory, and its seconds on the clock and of processors."""
    start = perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "litetext", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"litetext {' '.join(arguments)} failed")
    clock = perf_counter() - start
    return {
        "peak_mb": round(usage.ru_maxrss * 1024 / 1e6, 1),
        "seconds": round(clock, 2),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
    }


def size_of(path: Path) -> int:
    """Return the bytes of the largest file at a path."""
    files = path.rglob("*") if path.is_dir() else [path]
    return max(file.stat().st_size for file in files if file.is_file())


def convert() -> dict[str, Any]:
    """Every direction, one after the other; each result is what the next one starts from."""
    rows = []
    for dtype in ("float32", "bfloat16"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            source = folder / "sam3.pt"
            subprocess.run([sys.executable, __file__, "make", str(source), dtype], check=True)
            for layout, name in (
                ("transformers", "theirs"),
                ("litetext", "ours"),
                ("meta", "sam3.safetensors"),
                ("meta", "back.pt"),
            ):
                destination = folder / name
                used = measured("convert", str(source), str(destination), "--to", layout, "--quiet")
                largest = max(size_of(source), size_of(destination))
                row = {"from": source.name, "to": layout, "file": name, "dtype": dtype, "largest_gb": largest / 1e9}
                rows.append(row | used | {"peak_of_largest": round(used["peak_mb"] * 1e6 / largest, 3)})
                print(json.dumps(rows[-1]), flush=True)
                remove(source)
                source = destination
    idle = measured("models", "--json")["peak_mb"]
    return {"rows": rows, "idle_mb": idle, "worst": max(row["peak_of_largest"] for row in rows)}


def remove(path: Path) -> None:
    """Make room: a file or folder of gigabytes."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            file.unlink()


def info() -> dict[str, Any]:
    """`litetext info` over 2 GB, as safetensors and as a .pt: the best of five."""
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("sam3.safetensors", "sam3.pt"):
            path = Path(temporary) / name
            subprocess.run([sys.executable, __file__, "make", str(path), "float32"], check=True)
            runs = [measured("info", str(path)) for _ in range(5)]
            rows[name] = {"gb": round(size_of(path) / 1e9, 2)} | min(runs, key=lambda run: run["seconds"])
            path.unlink()
    return rows


def record(name: str, result: dict[str, Any]) -> None:
    """Print the result and keep it beside the others in benchmarks/convert.json."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[name] = result | {"setup": {"machine": platform.machine(), "cores": os.cpu_count()}}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(kept[name], indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    for name in ("convert", "info"):
        stages.add_parser(name)
    making = stages.add_parser("make")
    making.add_argument("path")
    making.add_argument("dtype")
    given = parser.parse_args()
    if given.stage == "make":
        make(given.path, given.dtype)
    else:
        record(given.stage, convert() if given.stage == "convert" else info())


if __name__ == "__main__":
    main()
