"""The training loop: steps, reports, evaluations, checkpoints, signals; what is trained is a `TrainTask`.

A checkpoint holds all state, the rows of the curves included, and a task's steps depend on nothing but their number and
that state. So a killed run continues where it was, writes the rows it would have written and, on a CPU, ends with the
weights it would have had, to the bit.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import LitetextError, Terminated
from ..outputs import OutputFolder
from ..progress import Progress, no_progress
from .checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from .history import write_history
from .processes import Processes

HISTORY = "losses.csv"


class TrainTask(Protocol):
    """What a `Trainer` trains. It knows model, data, losses and optimizer, and nothing of files, time or signals."""

    @property
    def steps(self) -> int:
        """Steps in all."""
        ...

    @property
    def samples_per_step(self) -> float:
        """Samples that a step learns from, in the mean: for the throughput."""
        ...

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        ...

    def train_step(self, step: int) -> Mapping[str, Tensor]:
        """Update the weights once.

        Args:
            step: which step, from 0; all randomness of the step follows from it and from the task's state.

        Returns:
            Detached losses (scalars) by name, unweighted, and their weighted sum as ``total``. Several processes
            return shares, which add up to the loss.
        """
        ...

    def evaluate(self) -> Mapping[str, float] | None:
        """Return figures on held-out data by name; None where there is none."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share for one to continue the other."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes from step to step."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        ...


@dataclass(frozen=True, slots=True)
class TrainReport:
    """Where a run is.

    Attributes:
        step, steps: done, and in all.
        seconds_per_step: training time over the steps so far, those before a resume included, evaluations not.
        learning_rate: of the last step.
        losses: means since the last report by name, unweighted; ``total`` is the weighted sum.
        samples_per_second: over the training time.
        metrics: of the last evaluation on held-out data; None before the first.
    """

    step: int
    steps: int
    seconds_per_step: float
    learning_rate: float
    losses: dict[str, float]
    samples_per_second: float
    metrics: dict[str, float] | None

    @property
    def seconds_left(self) -> float:
        """Training time until the end at the speed so far."""
        return self.seconds_per_step * (self.steps - self.step)


