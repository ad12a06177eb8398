"""How a student is trained: the weight of every loss, and the recipe. Free of torch: the command line reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from ..errors import LitetextError, choice_error

TrainPrecision = Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class LossWeights:
    """The weight of every loss; 0 switches it off. By default the paper's.

    Attributes:
        mse, cosine, consistency, relational, downstream: see `litetext.distill.losses`.
    """

    mse: float = 1.0
    cosine: float = 2.0
    consistency: float = 0.1
    relational: float = 0.0
    downstream: float = 0.0

    def __post_init__(self) -> None:
        for name in _names(self):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise LitetextError(f"the weight of the {name} loss is {value}; give a number of 0 or more")
        if not (self.mse or self.cosine or self.downstream):
            raise LitetextError("no loss looks at the teacher; give mse, cosine or downstream a weight above 0")

    def active(self) -> dict[str, float]:
        """The losses that are on, by name."""
        return {name: getattr(self, name) for name in _names(self) if getattr(self, name)}


def _names(weights: LossWeights) -> list[str]:
    return [one.name for one in fields(weights)]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a student is trained.

    Attributes:
        epochs: passes over the prompts; ``steps``, where given, counts instead.
        batch_size: prompts a step, over all processes and parts.
        gradient_accumulation_steps: parts that each process computes its share of a step in, one after the other.
        learning_rate: the highest one (the paper: 5e-3 at 512 prompts a step, scaled with the batch).
        warmup_ratio: share of the steps in which the learning rate rises linearly; then it falls to 0 by a cosine.
        weight_decay: of matrices and kernels; biases, norms, scales and embeddings are not decayed.
        max_grad_norm: the norm that gradients are clipped to.
        ema_decay: decay of a moving average of the weights, which is then what is evaluated and kept; 0 for none.
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
    batch_size: int = 128
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1.25e-3
    warmup_ratio: float = 0.1
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0
    losses: LossWeights = field(default_factory=LossWeights)
    stop_gradient: bool = False
    precision: TrainPrecision = "fp32"
    pad_id: int = 0
    pad_to: int | None = None
    seed: int = 0
    report_every: int | None = None
    evaluate_every: int | None = None
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation_steps", "learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise LitetextError(f"{name} is {getattr(self, name)}; give more than 0")
        for name in ("steps", "report_every", "evaluate_every", "checkpoint_every"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise LitetextError(f"{name} is {given}; give 1 or more")
        for name in ("warmup_ratio", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise LitetextError(f"{name} is {getattr(self, name)}; give 0 or more and less than 1")
        if self.precision not in ("fp32", "bf16"):
            raise choice_error("precision", self.precision, ("fp32", "bf16"))

    def total_steps(self, prompts: int) -> int:
        """The number of steps that a run over so many prompts takes."""
        return self.steps or max(1, round(self.epochs * -(-prompts // self.batch_size)))

    def learning_rate_at(self, step: int, total: int) -> float:
        """The learning rate of one step of ``total``."""
        rising = max(1, round(self.warmup_ratio * total))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
