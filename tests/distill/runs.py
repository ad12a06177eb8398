"""Runs that tests start as processes of their own: ``python -m tests.distill.runs KIND OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from litetext.distill import LossWeights, TrainConfig, train

from .conftest import examples, student, weights

LONG = TrainConfig(steps=60, batch_size=10, learning_rate=5e-3, checkpoint_every=5, report_every=10, ema_decay=0.9)
SHARED = TrainConfig(steps=12, batch_size=7, gradient_accumulation_steps=2, losses=LossWeights(consistency=0.5), seed=3)


def main(kind: str, out: Path) -> None:
    torch.set_num_threads(1)
    if kind == "long":
        train(student(repmixer=True), examples(), LONG, held_out=examples(["cup"]), out=out)
    else:
        for _ in range(2):  # the second finds the first one's checkpoint
            outcome = train(student(), examples(), SHARED, out=out / "run")
        torch.save(weights(outcome.student), out / f"{kind}.pt")


if __name__ == "__main__":
    import os

    kind, out = sys.argv[1], Path(sys.argv[2])
    main(f"{kind}-{os.environ['RANK']}" if kind == "shared" else kind, out)
