"""The training loop: any student that maps token ids to features, any teacher whose features are at hand.

What is special here:

* A step is ``batch`` prompts, whoever computes them: they are dealt to all processes and gradient-accumulation parts,
  sorted by length so that what runs together is about equally long, and every loss is divided by the real tokens of
  the whole step. So two processes, or four parts, take the step that one would have taken.
* Batch i is the same in every run of the same seed, and a checkpoint holds all other state: a killed run continues
  where it was and, on a CPU, ends with the weights it would have had, to the bit.
* It is made for small students too: no data loader, one fused optimizer call, losses read once a report. With
  ``out=None`` it writes nothing and needs nothing but torch.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import math
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.modules import Rows, take_once
from ..errors import LitetextError, choice_error
from ..files import atomic_path, write_text
from .losses import Downstream, LossWeights, relational, token_losses
from .permute import movable, permuted_order
from .processes import Processes
from .ragged import Ragged, offsets_of, padded
from .targets import Targets

Precision = Literal["fp32", "bf16"]

_EVALUATION_TOKENS = 16_384  # run at once without gradients


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """What a student learns from, or is held to.

    Attributes:
        ids: int [T], token ids of N prompts, start and end tokens included.
        targets: the teacher's features of the same tokens, floating [T, D].
        chunks: what may move when a prompt is permuted (`litetext.distill.permute.chunks_of`); the consistency loss
            needs it.
    """

    ids: Ragged
    targets: Targets
    chunks: Ragged | None = None

    def __post_init__(self) -> None:
        if len(self.ids) == 0:
            raise LitetextError("there are no prompts to learn from; give at least one")
        if len(self.targets) != len(self.ids) or not np.array_equal(self.targets.lengths, self.ids.lengths):
            raise LitetextError("the teacher's features do not belong to these prompts: their token counts differ")
        if self.chunks is not None and not np.array_equal(self.chunks.offsets, self.ids.offsets):
            raise LitetextError("the chunks do not belong to these prompts: their token counts differ")

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: np.ndarray) -> Examples:
        """Return some of the examples, their targets in memory."""
        ids = self.ids.select(rows)
        chunks = self.chunks.select(rows) if self.chunks is not None else None
        return Examples(ids, Ragged(self.targets.take(rows), ids.offsets), chunks)

    def digest(self) -> str:
        """Return a hash of ids and chunks, by which a resumed run knows its prompts."""
        digest = hashlib.blake2b(self.ids.offsets.tobytes(), digest_size=16)
        digest.update(np.ascontiguousarray(self.ids.values).tobytes())
        if self.chunks is not None:
            digest.update(self.chunks.values.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a student is trained.

    Attributes:
        epochs: passes over the prompts; ``steps``, where given, counts instead.
        batch: prompts a step, over all processes and parts.
        accumulate: parts that each process computes its share of a step in, one after the other.
        rate: the highest learning rate (the paper: 5e-3 at 512 prompts a step, scaled with the batch).
        warmup: share of the steps in which the rate rises linearly; afterwards it falls to nothing by a cosine.
        weight_decay: of matrices and kernels; biases, norms, scales and embeddings are not decayed.
        clip: the longest gradient.
        ema: decay of a moving average of the weights, which is then what is evaluated and kept; 0 for none.
        losses: the weight of every loss.
        stop_gradient: the consistency loss teaches the permuted prompt alone; the prompt as it stands is its target.
        precision: ``bf16`` runs the student under autocast; losses and weights stay float32.
        pad_id: the id that batches are padded with.
        pad_to: tokens every prompt is padded to, for students that read their padding; None for the longest at hand.
        seed: of the order of prompts and of permutations.
        report_every, evaluate_every, checkpoint_every: steps; None for 100 reports, 10 evaluations, 20 checkpoints.
    """

    epochs: float = 100
    steps: int | None = None
    batch: int = 128
    accumulate: int = 1
    rate: float = 1.25e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    clip: float = 1.0
    ema: float = 0.0
    losses: LossWeights = field(default_factory=LossWeights)
    stop_gradient: bool = False
    precision: Precision = "fp32"
    pad_id: int = 0
    pad_to: int | None = None
    seed: int = 0
    report_every: int | None = None
    evaluate_every: int | None = None
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "rate", "clip"):
            if not getattr(self, name) > 0:
                raise LitetextError(f"{name} is {getattr(self, name)}; give more than 0")
        for name in ("steps", "report_every", "evaluate_every", "checkpoint_every"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise LitetextError(f"{name} is {given}; give 1 or more")
        for name in ("warmup", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise LitetextError(f"{name} is {getattr(self, name)}; give 0 or more and less than 1")
        if self.precision not in ("fp32", "bf16"):
            raise choice_error("precision", self.precision, ("fp32", "bf16"))

    def total_steps(self, prompts: int) -> int:
        """The number of steps that a run over so many prompts takes."""
        return self.steps or max(1, round(self.epochs * -(-prompts // self.batch)))

    def rate_at(self, step: int, total: int) -> float:
        """The learning rate of one step of ``total``."""
        rising = max(1, round(self.warmup * total))
        if step < rising:
            return self.rate * (step + 1) / rising
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How close a student is to its teacher on prompts it never saw, over their real tokens.

    Attributes:
        cosine_mean, cosine_p5: mean and 5th percentile of the tokens' cosines.
        mse: mean over tokens and channels.
        pooled_cosine: mean cosine of the prompts' mean features.
        prompts, tokens: how many.
    """

    cosine_mean: float
    cosine_p5: float
    mse: float
    pooled_cosine: float
    prompts: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Report:
    """Where a run is.

    Attributes:
        step, steps: done, and in all.
        rate: the learning rate.
        losses: means since the last report, unweighted, by name; ``total`` is the weighted sum.
        prompts_per_second: since the run was started or resumed.
        held_out: the last evaluation, if any.
    """

    step: int
    steps: int
    rate: float
    losses: dict[str, float]
    prompts_per_second: float
    held_out: HeldOut | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run.

    Attributes:
        student: the module trained, in eval mode, with the averaged weights where there is an average.
        history: one row a report: step, seconds, rate, losses, prompts_per_second, held-out figures where measured.
        held_out: the last evaluation; None without held-out prompts.
        steps: steps done.
        seconds: training time, that before a resume included, evaluations not.
        prompts_per_second: over that time.
    """

    student: nn.Module
    history: list[dict[str, float]]
    held_out: HeldOut | None
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
    on_report: Callable[[Report], None] | None = None,
) -> Outcome:
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

    Raises:
        LitetextError: a checkpoint of another run or a damaged one, features of another width, a diverged loss.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint was written to ``out``.
    """
    processes = Processes.start(device)
    run = _Run(student.to(processes.device), examples, held_out, config, downstream, processes)
    folder = Path(out) if out is not None else None
    if folder is not None and resume and (folder / CHECKPOINT).exists():
        run.load(folder / CHECKPOINT)
    with contextlib.ExitStack() as stack:
        log = None
        if folder is not None and processes.first:
            from torch.utils.tensorboard import SummaryWriter

            folder.mkdir(parents=True, exist_ok=True)
            log = SummaryWriter(str(folder / "tensorboard"), purge_step=run.step)
            stack.callback(log.close)
        interrupted = stack.enter_context(_interruption()) if folder is not None else threading.Event()
        run.start_clock()
        while run.step < run.steps:
            run.take_step()
            last = run.step == run.steps
            stop = processes.agree(interrupted.is_set(), run.step)
            if last or run.due(config.evaluate_every, 10):
                run.evaluate()
            if last or run.due(config.report_every, 100):
                report = run.report()
                if log is not None:
                    _log(log, report)
                if on_report is not None and processes.first:
                    on_report(report)
            if folder is not None and (last or stop or run.due(config.checkpoint_every, 20)):
                run.save(folder)
            if stop and not last:
                raise KeyboardInterrupt
    return run.outcome()


CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """A step before it is taken.

    Attributes:
        rows: int64 [B], its prompts, shortest first.
        moves: bool [B], which of them are permuted.
        order: int64, for every token of the permuted prompt its place in the prompt as it stands.
        tokens, moving_tokens: real tokens in all, and of the prompts permuted.
    """

    rows: np.ndarray
    moves: np.ndarray
    order: Ragged
    tokens: int
    moving_tokens: int


class _Run:
    """A run under way: everything that changes from step to step."""

    def __init__(
        self,
        student: nn.Module,
        examples: Examples,
        held_out: Examples | None,
        config: TrainConfig,
        downstream: Downstream | None,
        processes: Processes,
    ) -> None:
        weights = config.losses.active()
        if "downstream" in weights and downstream is None:
            raise LitetextError("the downstream loss has a weight but nothing to look through; give a downstream")
        if "consistency" in weights and examples.chunks is None:
            raise LitetextError("the consistency loss needs to know what may move; give the examples chunks")
        self.student, self.examples, self.held_out_examples = student, examples, held_out
        self.config, self.downstream, self.processes, self.weights = config, downstream, processes, weights
        self.steps = config.total_steps(len(examples))
        self.movable = np.zeros(len(examples), bool)
        if examples.chunks is not None and "consistency" in weights:
            self.movable = movable(examples.ids, examples.chunks)
        self.trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
        self.optimizer = _optimizer(student, config)
        self.average = [parameter.detach().clone() for parameter in self.trained] if config.ema else []
        self.step, self.seconds, self._clock = 0, 0.0, 0.0
        self.sums = {name: torch.zeros((), device=processes.device) for name in weights}
        self._layout = config.pad_id, config.pad_to
        self.since_report = 0
        self.history: list[dict[str, float]] = []
        self.held_out: HeldOut | None = None
        self._epoch, self._order = -1, np.zeros(0, np.int64)
        if processes.count > 1:  # all start from the first one's weights
            shares = [tensor.data for tensor in student.state_dict().values() if tensor.is_floating_point()]
            for tensor in shares:
                tensor.mul_(float(processes.first))
            processes.sum_(shares)

    def take_step(self) -> None:
        """One update of the weights."""
        plan = self._plan(self.step)
        self.student.train()
        rate = self.config.rate_at(self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        share = np.arange(len(plan.rows))[self.processes.rank :: self.processes.count]
        counts = float(len(share) > 0)  # without a share of its own a process computes another's, for nothing
        share = share if counts else np.zeros(1, np.int64)
        for part in np.array_split(share, min(self.config.accumulate, len(share))):
            losses = self._losses(plan, part)
            loss = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum() * counts
            loss.backward()
            for name, value in losses.items():
                self.sums[name] += value.detach() * counts
        self.processes.sum_([parameter.grad for parameter in self.trained if parameter.grad is not None])
        nn.utils.clip_grad_norm_(self.trained, self.config.clip, foreach=True)
        self.optimizer.step()
        self.step += 1
        self.since_report += 1
        if self.average:
            # a young average must not remember the first draw of the weights
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.trained], 1 - decay)

    def _plan(self, step: int) -> _Plan:
        """The prompts of a step and how they are permuted, the same in every process."""
        rows = self._rows_of(step)
        ids, chunks = self.examples.ids, self.examples.chunks
        rows = rows[np.argsort(ids.lengths[rows], kind="stable")]
        lengths = ids.lengths[rows]
        moves = self.movable[rows]
        order = np.arange(int(lengths.sum()))
        if chunks is not None and moves.any():
            moving = np.flatnonzero(np.repeat(moves, lengths))
            owner = np.repeat(np.arange(int(moves.sum())), lengths[moves])
            rng = np.random.default_rng([self.config.seed, 1, step])
            places = ids.places(rows[moves])
            order[moving] = moving[permuted_order(ids.values[places], chunks.values[places], owner, rng)]
        offsets = offsets_of(lengths)
        relative = order - np.repeat(offsets[:-1], lengths)
        return _Plan(rows, moves, Ragged(relative, offsets), int(lengths.sum()), int(lengths[moves].sum()))

    def _losses(self, plan: _Plan, part: np.ndarray) -> dict[str, Tensor]:
        """The losses of some prompts of a step, each as its share of the step's mean."""
        ids, rows = self.examples.ids, plan.rows[part]
        lengths = ids.lengths[rows]
        student, places = self._features(padded(ids, rows, *self._layout), lengths)
        teacher = torch.from_numpy(self.examples.targets.take(rows)).to(self.processes.device).float()
        if teacher.shape != student.shape:
            raise LitetextError(
                f"the student's features are {student.shape[1]} wide, the teacher's {teacher.shape[1]}; "
                f"give the student an output_dim of {teacher.shape[1]}"
            )
        by_token = token_losses(student, teacher)
        losses = {name: by_token[name].sum() / plan.tokens for name in by_token if name in self.weights}
        share = len(student) / plan.tokens
        if "relational" in self.weights or "downstream" in self.weights:
            laid_out = places.padded(student), places.padded(teacher)
            if "relational" in self.weights:
                losses["relational"] = relational(*laid_out, places.real.sum(1)) * share
            if "downstream" in self.weights:
                assert self.downstream is not None
                losses["downstream"] = self.downstream(*laid_out, ~places.real) * share
        if plan.moving_tokens and plan.moves[part].any():
            losses["consistency"] = self._consistency(plan, part, student) / plan.moving_tokens
        return losses

    def _consistency(self, plan: _Plan, part: np.ndarray, student: Tensor) -> Tensor:
        """The sum over tokens of the mean squared difference to the same token in the permuted prompt."""
        ids, moves = self.examples.ids, plan.moves[part]
        lengths = ids.lengths[plan.rows[part]]
        order = plan.order.take(part[moves])
        starts = offsets_of(lengths)[:-1][moves]
        lengths = lengths[moves]
        sources = np.repeat(ids.offsets[plan.rows[part[moves]]], lengths) + order
        batch = padded(Ragged(ids.values[sources], offsets_of(lengths)), np.arange(len(lengths)), *self._layout)
        with _kept_statistics(self.student):
            permuted, _ = self._features(batch, lengths)
        before = torch.from_numpy(np.repeat(starts, lengths) + order).to(student.device)
        as_it_stands = take_once(student, before)
        if self.config.stop_gradient:
            as_it_stands = as_it_stands.detach()
        return (permuted - as_it_stands).square().mean(1).sum()

    def _features(self, batch: np.ndarray, lengths: np.ndarray) -> tuple[Tensor, Rows]:
        """The student's features of the real tokens of padded ids [B, L]: float32 [t, D], and their places."""
        device = self.processes.device
        mask = torch.from_numpy(np.arange(batch.shape[1]) >= lengths[:, None]).to(device)
        places = Rows(mask)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            tokens, _ = self.student(torch.from_numpy(batch).to(device))
        return places.flat(tokens.float()), places

    def _rows_of(self, step: int) -> np.ndarray:
        """The prompts of a step: every epoch all of them once, in an order of its own."""
        each = -(-len(self.examples) // self.config.batch)
        epoch, batch = divmod(step, each)
        if epoch != self._epoch:
            rng = np.random.default_rng([self.config.seed, 0, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self.examples))
        return self._order[batch * self.config.batch : (batch + 1) * self.config.batch]

    def due(self, every: int | None, times: int) -> bool:
        """Whether something falls due now that happens every so many steps, or ``times`` in a run."""
        return self.step % (every or max(1, self.steps // times)) == 0

    def evaluate(self) -> None:
        """Measure the student on the held-out prompts."""
        if self.held_out_examples is None:
            return
        self.pause_clock()
        with self._averaged():
            self.held_out = measure(
                self.student, self.held_out_examples, pad_id=self.config.pad_id, pad_to=self.config.pad_to
            )
        self.start_clock()

    def report(self) -> Report:
        """Return where the run is, and begin new means."""
        sums = list(self.sums.values())
        self.processes.sum_(sums)
        losses = {name: float(value) / self.since_report for name, value in zip(self.sums, sums, strict=True)}
        losses["total"] = sum(self.weights[name] * value for name, value in losses.items())
        if not math.isfinite(losses["total"]):
            raise LitetextError(f"the loss is no longer finite at step {self.step}; give a lower rate")
        self.sums, self.since_report = {name: torch.zeros_like(total) for name, total in self.sums.items()}, 0
        self.pause_clock()
        self.start_clock()
        rate = self.config.rate_at(self.step - 1, self.steps)
        report = Report(self.step, self.steps, rate, losses, self._speed(), self.held_out)
        row = {"step": self.step, "seconds": self.seconds, "rate": rate, **losses}
        row["prompts_per_second"] = report.prompts_per_second
        if self.held_out is not None:
            row |= {f"held_out_{name}": value for name, value in asdict(self.held_out).items()}
        self.history.append(row)
        return report

    def outcome(self) -> Outcome:
        """End the run: the student keeps the averaged weights, if there are any."""
        for parameter, average in zip(self.trained, self.average, strict=False):
            parameter.data.copy_(average)
        self.optimizer.zero_grad(set_to_none=True)
        self.pause_clock()
        return Outcome(self.student.eval(), self.history, self.held_out, self.step, self.seconds, self._speed())

    def start_clock(self) -> None:
        """Count time from now on."""
        self._clock = time.perf_counter()

    def pause_clock(self) -> None:
        """Add what has passed to the training time."""
        if self.processes.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock = now

    def _speed(self) -> float:
        each = -(-len(self.examples) // self.config.batch)
        prompts = self.step / each * len(self.examples)
        return prompts / max(self.seconds, 1e-9)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The student with the averaged weights, for a while."""
        kept = [parameter.detach().clone() for parameter in self.trained] if self.average else []
        for parameter, average in zip(self.trained, self.average, strict=False):
            parameter.data.copy_(average)
        yield
        for parameter, weights in zip(self.trained, kept, strict=False):
            parameter.data.copy_(weights)

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the curves, atomically, by the first process."""
        self._agree_on_statistics()
        if not self.processes.first:
            return
        self.pause_clock()
        state = {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "seconds": self.seconds,
            "sums": self.sums,
            "since_report": self.since_report,
            "history": self.history,
            "held_out": asdict(self.held_out) if self.held_out is not None else None,
            "rng": torch.get_rng_state(),
            "run": self._identity(),
        }
        try:
            with atomic_path(folder / CHECKPOINT) as temporary:
                torch.save(state, temporary)
        except RuntimeError as error:  # torch's own writer reports a full disk so
            raise LitetextError(
                f"{folder / CHECKPOINT} could not be written ({str(error).splitlines()[0]}); free some space and "
                "start again: the last checkpoint is kept"
            ) from None
        write_history(folder / "losses.csv", self.history)
        self.start_clock()

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same run."""
        try:
            state = torch.load(path, map_location=self.processes.device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, OSError) as error:
            raise LitetextError(
                f"{path} is damaged ({str(error).splitlines()[0][:120]}); delete it to start anew, or give another out"
            ) from None
        if not isinstance(state, dict) or state.get("run") != self._identity():
            was = state.get("run", {}) if isinstance(state, dict) else {}
            changed = sorted(key for key, value in self._identity().items() if was.get(key) != value)
            raise LitetextError(
                f"{path} belongs to another run (its {', '.join(changed) or 'format'} differ); start anew without "
                "resuming, or give another out"
            )
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.step, self.seconds, self.since_report = state["step"], state["seconds"], state["since_report"]
        self.sums, self.history = state["sums"], state["history"]
        self.held_out = HeldOut(**state["held_out"]) if state["held_out"] is not None else None
        torch.set_rng_state(state["rng"].cpu())

    def _identity(self) -> dict[str, Any]:
        """What two runs must share for one to continue the other."""
        config = asdict(self.config)
        for free in ("report_every", "evaluate_every", "checkpoint_every", "accumulate"):
            config.pop(free)
        shapes = {name: list(tensor.shape) for name, tensor in self.student.state_dict().items()}
        return {**config, "prompts": self.examples.digest(), "student": shapes, "steps": self.steps}

    def _agree_on_statistics(self) -> None:
        """Average BatchNorm's running statistics, which every process gathers from its own prompts."""
        if self.processes.count > 1:
            buffers = [buffer for buffer in self.student.buffers() if buffer.is_floating_point()]
            self.processes.sum_(buffers)
            for buffer in buffers:
                buffer.div_(self.processes.count)


@torch.inference_mode()
def measure(student: nn.Module, examples: Examples, *, pad_id: int = 0, pad_to: int | None = None) -> HeldOut:
    """Compare the student (left in eval mode) with the teacher on ``examples``."""
    student.eval()
    device = next(student.parameters()).device
    ids = examples.ids
    order = np.argsort(ids.lengths, kind="stable")
    cosines, errors, pooled = [], 0.0, []
    for rows in np.split(order, np.flatnonzero(np.diff(np.cumsum(ids.lengths[order]) // _EVALUATION_TOKENS)) + 1):
        batch = padded(ids, rows, pad_id, pad_to)
        places = Rows(torch.from_numpy(np.arange(batch.shape[1]) >= ids.lengths[rows][:, None]).to(device))
        tokens = places.flat(student(torch.from_numpy(batch).to(device))[0].float())
        teacher = torch.from_numpy(examples.targets.take(rows)).to(device).float()
        losses = token_losses(tokens, teacher)
        cosines.append(1 - losses["cosine"])
        errors += float(losses["mse"].double().sum())
        pooled.append(F.cosine_similarity(places.padded(tokens).sum(1), places.padded(teacher).sum(1), dim=1))
    cosine = torch.cat(cosines).double()
    return HeldOut(
        float(cosine.mean()),
        float(np.quantile(cosine.cpu().numpy(), 0.05)),
        errors / len(cosine),
        float(torch.cat(pooled).double().mean()),
        len(ids),
        len(cosine),
    )


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write the rows of a run's history as CSV, atomically; a column a figure, empty where it was not measured."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    lines = io.StringIO()
    writer = csv.DictWriter(lines, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.7g}" for name, value in row.items()} for row in history)
    write_text(path, lines.getvalue())


def _optimizer(student: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim > 1 and "embedding" not in name
            (decayed if plain else others).append(parameter)
    groups = [
        {"params": part, "weight_decay": decay}
        for part, decay in ((decayed, config.weight_decay), (others, 0.0))
        if part
    ]
    return torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98), fused=True)


@contextlib.contextmanager
def _kept_statistics(student: nn.Module) -> Iterator[None]:
    """BatchNorms normalise by the batch as in training, but their running statistics stay as they are."""
    norms = [module for module in student.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, before in zip(norms, tracked, strict=True):
            norm.track_running_stats = before


@contextlib.contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # only the main thread may listen to signals
        return

    def note(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log(log: Any, report: Report) -> None:
    """Hand a report's figures to TensorBoard."""
    for name, value in report.losses.items():
        log.add_scalar(f"loss/{name}", value, report.step)
    log.add_scalar("rate", report.rate, report.step)
    log.add_scalar("prompts_per_second", report.prompts_per_second, report.step)
    if report.held_out is not None:
        log.add_scalar("held_out/cosine_mean", report.held_out.cosine_mean, report.step)
        log.add_scalar("held_out/cosine_p5", report.held_out.cosine_p5, report.step)
