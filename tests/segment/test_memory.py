"""What results and pictures take of memory at their peak (benchmarks/memory.py), each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads peak memory as Linux tells it"),
]


def _measured(case: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, BENCHMARK, case], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_large_photo_with_250_instances_is_segmented_in_little_memory() -> None:
    found = _measured("segment")
    assert found["megapixels"] == 12 and found["instances"] == 250
    assert found["peak_mb"] < 400


def test_a_thin_image_takes_no_more_than_others() -> None:
    found = _measured("thin")
    assert found["instances"] == 250 and max(found["peak_mb"], found["save_png_peak_mb"]) < 400


def test_a_picture_takes_less_than_three_times_its_bytes() -> None:
    found = _measured("save_png_36")
    assert found["peak_mb"] < 3 * found["picture_mb"]
