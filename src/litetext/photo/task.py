"""The steps of photo's training, for `litetext.training.trainer.Trainer`.

Stage 0 teaches the maps and the text alone, one pass an image; stage 1 adds the detector's presence and semantic map;
stage 2 adds instances. The rate is level after its rise and falls to nothing over the last steps, so a run can be
continued: more steps, or a fall that starts now.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..mini.objective import COPIES, total_loss
from ..mini.optimizer import MuonAndAdamW
from .batches import PhotoBatches
from .evaluation import evaluate
from .model import PhotoModel, PhotoShape
from .objective import WEIGHTS, Knowledge, losses_of

_MAY_CHANGE = (
    "steps",
    "cooldown_steps",
    "learning_rate",
    "many_steps",
    "text_steps",
    "report_every",
    "checkpoint_every",
    "evaluate_every",
    "mask_rows",
)


@dataclass(frozen=True, slots=True)
class PhotoTrainConfig:
    """How `photo` is trained.

    Attributes:
        shape: of the model.
        steps: of the three stages.
        images, phrases: scenes a step and phrases a scene, by stage.
        mask_rows: phrases a step, at most, whose masks are computed.
        text_steps: after so many steps the text teacher stays as it is, so that a student can be distilled meanwhile.
        many_steps: until then several queries learn to score each object; afterwards one.
        learning_rate: after its rise; it falls to nothing over the last ``cooldown_steps``.
        weight_decay, warmup_steps, max_grad_norm: as in mini's training.
        scenes: in the pool. paste: share of them with pasted cut-outs.
        seed: of weights, scenes and phrases.
        report_every, checkpoint_every, evaluate_every: steps.
    """

    shape: PhotoShape = field(default_factory=PhotoShape)
    steps: tuple[int, int, int] = (900, 300, 3300)
    images: tuple[int, int, int] = (12, 8, 8)
    phrases: tuple[int, int, int] = (4, 6, 6)
    mask_rows: int = 14
    text_steps: int = 2600
    many_steps: int = 3500
    learning_rate: float = 1e-3
    cooldown_steps: int = 900
    weight_decay: float = 0.02
    warmup_steps: int = 100
    max_grad_norm: float = 2.0
    scenes: int = 4608
    paste: float = 0.5
    seed: int = 0
    report_every: int = 25
    checkpoint_every: int = 100
    evaluate_every: int = 300

    @property
    def total_steps(self) -> int:
        """The steps of all stages."""
        return sum(self.steps)

    def stage(self, step: int) -> int:
        """The index of the stage that ``step`` belongs to."""
        return 0 if step < self.steps[0] else 1 if step < self.steps[0] + self.steps[1] else 2

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of ``step``."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        return self.learning_rate * rise * min(1.0, (self.total_steps - step) / max(self.cooldown_steps, 1))


class PhotoTask:
    """A `litetext.training.trainer.TrainTask`.

    Args:
        config: how to train.
        model: to train; its backbone stays as it is.
        batches: for each stage, and at last the held-out photographs.
        knowledge: what ImageNet's classifier knows.
    """

    def __init__(
        self,
        config: PhotoTrainConfig,
        model: PhotoModel,
        batches: tuple[PhotoBatches, PhotoBatches, PhotoBatches],
        held_out: PhotoBatches,
        knowledge: Knowledge,
    ) -> None:
        self.config, self.model, self.knowledge = config, model, knowledge
        self._batches, self._held_out = batches, held_out
        model.detector.vision_encoder.backbone.requires_grad_(False)
        model.detector.geometry_encoder.requires_grad_(False)
        self._optimizer = MuonAndAdamW(model, config.learning_rate, config.weight_decay)

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return self.config.total_steps

    @property
    def samples_per_step(self) -> float:
        """Scenes a step, in the mean over the stages."""
        stages = zip(self.config.steps, self.config.images, strict=True)
        return sum(steps * images for steps, images in stages) / self.steps

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.config.learning_rate_at(step)

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the weights once and return the losses of the step's stage."""
        stage = self.config.stage(step)
        batch = self._batches[stage].batch(step)
        self.model.train()
        self.model.teacher.requires_grad_(step < self.config.text_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate_at(step)
        copies = COPIES if step < self.config.many_steps else 1
        losses = losses_of(self.model, batch, self.knowledge, stage, self.config.mask_rows, copies)
        loss = total_loss(losses, WEIGHTS)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm, foreach=True)
        self._optimizer.step()
        return {name: value.detach() for name, value in (*losses.items(), ("total", loss))}

    def evaluate(self) -> dict[str, float]:
        """Return the figures on held-out photographs."""
        return evaluate(self.model, self._held_out)

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share for one to continue the other."""
        return {name: value for name, value in asdict(self.config).items() if name not in _MAY_CHANGE}

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimizer."""
        return {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
