"""The steps of photo's training, for `litetext.training.trainer.Trainer`.

Stage 0 teaches the maps and the text alone, one pass an image; stage 1 adds the detector's presence and semantic map;
stage 2 adds instances. The rate is level after its rise and falls to nothing over the last steps, so a run can be
continued: more steps, or a fall that starts now.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from ..mini.objective import total_loss
from ..mini.staged import StagedTask
from ..training.schedule import trapezoid
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
        return trapezoid(self, step)


class PhotoTask(StagedTask):
    """A `litetext.training.trainer.TrainTask`.

    Args:
        config: how to train.
        model: to train; its backbone stays as it is.
        batches: for each stage, and at last the held-out photographs.
        knowledge: what ImageNet's classifier knows.
    """

    config: PhotoTrainConfig
    model: PhotoModel

    def __init__(
        self,
        config: PhotoTrainConfig,
        model: PhotoModel,
        batches: tuple[PhotoBatches, PhotoBatches, PhotoBatches],
        held_out: PhotoBatches,
        knowledge: Knowledge,
    ) -> None:
        self.knowledge = knowledge
        self._batches, self._held_out = batches, held_out
        model.detector.vision_encoder.backbone.requires_grad_(False)
        model.detector.geometry_encoder.requires_grad_(False)
        super().__init__(config, model)

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the weights once and return the losses of the step's stage."""
        stage = self.config.stage(step)
        batch = self._batches[stage].batch(step)
        self.model.train()
        self.model.teacher.requires_grad_(step < self.config.text_steps)
        losses = losses_of(self.model, batch, self.knowledge, stage, self.config.mask_rows, self._copies(step))
        return self._update(step, losses, total_loss(losses, WEIGHTS))

    def evaluate(self) -> dict[str, float]:
        """Return the figures on held-out photographs."""
        return evaluate(self.model, self._held_out)

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share for one to continue the other."""
        return {name: value for name, value in asdict(self.config).items() if name not in _MAY_CHANGE}
