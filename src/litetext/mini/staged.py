"""What the trainings of `mini`, its tracker and `photo` share: one optimizer and its update, and stages of scenes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .objective import COPIES
from .optimizer import MuonAndAdamW


class UpdateConfig(Protocol):
    """What the settings of all these trainings have."""

    @property
    def total_steps(self) -> int:
        """The steps of all stages."""
        ...

    @property
    def learning_rate(self) -> float:
        """The highest one."""
        ...

    @property
    def weight_decay(self) -> float:
        """Of matrices and kernels."""
        ...

    @property
    def max_grad_norm(self) -> float:
        """The norm that gradients are clipped to."""
        ...

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        ...


class UpdatedTask:
    """The part of a `litetext.training.trainer.TrainTask` that is about steps, the optimizer and its update.

    Attributes:
        config: its settings.
        model: what is trained.
    """

    config: UpdateConfig
    model: nn.Module

    def __init__(self, config: UpdateConfig, model: nn.Module) -> None:
        self.config, self.model = config, model
        self._optimizer = MuonAndAdamW(model, config.learning_rate, config.weight_decay)

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return self.config.total_steps

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.config.learning_rate_at(step)

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimizer."""
        return {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _update(self, step: int, losses: Mapping[str, Tensor], loss: Tensor) -> dict[str, Tensor]:
        """Update the weights once; return the losses, detached, and their weighted sum as ``total``."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate_at(step)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm, foreach=True)
        self._optimizer.step()
        return {name: value.detach() for name, value in (*losses.items(), ("total", loss))}


class StagedConfig(UpdateConfig, Protocol):
    """What the settings of a training on scenes have besides."""

    @property
    def steps(self) -> tuple[int, int, int]:
        """Steps of each stage."""
        ...

    @property
    def images(self) -> tuple[int, int, int]:
        """Scenes a step, by stage."""
        ...

    @property
    def many_steps(self) -> int:
        """Until then several queries learn to score each object; afterwards one."""
        ...


class StagedTask(UpdatedTask):
    """The same of a small SAM3, which learns from scenes in three stages."""

    config: StagedConfig

    @property
    def samples_per_step(self) -> float:
        """Scenes a step, in the mean over the stages."""
        stages = zip(self.config.steps, self.config.images, strict=True)
        return sum(steps * images for steps, images in stages) / self.steps

    def _copies(self, step: int) -> int:
        """How many queries learn to score each object."""
        return COPIES if step < self.config.many_steps else 1
