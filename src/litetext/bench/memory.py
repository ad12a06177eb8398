"""The memory of a process, measured from inside it without importing anything heavy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..encoders.runtime import OnnxTextEncoder


def peak_resident_bytes() -> int:
    """This process's own high-water mark; ``ru_maxrss`` would start from the parent's, which forked it."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(next(x for x in status.read_text().splitlines() if x.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, where there is no /proc


def exported_encoder(folder: str, threads: int | None, in_openvino: bool) -> OnnxTextEncoder:
    """Return an exported encoder, run by ONNX Runtime or by OpenVINO."""
    from ..encoders.openvino_session import OpenVinoSession
    from ..encoders.runtime import OnnxTextEncoder

    return OnnxTextEncoder(folder, threads=threads, opened=OpenVinoSession if in_openvino else None)


def print_peak_without_torch(task_json: str) -> None:
    """Run inside a fresh process: encode one batch twice with an exported encoder, print the peak in 10^6 bytes."""
    task = json.loads(task_json)
    encoder = exported_encoder(task["name"], task["threads"], task["in_openvino"])
    for _ in range(2):
        encoder.encode(task["prompts"])
    print(peak_resident_bytes() / 1e6)
