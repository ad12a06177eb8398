"""How the learning rate of a training goes with its steps."""

from __future__ import annotations

from typing import Protocol


class TrapezoidConfig(Protocol):
    """The settings of a training whose learning rate rises, stays and falls to nothing."""

    @property
    def total_steps(self) -> int:
        """The steps of all stages."""
        ...

    @property
    def learning_rate(self) -> float:
        """The highest one."""
        ...

    @property
    def warmup_steps(self) -> int:
        """The first steps, in which it rises."""
        ...

    @property
    def cooldown_steps(self) -> int:
        """The last steps, in which it falls."""
        ...


def trapezoid(config: TrapezoidConfig, step: int) -> float:
    """Return the learning rate of a step: risen in a straight line, constant, fallen in a straight line to 0."""
    rise = min(1.0, (step + 1) / config.warmup_steps)
    return config.learning_rate * rise * min(1.0, (config.total_steps - step) / max(config.cooldown_steps, 1))
