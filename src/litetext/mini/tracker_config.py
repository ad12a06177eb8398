"""How mini's memory tracker is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..training.schedule import trapezoid

POLICY: dict[str, float] = {
    "score_threshold_detection": 0.3,
    "new_det_thresh": 0.5,
    "recondition_every_nth_frame": 1,
    "high_conf_thresh": 0.0,
    "high_iou_thresh": 0.3,
}
"""Numbers of the policies with a memory, by transformers' names, for a tracker of mini: it is so small that every
detection corrects it. They were chosen on 14 clips of seed 777."""


@dataclass(frozen=True, slots=True)
class TrackerTrainConfig:
    """How a memory tracker is trained.

    Attributes:
        library: clips that are drawn and encoded once, before the first step (7 MB of memory each).
        steps: of the stages, each of longer excerpts.
        frames: of an excerpt, by stage.
        clips: excerpts a step.
        objects: followed in an excerpt, at most.
        detected: the share of excerpts whose objects start from the detector's masks; the others start from exact ones.
        corrected: the share of steps in which a frame in the midst of the excerpts is corrected by the exact masks.
        boxed: the share of steps in which every object is also segmented from its box.
        learning_rate: the highest one; linear warm-up, then constant, then a straight line to 0.
        weight_decay: of matrices and kernels.
        warmup_steps, cooldown_steps: steps in which the learning rate rises, and falls.
        max_grad_norm: the norm that gradients are clipped to.
        seed: of weights and clips.
        held_out: clips that the figures are measured on.
        report_every, checkpoint_every, evaluate_every: steps.
    """

    library: int = 192
    steps: tuple[int, ...] = (380, 200, 120)
    frames: tuple[int, ...] = (4, 6, 8)
    clips: int = 4
    objects: int = 4
    detected: float = 0.5
    corrected: float = 0.2
    boxed: float = 0.25
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warmup_steps: int = 50
    cooldown_steps: int = 170
    max_grad_norm: float = 2.0
    seed: int = 0
    held_out: int = 16
    report_every: int = 20
    checkpoint_every: int = 50
    evaluate_every: int = 150

    @property
    def total_steps(self) -> int:
        """The steps of all stages."""
        return sum(self.steps)

    def scaled_to(self, steps: int) -> TrackerTrainConfig:
        """Return the recipe with about so many steps, its stages in proportion."""
        return replace(self, steps=tuple(max(1, round(one * steps / self.total_steps)) for one in self.steps))

    def frames_at(self, step: int) -> int:
        """The frames of an excerpt in ``step``."""
        passed = 0
        for steps, frames in zip(self.steps, self.frames, strict=True):
            passed += steps
            if step < passed:
                return frames
        return self.frames[-1]

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of ``step``."""
        return trapezoid(self, step)
