"""Distillation from end to end: train a student to give its teacher's features.

With ``out=None`` it writes nothing and needs nothing but torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..training.processes import Processes
from ..training.trainer import Trainer, TrainReport
from .config import TrainConfig
from .examples import Examples
from .losses import Downstream
from .metrics import EvalMetrics
from .task import DistillTask


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The end of a run.

    Attributes:
        student: the module trained, in eval mode, with the averaged weights where there is an average.
        history: one row a report, see `litetext.training.trainer.Trainer`.
        held_out: the last evaluation; None without held-out prompts.
        steps: steps done.
        seconds: training time, that before a resume included, evaluations not.
        prompts_per_second: over that time.
    """

    student: nn.Module
    history: list[dict[str, float]]
    held_out: EvalMetrics | None
    steps: int
    seconds: float
    prompts_per_second: float


def train(
    student: nn.Module,
    examples: Examples,
    config: TrainConfig,
    *,
    held_out: Examples | None = None,
    downstream: Downstream | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    device: str | torch.device | None = None,
    on_report: Callable[[TrainReport], None] | None = None,
    initial_student: str = "",
) -> TrainResult:
    """Train ``student`` in place to give its teacher's features.

    Args:
        student: maps ids int64 [B, L] to (tokens [B, L, D], mask bool [B, L]). It must not let padding after the real
            tokens reach them, unless ``config.pad_to`` lays all prompts out alike.
        examples: what it learns from.
        config: how.
        held_out: what it is evaluated on.
        downstream: see `Downstream`; needed where its weight is above 0.
        out: a folder for ``checkpoint.pt``, ``losses.csv`` and TensorBoard events; None writes nothing.
        resume: go on from a checkpoint in ``out``.
        device: CUDA if there is one, else the CPU; under `torchrun` or `accelerate launch` each process's own.
        on_report: called every ``report_every`` steps and at the end, in the first process.
        initial_student: a hash of what the student starts from, such as `weights_digest`; a run goes on only from a
            checkpoint of the same. "" compares shapes alone.

    Raises:
        LitetextError: a checkpoint of another run or a damaged one, features of another width, a diverged loss.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint was written to ``out``.
    """
    processes = Processes.start(device)
    task = DistillTask(student.to(processes.device), examples, held_out, config, downstream, processes, initial_student)
    trainer = Trainer(
        task,
        processes,
        Path(out) if out is not None else None,
        resume=resume,
        report_every=config.report_every,
        evaluate_every=config.evaluate_every,
        checkpoint_every=config.checkpoint_every,
    )
    trainer.fit(on_report)
    return TrainResult(
        task.finish(),
        trainer.history,
        EvalMetrics(**trainer.metrics) if trainer.metrics is not None else None,  # type: ignore[arg-type]
        trainer.step,
        trainer.seconds,
        trainer.samples_per_second,
    )