class Trainer:
    """Runs a task to its end.

    Attributes:
        step: steps done.
        seconds: training time, that before a resume included, evaluations not.
        history: one row a report: step, seconds, learning_rate, losses, samples_per_second, and ``held_out_*`` where it
            was measured since the row before.
        metrics: the last evaluation, if any.

    Args:
        task: what to train.
        processes: the processes that train together.
        folder: for ``checkpoint.pt``, ``losses.csv`` and TensorBoard events; None writes nothing.
        resume: go on from a checkpoint in ``folder``.
        report_every, evaluate_every, checkpoint_every: steps; None for 100 reports, 10 evaluations, 20 checkpoints.

    Raises:
        LitetextError: a checkpoint of another run or a damaged one; files in ``folder`` that no training wrote.
    """

    def __init__(
        self,
        task: TrainTask,
        processes: Processes,
        folder: Path | None = None,
        *,
        resume: bool = True,
        report_every: int | None = None,
        evaluate_every: int | None = None,
        checkpoint_every: int | None = None,
    ) -> None:
        self.task, self.processes, self.folder = task, processes, folder
        self._every = {
            "report": report_every or max(1, task.steps // 100),
            "evaluate": evaluate_every or max(1, task.steps // 10),
            "checkpoint": checkpoint_every or max(1, task.steps // 20),
        }
        self.step, self.seconds, self._clock = 0, 0.0, 0.0
        self.history: list[dict[str, float]] = []
        self.metrics: dict[str, float] | None = None
        self._metrics_are_new = False
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self.resumed = folder is not None and resume and (folder / CHECKPOINT).exists()
        if self.resumed:
            self._load()
        self._output = OutputFolder(folder, "training run") if folder is not None else None
        if self._output is not None:
            if self.resumed and self._output.is_unrecorded():  # of a version that kept no record
                self._output.adopt([CHECKPOINT, HISTORY])
            self._output.check([CHECKPOINT, HISTORY])

    def fit(self, on_report: Callable[[TrainReport], None] | None = None, progress: Progress = no_progress) -> None:
        """Train to the end.

        Args:
            on_report: called with every report, in the first process.
            progress: called after every step.

        Raises:
            LitetextError: a loss is not finite, or the disk is full.
            KeyboardInterrupt: on Ctrl-C, and its kind `Terminated` on SIGTERM, after a checkpoint was written; the
                message says how to go on.
        """
        with contextlib.ExitStack() as stack:
            log = self._open_log(stack)
            interrupted = stack.enter_context(_interruption()) if self.folder is not None else _Interruption()
            self._start_clock()
            while self.step < self.task.steps:
                self._take_step()
                last = self.step == self.task.steps
                stop = self.processes.agree(interrupted.is_set(), self.step)
                if last or self._due("evaluate"):
                    self._evaluate()
                if last or self._due("report"):
                    report = self._report()
                    if log is not None:
                        _log(log, report)
                    if on_report is not None and self.processes.first:
                        on_report(report)
                if self.folder is not None and (last or stop or self._due("checkpoint")):
                    self._save()
                progress(self.step, self.task.steps)
                if stop and not last:
                    raise interrupted.kind(
                        f"step {self.step:,} of {self.task.steps:,} is saved in {self.folder}; give the same command "
                        "again to go on"
                    )
        self._pause_clock()

    @property
    def samples_per_second(self) -> float:
        """Samples over the training time so far."""
        return self.step * self.task.samples_per_step / max(self.seconds, 1e-9)

    def _take_step(self) -> None:
        losses = self.task.train_step(self.step)
        self.step += 1
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1
        if self.processes.device.type == "cpu":  # elsewhere reading a number every step would make the device wait
            self._check_finite()

    def _check_finite(self) -> None:
        for name, total in self._sums.items():
            if not math.isfinite(float(total)):
                kept = ": the last checkpoint is kept" if self.folder is not None else ""
                raise LitetextError(
                    f"the {name} loss is not finite at step {self.step} of {self.task.steps} (learning rate "
                    f"{self.task.learning_rate_at(self.step - 1):.3g}); give a lower learning rate{kept}"
                )

    def _due(self, what: str) -> bool:
        return self.step % self._every[what] == 0

    def _evaluate(self) -> None:
        self._pause_clock()
        metrics = self.task.evaluate()
        if metrics is not None:
            self.metrics, self._metrics_are_new = dict(metrics), True
        self._start_clock()

    def _report(self) -> TrainReport:
        """Return where the run is, add it to the history, and begin new means."""
        sums = list(self._sums.values())
        self.processes.sum_(sums)
        self._check_finite()
        losses = {name: float(value) / self._counts[name] for name, value in self._sums.items()}
        self._sums, self._counts = {}, {}
        self._pause_clock()
        self._start_clock()
        rate = self.task.learning_rate_at(self.step - 1)
        pace = self.seconds / self.step
        report = TrainReport(self.step, self.task.steps, pace, rate, losses, self.samples_per_second, self.metrics)
        row = {"step": self.step, "seconds": self.seconds, "learning_rate": rate, **losses}
        row["samples_per_second"] = report.samples_per_second
        if self.metrics is not None and self._metrics_are_new:
            row |= {f"held_out_{name}": value for name, value in self.metrics.items()}
            self._metrics_are_new = False
        self.history.append(row)
        return report

    def _save(self) -> None:
        """Write the checkpoint and the curves, by the first process."""
        task = self.task.state_dict()  # all processes: they may have to agree on it
        self._check_finite()
        if not self.processes.first or self._output is None:
            return
        self._pause_clock()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "sums": self._sums,
            "counts": self._counts,
            "history": self.history,
            "metrics": self.metrics,
            "metrics_are_new": self._metrics_are_new,
            "rng": torch.get_rng_state(),
            "task": task,
        }
        # Curves first: after a kill in between, the next save writes them anew, and a run that is done saves no more.
        with self._output.staged() as staged:
            write_history(staged / HISTORY, self.history)
        with self._output.staged() as staged:
            save_checkpoint(staged / CHECKPOINT, self.task.identity(), state)
        self._start_clock()

    def _load(self) -> None:
        assert self.folder is not None
        state = load_checkpoint(self.folder / CHECKPOINT, self.task.identity(), self.processes.device)
        self.task.load_state_dict(state["task"])
        self.step, self.seconds = state["step"], state["seconds"]
        self._sums, self._counts = state["sums"], state["counts"]
        self.history, self.metrics = state["history"], state["metrics"]
        self._metrics_are_new = state["metrics_are_new"]
        torch.set_rng_state(state["rng"].cpu())

    def _open_log(self, stack: contextlib.ExitStack) -> Any:
        """TensorBoard's writer, which the stack closes; None where nothing is written."""
        if self.folder is None or not self.processes.first:
            return None
        from torch.utils.tensorboard import SummaryWriter

        self.folder.mkdir(parents=True, exist_ok=True)
        log = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step)
        stack.callback(log.close)
        return log

    def _start_clock(self) -> None:
        self._clock = time.perf_counter()

    def _pause_clock(self) -> None:
        """Add what has passed to the training time."""
        if self.processes.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock = now


class _Interruption(threading.Event):
    """Set when the training is to end, with the exception to end it by."""

    kind: type[KeyboardInterrupt] = KeyboardInterrupt


@contextlib.contextmanager
def _interruption() -> Iterator[_Interruption]:
    """Yield an event that Ctrl-C and SIGTERM set; a second one interrupts at once."""
    event = _Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield event  # only the main thread may listen to signals
        return

    def note(number: int, frame: Any) -> None:
        event.kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if event.is_set():
            raise event.kind
        event.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log(log: Any, report: TrainReport) -> None:
    """Hand a report's figures to TensorBoard."""
    for name, value in report.losses.items():
        log.add_scalar(f"loss/{name}", value, report.step)
    log.add_scalar("learning_rate", report.learning_rate, report.step)
    log.add_scalar("samples_per_second", report.samples_per_second, report.step)
    for name, value in (report.metrics or {}).items():
        log.add_scalar(f"held_out/{name}", value, report.step)
