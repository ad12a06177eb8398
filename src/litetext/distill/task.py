"""The steps of distillation: any student that maps token ids to features, any teacher whose features are at hand.

A step is ``batch_size`` prompts, whoever computes them: they are dealt to all processes and accumulation parts, sorted
by length so that what runs together is about equally long, and every loss is divided by the real tokens of the whole
step. So two processes, or four parts, take the step that one would have taken. Batch i is the same in every run of the
same seed. It is made for small students too: no data loader, and one fused optimizer call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..encoders.modules import Rows, take_once
from ..errors import LitetextError
from ..ragged import Ragged, offsets_of, padded
from ..training.processes import Processes
from .config import TrainConfig
from .examples import Examples
from .losses import Downstream, relational, token_losses
from .metrics import measure
from .permute import movable, permuted_order


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


class DistillTask:
    """A `litetext.training.trainer.TrainTask`: the student, its optimizer, and what it learns from.

    Attributes:
        student: the module trained.
        steps: steps in all.

    Args:
        student: see `litetext.distill.train`, as are the others.
        processes: the processes that train together; all start from the first one's weights.
        initial_student: see `litetext.distill.train`.

    Raises:
        LitetextError: a loss has a weight but lacks what it needs.
    """

    def __init__(
        self,
        student: nn.Module,
        examples: Examples,
        held_out: Examples | None,
        config: TrainConfig,
        downstream: Downstream | None,
        processes: Processes,
        initial_student: str = "",
    ) -> None:
        weights = config.losses.active()
        if "downstream" in weights and downstream is None:
            raise LitetextError("the downstream loss has a weight but nothing to look through; give a downstream")
        if "consistency" in weights and examples.chunks is None:
            raise LitetextError("the consistency loss needs to know what may move; give the examples chunks")
        self.student, self.examples, self.held_out = student, examples, held_out
        self.config, self.downstream, self.processes, self.weights = config, downstream, processes, weights
        self.initial_student = initial_student
        self.steps = config.total_steps(len(examples))
        self.movable = np.zeros(len(examples), bool)
        if examples.chunks is not None and "consistency" in weights:
            self.movable = movable(examples.ids, examples.chunks)
        self.trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
        self.optimizer = _optimizer(student, config)
        self.average = [parameter.detach().clone() for parameter in self.trained] if config.ema_decay else []
        self._layout = config.pad_id, config.pad_to
        self._epoch, self._order = -1, np.zeros(0, np.int64)
        if processes.count > 1:
            shares = [tensor.data for tensor in student.state_dict().values() if tensor.is_floating_point()]
            for tensor in shares:
                tensor.mul_(float(processes.first))
            processes.sum_(shares)

    @property
    def samples_per_step(self) -> float:
        """Prompts a step, in the mean: the last step of an epoch may have fewer."""
        return len(self.examples) / -(-len(self.examples) // self.config.batch_size)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.config.learning_rate_at(step, self.steps)

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the weights once and return this process's shares of the losses."""
        plan = self._plan(step)
        self.student.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate_at(step)
        self.optimizer.zero_grad(set_to_none=True)
        share = np.arange(len(plan.rows))[self.processes.rank :: self.processes.count]
        counts = float(len(share) > 0)  # without a share of its own a process computes another's, for nothing
        share = share if counts else np.zeros(1, np.int64)
        sums = {name: torch.zeros((), device=self.processes.device) for name in (*self.weights, "total")}
        for part in np.array_split(share, min(self.config.gradient_accumulation_steps, len(share))):
            losses = self._losses(plan, part)
            loss = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum() * counts
            loss.backward()
            for name, value in losses.items():
                sums[name] += value.detach() * counts
            sums["total"] += loss.detach()
        self.processes.sum_([parameter.grad for parameter in self.trained if parameter.grad is not None])
        nn.utils.clip_grad_norm_(self.trained, self.config.max_grad_norm, foreach=True)
        self.optimizer.step()
        if self.average:
            # a young average must not remember the first draw of the weights
            decay = min(self.config.ema_decay, (2 + step) / (11 + step))
            torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.trained], 1 - decay)
        return sums

    def evaluate(self) -> dict[str, float] | None:
        """Measure the student, with the averaged weights where there is an average, on the held-out prompts."""
        if self.held_out is None:
            return None
        with self._averaged():
            return asdict(measure(self.student, self.held_out, pad_id=self.config.pad_id, pad_to=self.config.pad_to))

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share for one to continue the other."""
        config = asdict(self.config)
        for free in ("report_every", "evaluate_every", "checkpoint_every", "gradient_accumulation_steps"):
            config.pop(free)
        shapes = {name: list(tensor.shape) for name, tensor in self.student.state_dict().items()}
        through = getattr(self.downstream, "digest", "") if "downstream" in self.weights else ""
        return {
            **config,
            "prompts": self.examples.digest(),
            "teacher": self.examples.teacher,
            "through": through,
            "student": shapes,
            "initial_student": self.initial_student,
            "steps": self.steps,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimizer and average; all processes must call it, since they agree on the statistics."""
        self._agree_on_statistics()
        return {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]

    def finish(self) -> nn.Module:
        """End the training: return the student in eval mode, with the averaged weights if there are any."""
        for parameter, average in zip(self.trained, self.average, strict=False):
            parameter.data.copy_(average)
        self.optimizer.zero_grad(set_to_none=True)
        return self.student.eval()

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The student with the averaged weights, for a while."""
        kept = [parameter.detach().clone() for parameter in self.trained] if self.average else []
        for parameter, average in zip(self.trained, self.average, strict=False):
            parameter.data.copy_(average)
        try:
            yield
        finally:
            for parameter, weights in zip(self.trained, kept, strict=False):
                parameter.data.copy_(weights)

    def _agree_on_statistics(self) -> None:
        """Average BatchNorm's running statistics, which every process gathers from its own prompts."""
        if self.processes.count > 1:
            buffers = [buffer for buffer in self.student.buffers() if buffer.is_floating_point()]
            self.processes.sum_(buffers)
            for buffer in buffers:
                buffer.div_(self.processes.count)

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
        each = -(-len(self.examples) // self.config.batch_size)
        epoch, batch = divmod(step, each)
        if epoch != self._epoch:
            rng = np.random.default_rng([self.config.seed, 0, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self.examples))
        return self._order[batch * self.config.batch_size : (batch + 1) * self.config.batch_size]


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
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


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
