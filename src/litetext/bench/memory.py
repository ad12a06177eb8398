"""The memory of a process, measured from inside it without importing anything heavy."""

from __future__ import annotations

import json
from pathlib import Path


def peak_resident_bytes() -> int:
    """This process's own high-water mark; ``ru_maxrss`` would start from the parent's, which forked it."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(next(x for x in status.read_text().splitlines() if x.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, where there is no /proc


def print_peak_without_torch(task_json: str) -> None:
    """Run inside a fresh process: encode one batch twice with an exported encoder, print the peak in 10^6 bytes."""
    from ..encoders.runtime import OnnxTextEncoder

    task = json.loads(task_json)
    encoder = OnnxTextEncoder(task["name"], threads=task["threads"])
    for _ in range(2):
        encoder.encode(task["prompts"])
    print(peak_resident_bytes() / 1e6)
