"""Train mini's memory tracker over a mini whose detector stays as it is, and write a mini that has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ..data import resolve
from ..devices import torch_device
from ..files import write_json, write_text
from ..outputs import atomic_folder, digest_of
from ..progress import Progress, no_progress
from ..segment import Segmenter
from ..segment.sources import TRACKER
from ..training.processes import Processes
from ..training.trainer import Trainer, TrainReport
from .facts import facts_of
from .tracker_config import POLICY, TrackerTrainConfig
from .tracker_task import TrackerTask


def tracker_task(
    config: TrackerTrainConfig,
    model: Path | None = None,
    *,
    device: str | None = None,
    progress: Progress = no_progress,
) -> TrackerTask:
    """Return what is to be trained, its clips drawn and encoded.

    Args:
        config: how to train.
        model: folder of the mini whose frames the tracker reads; the shipped one by default.
        device: where to compute; CUDA if there is one.
        progress: counts clips.

    Raises:
        LitetextError: a folder without a mini.
    """
    folder = model or resolve("mini")
    facts = facts_of(folder)
    segmenter = Segmenter.from_pretrained(folder, device=torch_device(device), backend="torch")
    detector = digest_of(folder / "segmenter" / "model.safetensors")
    return TrackerTask(config, segmenter, facts["known_concepts"], facts["image_size"], detector, progress)


def train_tracker(
    task: TrackerTask, out: Path, *, resume: bool = True, on_report: Callable[[TrainReport], None] | None = None
) -> None:
    """Train, and leave ``checkpoint.pt``, ``losses.csv`` and TensorBoard events in ``out``.

    Args:
        task: from `tracker_task`.
        out: a folder.
        resume: go on from a checkpoint in ``out``.
        on_report: called with every report.

    Raises:
        LitetextError: a checkpoint of another run or a damaged one, or a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    config = task.config
    trainer = Trainer(
        task,
        Processes(task.device),
        out,
        resume=resume,
        report_every=config.report_every,
        evaluate_every=config.evaluate_every,
        checkpoint_every=config.checkpoint_every,
    )
    trainer.fit(on_report)


def write_mini_with_tracker(
    task: TrackerTask, folder: Path, facts: dict[str, Any], *, model: Path | None = None, overwrite: bool = False
) -> None:
    """Write a mini whose detector and text encoders are another's, with the trained tracker beside them.

    Args:
        task: that was trained.
        folder: to write.
        facts: of the training, for the tracker's card.
        model: folder of the mini that the tracker was trained on; the shipped one by default.
        overwrite: replace a mini that was written before.
    """
    with atomic_folder(folder, "mini model", overwrite=overwrite) as staged:
        left_out = shutil.ignore_patterns(".*", TRACKER, "__pycache__")
        shutil.copytree(model or resolve("mini"), staged, ignore=left_out, dirs_exist_ok=True)
        write_tracker(task.model, staged / TRACKER, facts)


def write_tracker(model: Any, folder: Path, facts: dict[str, Any]) -> None:
    """Write a tracker into a new folder: ``config.json``, ``model.safetensors`` (fp16) and a card.

    Args:
        model: the tracker.
        folder: to make.
        facts: ``parameters``, ``steps``, ``seed`` and ``figures`` by name, for the card.
    """
    folder.mkdir(parents=True)
    # transformers leaves the image's size out of what it saves, and would read 1008
    described = {**model.config.to_dict(), "image_size": model.config.image_size, "dtype": "float16"}
    write_json(folder / "config.json", {**described, "policy": POLICY, "architectures": [type(model).__name__]})
    tensors = {name: tensor.half().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    parameters = sum(one.numel() for one in model.parameters())
    write_text(folder / "README.md", tracker_card({**facts, "parameters": parameters}))


def tracker_card(facts: dict[str, Any]) -> str:
    """Return the card of a tracker in Markdown."""
    figures = "".join(f"| {name.replace('_', ' ')} | {value:.3f} |\n" for name, value in facts["figures"].items())
    return f"""---
license: apache-2.0
tags: [video-object-segmentation, sam3, litetext]
---

# mini's memory tracker

transformers' `Sam3TrackerVideoModel` without its vision encoder: {facts["parameters"] / 1e6:.2f} M parameters that read
the feature maps of mini's detector. It carries masks from frame to frame by memory attention over the last
frames and the frames in which a detection said where the object is.

It was trained on clips that `litetext.mini.motion` draws, over the frozen image encoder, by
`litetext mini train-tracker` ({facts["steps"]:,} steps, seed {facts["seed"]}). It knows mini's world of drawn
objects, not photographs.

Held-out clips of eight frames, objects followed from their exact mask in the first frame:

| figure | value |
|---|---|
{figures}"""
