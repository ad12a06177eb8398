"""Trainings that are killed and resumed, in a process of their own: ``python -m tests.training.kills NAME FOLDER``.

Autograd refuses to run in a forked process where threads of its own were started before, as other tests may do.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import torch

from litetext.distill import train as distill
from litetext.mini.train import train as train_mini
from litetext.outputs import RECORD
from litetext.training.checkpoint import CHECKPOINT, read_checkpoint_state
from litetext.training.trainer import HISTORY

from ..distill.conftest import examples, student
from ..distill.runs import LONG
from ..killing import survive_kills
from ..mini.test_train import CPU, SHORT


def _distill(folder: Path) -> None:
    config = replace(LONG, steps=300, checkpoint_every=7, report_every=9, evaluate_every=60)
    distill(student(repmixer=True), examples(), config, held_out=examples(["cup"]), out=folder)


def _mini(folder: Path) -> None:
    train_mini(replace(SHORT, steps=(12, 6, 12), checkpoint_every=1, report_every=3), folder, device=CPU)


def _check_like(killed: Path, whole: Path) -> None:
    """Check that a run which was killed has ended like the unbroken one, and that no other file was left."""
    states = [read_checkpoint_state(folder / CHECKPOINT) for folder in (whole, killed)]
    assert states[0]["step"] == states[1]["step"]
    assert _same(states[0]["task"], states[1]["task"])
    assert _rows(killed) == _rows(whole)
    assert {path.name for path in killed.iterdir()} == {CHECKPOINT, HISTORY, RECORD, "tensorboard"}


def _same(one: object, other: object) -> bool:
    """Whether two nested states are equal, their tensors to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(_same, one, other))
    return one == other


def _rows(folder: Path) -> list[dict[str, str]]:
    """The rows of the curves, but for what depends on time."""
    with (folder / HISTORY).open() as file:
        return [{name: v for name, v in row.items() if "second" not in name} for row in csv.DictReader(file)]


RUNS = {"distill": _distill, "mini": _mini}

if __name__ == "__main__":
    torch.set_num_threads(1)  # a forked child has no other threads to wait for
    survive_kills(RUNS[sys.argv[1]], Path(sys.argv[2]), _check_like)
