"""What the stages of segmenting take on this machine: vision encoder, detector, pixels and text, each by itself.

Everything runs in a process of its own, so that its peak memory is its own. Seconds are on the clock; a stage is taken
several times and its median counts, so an idle machine gives the figures that a user sees. In torch the arithmetic of a
stage is counted as it runs, and set against what a plain matrix product reaches in the same process, device and dtype.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..data import samples
from ..errors import LitetextError
from ..images import read_image
from .memory import peak_resident_bytes

_QUERIES = 10  # masks of a prompt that are drawn
_SIDE, _GPU_SIDE, _RUNS = 2048, 8192, 5  # of the matrix product that the others are set against


@dataclass(frozen=True)
class SegmentTask:
    """What is measured.

    Attributes:
        model: what `Segmenter.from_pretrained` takes.
        prompts: noun phrases; all are asked of one image.
        backend, device, dtype, image_size, threads: as there.
        rounds: how often each stage is taken.
        batch_size: prompts that the detector decodes together.
        compile: as in `Segmenter.from_pretrained`; what is compiled at a stage's first run is not timed.
    """

    model: str
    prompts: tuple[str, ...]
    backend: str | None = None
    device: str | None = None
    dtype: str | None = None
    image_size: int | None = None
    threads: int | None = None
    rounds: int = 3
    batch_size: int = 8
    compile: bool = False


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: ``vision`` (an image), ``detector`` (a prompt), ``pixels`` (ten masks of a prompt) or ``text`` (a prompt).
        ms: milliseconds, the median.
        gflops: its arithmetic in 10^9 operations, 2 per multiply-add; None where it is not counted (outside torch).
        share: of the speed that a matrix product reaches; None where ``gflops`` is.
    """

    name: str
    ms: float
    gflops: float | None
    share: float | None


@dataclass(frozen=True)
class SegmentSpeed:
    """The result of `bench_segment`.

    Attributes:
        model, prompts, threads: what was measured, and with how many CPU threads (0: those of a GPU do not matter).
        backend: what ran it, in words.
        image_size: side of the picture in pixels.
        stages: what each took.
        peak_mb: peak resident memory of the process (on a GPU: of its memory), 10^6 bytes.
        matmul_gflops: 10^9 operations a second of a matrix product of 2,048 rows and columns, of 8,192 on a GPU; None
            outside torch.
    """

    model: str
    backend: str
    image_size: int
    prompts: int
    threads: int
    stages: tuple[Stage, ...]
    peak_mb: float
    matmul_gflops: float | None


def bench_segment(task: SegmentTask) -> SegmentSpeed:
    """Measure a model in a fresh process.

    Raises:
        LitetextError: whatever `Segmenter.from_pretrained` refuses.
    """
    if not task.prompts:
        raise LitetextError("bench needs one prompt or more")
    code = "import sys; from litetext.bench.segment import print_measured; print_measured(sys.argv[1])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asdict(task))], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"measuring failed: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        raise LitetextError(found["error"])
    return SegmentSpeed(**found | {"stages": tuple(Stage(**stage) for stage in found["stages"])})


def print_measured(task_json: str) -> None:
    """Run inside the fresh process: measure, and print one line of JSON."""
    values = json.loads(task_json)
    try:
        print(json.dumps(asdict(_measured(SegmentTask(**values | {"prompts": tuple(values["prompts"])})))))
    except LitetextError as error:
        print(json.dumps({"error": str(error)}))


