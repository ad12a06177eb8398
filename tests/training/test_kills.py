"""Trainings killed with SIGKILL at random moments, again and again: the end is that of an unbroken run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("training", ["distill", "mini"])
def test_a_training_survives_twenty_kills(training: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.kills", training, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
