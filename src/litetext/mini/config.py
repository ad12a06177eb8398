"""How mini is trained: one recipe after the other, by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from ..errors import choice_error
from .concepts import CONCEPTS
from .model import Shape


@dataclass(frozen=True, slots=True)
class MiniTrainConfig:
    """How a mini is trained.

    Attributes:
        shape: of the model.
        concepts: how many of the world's concepts (the first ones) it is to know.
        steps: of the stages dense, semantic and all.
        many_steps: until then several queries learn to score each object; afterwards one.
        text_steps: after so many steps the text encoder stays as it is (None: never): the rest learns on, a little
            faster, and students of the text can be distilled meanwhile.
        images, phrases: scenes a step and phrases a scene, by stage.
        crowds, negatives: their shares in training; the held-out scenes have the world's own.
        mask_rows: phrases a step, at most, whose masks are computed: the pixel decoder is the cost.
        learning_rate: the highest one; linear warm-up, a cosine to less than half of it, then a straight line to 0 in
            the last eighth.
        weight_decay: of matrices and kernels.
        warmup_steps: steps in which the learning rate rises.
        max_grad_norm: the norm that gradients are clipped to.
        seed: of weights and scenes.
        report_every, checkpoint_every, evaluate_every: steps.
        workers: processes that draw scenes.
    """

    shape: Shape = field(default_factory=lambda: Shape(image_size=96))
    concepts: int = 64
    steps: tuple[int, int, int] = (3000, 200, 5900)
    many_steps: int = 5600
    text_steps: int | None = 5400
    images: tuple[int, int, int] = (8, 8, 8)
    phrases: tuple[int, int, int] = (6, 6, 6)
    crowds: float = 0.2
    negatives: float = 0.4
    mask_rows: int = 12
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_steps: int = 150
    max_grad_norm: float = 2.0
    seed: int = 0
    report_every: int = 20
    checkpoint_every: int = 100
    evaluate_every: int = 500
    workers: int = 1

    @property
    def total_steps(self) -> int:
        """The steps of all stages."""
        return sum(self.steps)

    def stage(self, step: int) -> int:
        """The index of the stage that ``step`` belongs to."""
        return 0 if step < self.steps[0] else 1 if step < self.steps[0] + self.steps[1] else 2

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of ``step``."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        bend = 0.88 * self.total_steps
        share = 0.45 + 0.55 * 0.5 * (1 + math.cos(math.pi * min(1, step / bend)))
        return self.learning_rate * share * min(1, (self.total_steps - step) / (self.total_steps - bend))


PRESETS: dict[str, tuple[MiniTrainConfig, ...]] = {
    "cpu": (
        MiniTrainConfig(),
        # Outlines are what a larger picture improves, and the detector takes it as it is: pmF1 is 46 at once.
        MiniTrainConfig(
            shape=Shape(image_size=128), steps=(0, 0, 3800), many_steps=0, text_steps=0, learning_rate=6e-4
        ),
    ),
    "gpu": (
        MiniTrainConfig(
            shape=Shape(vision_width=256, vision_layers=7, detector_width=96, detector_ffn=384, text_width=256),
            concepts=200,
            steps=(15_000, 5_000, 60_000),
            many_steps=30_000,
            text_steps=None,
            images=(192, 64, 64),
            phrases=(8, 8, 8),
            learning_rate=1e-3,
            warmup_steps=1_000,
            checkpoint_every=1_000,
            evaluate_every=2_000,
            workers=14,
        ),
    ),
}
"""Each is one or more recipes: every one starts from the weights of the one before, perhaps on a larger picture."""


def recipes(name: str, seed: int = 0) -> tuple[MiniTrainConfig, ...]:
    """Return a preset by name, its first recipe seeded with ``seed``; an unknown name is an error that lists them."""
    if name not in PRESETS:
        raise choice_error("training preset", name, tuple(PRESETS))
    return tuple(replace(one, seed=seed + number) for number, one in enumerate(PRESETS[name]))


def known_concepts(count: int) -> list[str]:
    """The names of the first ``count`` concepts of the world."""
    return [concept.name for concept in CONCEPTS[:count]]