def _measured(task: SegmentTask) -> SegmentSpeed:
    from ..segment import Segmenter

    segmenter = Segmenter.from_pretrained(
        task.model,
        device=task.device,
        dtype=task.dtype,
        threads=task.threads,
        backend=task.backend,
        image_size=task.image_size,
        compile=task.compile,
    )
    torch_backend = _in_torch(segmenter.backend)
    if torch_backend and task.threads:
        sys.modules["torch"].set_num_threads(task.threads)
    backend, photo = segmenter.backend, read_image(samples()[0].image)
    text = backend.prepare_text(segmenter.text.encode(task.prompts))
    (image,) = backend.encode_images([photo])
    batches = [text[start : start + task.batch_size] for start in range(0, len(text), task.batch_size)]
    detections = backend.detect(image, batches[0])
    best = np.argsort(-detections.scores[0], kind="stable")[:_QUERIES]
    backend.decode_masks(image, detections, 0, best)
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "vision": (lambda: backend.encode_images([photo]), 1),
        "detector": (lambda: [backend.detect(image, batch) for batch in batches], len(text)),
        "pixels": (lambda: backend.decode_masks(image, detections, 0, best), 1),
        "text": (lambda: segmenter.text.encode(task.prompts), len(text)),
    }
    peak = _matmul_gflops(backend) if torch_backend else None
    stages = tuple(_stage(name, run, count, task.rounds, backend, peak) for name, (run, count) in runs.items())
    on_gpu = torch_backend and backend.device.type == "cuda"  # type: ignore[attr-defined]
    return SegmentSpeed(
        model=task.model,
        backend=repr(backend),
        image_size=backend.image_size,
        prompts=len(text),
        threads=0 if on_gpu else _threads(task, torch_backend),
        stages=stages,
        peak_mb=_peak_bytes(backend if on_gpu else None) / 1e6,
        matmul_gflops=peak,
    )


def _in_torch(backend: object) -> bool:
    if "torch" not in sys.modules:
        return False
    from ..segment.torch_backend import TorchBackend

    return isinstance(backend, TorchBackend)


def _threads(task: SegmentTask, in_torch: bool) -> int:
    if in_torch:
        return int(sys.modules["torch"].get_num_threads())
    return task.threads or os.cpu_count() or 1


def _stage(name: str, run: Callable[[], object], count: int, rounds: int, backend: Any, peak: float | None) -> Stage:
    """Take a stage, which has run before; where torch runs it, it is counted first, and compiled where it is to be."""
    gflops = counted_gflops(run) / count if peak is not None else None
    if getattr(backend, "compiled", None):
        run()
    seconds = statistics.median(_seconds(run, backend) for _ in range(rounds)) / count
    share = None if gflops is None or peak is None else gflops / seconds / peak
    return Stage(name, 1e3 * seconds, gflops, share)


def _seconds(run: Callable[[], object], backend: Any) -> float:
    _wait_for(backend)
    start = time.perf_counter()
    run()
    _wait_for(backend)
    return time.perf_counter() - start


def _wait_for(backend: Any) -> None:
    """Wait until a GPU has done what it was given."""
    if getattr(getattr(backend, "device", None), "type", "cpu") == "cuda":
        sys.modules["torch"].cuda.synchronize(backend.device)


def counted_gflops(run: Callable[[], object]) -> float:
    """Return 10^9 operations of a run in torch, which are those of its modules whatever is compiled."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    fused = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}  # which torch does not count
    counter = FlopCounterMode(display=False, custom_mapping=fused)
    with torch.compiler.set_stance("force_eager"), counter:
        run()
    return counter.get_total_flops() / 1e9


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Operations of attention between tensors of these shapes."""
    from torch.utils.flop_counter import sdpa_flop_count

    return int(sdpa_flop_count(query, key, value))


def _matmul_gflops(backend: Any) -> float:
    """10^9 operations a second of a matrix product, where and in what the backend computes."""
    import torch

    side = _GPU_SIDE if backend.device.type == "cuda" else _SIDE
    with torch.inference_mode():
        rows, layer = torch.randn(2, side, side, device=backend.device, dtype=backend.dtype)
        fastest = min(_seconds(lambda: torch.nn.functional.linear(rows, layer), backend) for _ in range(_RUNS))
    return 2 * side**3 / fastest / 1e9


def _peak_bytes(in_torch: Any) -> int:
    """Of the card that a backend in torch computes on; of the process where there is none (None)."""
    if in_torch is None:
        return peak_resident_bytes()
    return int(sys.modules["torch"].cuda.max_memory_allocated(in_torch.device))


def phrases_for(prompts: Sequence[str], count: int) -> tuple[str, ...]:
    """Return ``count`` of the phrases, the first ones again where there are too few."""
    return tuple(prompts[row % len(prompts)] for row in range(count))
