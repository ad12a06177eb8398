"""Train `mini` from nothing, recipe after recipe; a killed run continues where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ..devices import torch_device
from ..training.processes import Processes
from ..training.trainer import Trainer, TrainReport
from .config import MiniTrainConfig
from .task import MiniTask

OnReport = Callable[[TrainReport], None]


def train(
    config: MiniTrainConfig,
    out: Path,
    *,
    resume: bool = True,
    device: str | torch.device | None = None,
    initial: Callable[[MiniTask], None] | None = None,
    on_report: OnReport | None = None,
) -> MiniTask:
    """Train, and leave ``checkpoint.pt``, ``losses.csv`` and TensorBoard events in ``out``.

    Args:
        config: what to do.
        out: a folder.
        resume: go on from a checkpoint in ``out``.
        device: where to compute; CUDA if there is one.
        initial: given the fresh task, may load weights into its model (not called when a run is resumed).
        on_report: called with every report.

    Raises:
        LitetextError: a checkpoint of another run or a damaged one, or a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    processes = Processes(torch_device(device))
    task = MiniTask(config, processes.device)
    trainer = Trainer(
        task,
        processes,
        out,
        resume=resume,
        report_every=config.report_every,
        evaluate_every=config.evaluate_every,
        checkpoint_every=config.checkpoint_every,
    )
    if initial is not None and not trainer.resumed:
        initial(task)
    trainer.fit(on_report)
    return task


def train_in_turn(
    plan: Sequence[MiniTrainConfig],
    out: Path,
    *,
    resume: bool = True,
    device: torch.device | None = None,
    initial: Callable[[MiniTask], None] | None = None,
    on_report: OnReport | None = None,
) -> MiniTask:
    """Train recipe after recipe in ``out/1``, ``out/2`` …, each from the weights of the one before.

    Arguments as `train` takes them; the steps of reports are counted through. Returns the task of the last recipe.
    """
    if not plan:
        raise ValueError("a plan is at least one recipe")
    done, steps = 0, sum(config.total_steps for config in plan)

    def report(one: TrainReport) -> None:
        if on_report is not None:
            on_report(replace(one, step=done + one.step, steps=steps))

    for number, config in enumerate(plan, start=1):
        folder = out / str(number)
        task = train(config, folder, resume=resume, device=device, initial=initial, on_report=report)
        initial = partial(MiniTask.start_from, folder=folder)
        done += config.total_steps
    return task
