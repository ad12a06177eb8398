"""The steps of mini's training: dense first, then with the detector, then everything.

Stage ``dense`` runs the vision encoder once an image and scores every place of the feature map against the texts of
all concepts and of the phrases asked, so one pass teaches vision and language what is what. Stage ``semantic`` adds
the detector's encoder, the presence token and the semantic map; stage ``all`` adds boxes, classes and masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ..errors import LitetextError
from ..tokenizer import Tokenizer
from ..training.checkpoint import CHECKPOINT, read_checkpoint_state
from .batches import Batch, Batches, vocabulary_texts
from .config import MiniTrainConfig, known_concepts
from .model import Mini, on_grid
from .objective import losses_of, total_loss
from .quick import evaluate_quickly
from .staged import StagedTask

TRAIN_SEED = 1_000
_REPORTING_ONLY = ("report_every", "checkpoint_every", "evaluate_every", "workers")


class MiniTask(StagedTask):
    """A `litetext.training.trainer.TrainTask`: the model, its optimizer, and the scenes it learns from.

    Attributes:
        config: how it is trained.
        model: freshly drawn until something is loaded.
        tokenizer: of its text encoder.

    Args:
        config: how to train.
        device: where to compute; bf16 autocast on CUDA, fp32 on the CPU.
    """

    config: MiniTrainConfig
    model: Mini

    def __init__(self, config: MiniTrainConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.device = device
        self.tokenizer = Tokenizer().prune_vocabulary(vocabulary_texts())
        super().__init__(config, Mini(config.shape, self.tokenizer.vocab_size).to(device))
        self._batches: Iterator[Batch] | None = None

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the weights once and return the losses of the step's stage."""
        if self._batches is None:
            self._batches = self._batches_from(step)
        batch = next(self._batches).to(self.device)
        self.model.train()
        self.model.text.requires_grad_(self.config.text_steps is None or step < self.config.text_steps)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            losses = losses_of(self.model, batch, self.config.stage(step), self.config.mask_rows, self._copies(step))
            loss = total_loss(losses)
        return self._update(step, losses, loss)

    def evaluate(self) -> dict[str, float]:
        """Return the figures on held-out scenes."""
        return evaluate_quickly(self.model, self.tokenizer, known_concepts(self.config.concepts))

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share for one to continue the other."""
        return {name: value for name, value in asdict(self.config).items() if name not in _REPORTING_ONLY}

    def start_from(self, folder: Path) -> None:
        """Take the weights of another run, whose input may be of another size; all else starts anew.

        Raises:
            LitetextError: no run has been there, or its model has other shapes.
        """
        path = folder / CHECKPOINT
        weights = read_checkpoint_state(path)["task"]["model"]
        detector = {name[9:]: tensor for name, tensor in weights.items() if name.startswith("detector.")}
        fitted = {f"detector.{name}": tensor for name, tensor in on_grid(detector, self.config.shape).items()}
        try:
            self.model.load_state_dict({**weights, **fitted})
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise LitetextError(f"{path} does not fit the recipe that follows ({reason})") from None

    def _batches_from(self, start: int) -> Iterator[Batch]:
        """All batches from step ``start`` on, stage after stage."""
        config, boundary = self.config, 0
        for stage, steps in enumerate(config.steps):
            first, boundary = max(start, boundary), boundary + steps
            if first >= boundary:
                continue
            drawn = Batches(
                self.tokenizer,
                TRAIN_SEED + 10 * config.seed + 2 * stage,
                known_concepts(config.concepts),
                config.shape.image_size,
                config.images[stage],
                config.phrases[stage],
                config.crowds,
                config.negatives,
                hold_out=True,
            )
            yield from DataLoader(
                drawn,
                batch_size=None,
                sampler=_Steps(first, boundary),
                num_workers=config.workers,
                prefetch_factor=4 if config.workers else None,
                multiprocessing_context="fork" if config.workers else None,
                worker_init_fn=_one_thread,
            )


class _Steps(Sampler[int]):
    """The steps from ``start`` to ``stop``."""

    def __init__(self, start: int, stop: int) -> None:
        self.steps = range(start, stop)

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def _one_thread(worker: int) -> None:
    """Leave the cores to the model: a process that draws scenes takes one thread."""
    torch.set_num_threads(1)
