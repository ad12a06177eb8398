"""The steps of the tracker's training: it follows objects through short excerpts, and learns from every frame.

The losses are SAM 2's and SAM 3's: focal and dice on masks, the squared error of the predicted IoU, and cross-entropy
on whether an object is in the frame; where it is not, the last alone counts. (Ravi et al., SAM 2, 2024.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..progress import Progress, no_progress
from ..segment import Segmenter
from ..track.memory_tracker import MemoryTracker, Propagated, TrackerFeatures
from .excerpts import EncodedClip, Excerpt, excerpt, library, mask_ious
from .losses import dice, focal
from .motion import MotionWorld
from .objective import total_loss
from .staged import UpdatedTask
from .tracker import Cues, MapStatistics, follow, new_tracker, tracker_config
from .tracker_config import TrackerTrainConfig
from .world import World, box_of, generator

TRAIN_SEED = 50_000
HELD_OUT_SEED = 40_000
WEIGHTS = {"focal": 20.0, "dice": 2.0, "iou": 1.0, "presence": 1.0, "box": 0.5}
_REPORTING_ONLY = ("held_out", "report_every", "checkpoint_every", "evaluate_every")
_HELD_OUT_FRAMES = 8


class TrackerTask(UpdatedTask):
    """A `litetext.training.trainer.TrainTask`: the tracker, its optimizer, and the clips it learns from.

    Attributes:
        config: how it is trained.
        device: where it computes.
        model: what is trained.
        tracker: the same, as it runs.

    Args:
        config: how to train.
        segmenter: of a mini, in torch: the frozen image encoder, and the detector whose masks some objects start from.
        concepts: names of the concepts that it knows.
        image_size: side of its input in pixels.
        detector: a digest of its weights; a checkpoint belongs to one detector.
        progress: counts the clips of the library that are drawn and encoded.
    """

    config: TrackerTrainConfig
    model: Any

    def __init__(
        self,
        config: TrackerTrainConfig,
        segmenter: Segmenter,
        concepts: Sequence[str],
        image_size: int,
        detector: str = "",
        progress: Progress = no_progress,
    ) -> None:
        torch.manual_seed(config.seed)
        backend: Any = segmenter.backend
        self.device = backend.device
        self._detector = detector
        motion = MotionWorld(World(concepts, size=image_size, hold_out=True))
        self._library = library(motion, segmenter, TRAIN_SEED + config.seed, config.library, progress)
        self._held_out = library(motion, segmenter, HELD_OUT_SEED, config.held_out)
        statistics = MapStatistics.of(_first_maps(self._library))
        super().__init__(config, new_tracker(tracker_config(backend.detector.config), statistics).to(backend.device))
        self.tracker = MemoryTracker(self.model, None, object_batch=config.clips * config.objects)
        self._positions = _top_positions(segmenter, image_size)

    @property
    def samples_per_step(self) -> float:
        """Excerpts a step."""
        return self.config.clips

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the weights once and return the losses."""
        rng = generator(TRAIN_SEED + self.config.seed, self.config.library + step)
        excerpts = self._excerpts(rng, self.config.frames_at(step))
        frames, targets = self._frames(excerpts), np.concatenate([one.targets for one in excerpts])
        losses = self._losses(frames, targets, _cues(excerpts, rng, self.config.corrected))
        if rng.random() < self.config.boxed:
            losses["box"] = self._box_loss(frames[0], targets[:, 0])
        return self._update(step, losses, total_loss(losses, WEIGHTS))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return the figures on held-out clips: mean IoU with the first masks exact, and of the first mask kept."""
        ious, stayed, right, absent = [], [], [], []
        for number, clip in enumerate(self._held_out):
            rng = generator(HELD_OUT_SEED, len(self._held_out) + number)
            one = excerpt(clip, rng, _HELD_OUT_FRAMES, objects=self.config.objects, detected=0)
            if one is None:
                continue
            for frame, _, found in follow(self.tracker, self._frames([one]), _cues([one], rng, 0)):
                targets = one.targets[:, frame]
                there = targets.any((1, 2))
                masks = (self.tracker.enlarged(found.logits) > 0).cpu().numpy()
                ious.append(mask_ious(masks, targets)[there])
                stayed.append(mask_ious(one.starts, targets)[there])
                present = (found.presence_logits > 0).cpu().numpy()
                right.append(present[there])
                absent.append(~present[~there])
        names = ("iou", "iou_of_first_mask", "present_found", "absent_found")
        rows = (ious, stayed, right, absent)
        return {name: float(np.concatenate(row).mean()) for name, row in zip(names, rows, strict=True)}

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share for one to continue the other."""
        settings = {name: value for name, value in asdict(self.config).items() if name not in _REPORTING_ONLY}
        return {**settings, "detector": self._detector}

    def _excerpts(self, rng: np.random.Generator, frames: int) -> list[Excerpt]:
        """Excerpts of different clips, as many as a step takes."""
        config, found = self.config, []
        for number in rng.permutation(len(self._library)).tolist():
            one = excerpt(self._library[number], rng, frames, objects=config.objects, detected=config.detected)
            if one is not None:
                found.append(one)
            if len(found) == config.clips:
                break
        return found

    def _frames(self, excerpts: Sequence[Excerpt]) -> list[TrackerFeatures]:
        """The frames of several excerpts as a batch, each repeated for its objects."""
        decoder, rows = self.model.mask_decoder, _rows_of(excerpts)
        frames = []
        for frame in range(excerpts[0].targets.shape[1]):
            levels = [torch.stack([one.maps[level][frame] for one in excerpts]).float() for level in range(3)]
            fine, coarse, top = (level.to(self._positions.device) for level in levels)
            maps = decoder.conv_s0(fine)[rows], decoder.conv_s1(coarse)[rows]
            frames.append(TrackerFeatures(maps, top[rows].flatten(2).permute(2, 0, 1), self._positions))
        return frames

    def _losses(self, frames: Sequence[TrackerFeatures], targets: NDArray[np.bool_], cues: Cues) -> dict[str, Tensor]:
        """The losses of several excerpts, in the mean over their frames."""
        several = [
            frame_losses(self.tracker, found, targets[:, frame])
            for frame, _, found in follow(self.tracker, frames, cues)
        ]
        return {name: torch.stack([one[name] for one in several]).mean() for name in several[0]}

    def _box_loss(self, frame: TrackerFeatures, targets: NDArray[np.bool_]) -> Tensor:
        """The weighted losses of all objects, segmented from their boxes in the first frame."""
        boxes = torch.tensor([box_of(mask) for mask in targets], dtype=torch.float32) / targets.shape[-1]
        losses = frame_losses(self.tracker, self.tracker.in_boxes(boxes.to(frame.top), frame), targets)
        return total_loss(losses, WEIGHTS)


def _first_maps(clips: Sequence[EncodedClip]) -> list[Tensor]:
    """The levels of the first clips, [frames, C, h, w] each: enough to tell what the maps are like."""
    return [torch.cat(levels).float() for levels in zip(*(clip.maps for clip in clips[:16]), strict=True)]


def _rows_of(excerpts: Sequence[Excerpt]) -> Tensor:
    """The excerpt of each object: [n]."""
    return torch.arange(len(excerpts)).repeat_interleave(torch.tensor([len(one.targets) for one in excerpts]))


def _cues(excerpts: Sequence[Excerpt], rng: np.random.Generator, corrected: float) -> Cues:
    """What the tracker is told: the first masks, and with a probability the exact ones of a frame in the midst."""
    starts = np.concatenate([one.starts for one in excerpts])
    masks = {0: dict(enumerate(starts))}
    targets = np.concatenate([one.targets for one in excerpts])
    if targets.shape[1] > 2 and rng.random() < corrected:
        frame = int(rng.integers(1, targets.shape[1] - 1))
        masks[frame] = dict(enumerate(targets[:, frame]))
    return Cues([0] * len(starts), masks)


@torch.no_grad()
def _top_positions(segmenter: Segmenter, size: int) -> Tensor:
    """The position encoding of the coarsest level, [h*w, 1, C], the same for every frame."""
    state = segmenter.encode_image(np.zeros((size, size, 3), np.uint8)).state
    positions: Tensor = state.positions[-1].clone().flatten(2).permute(2, 0, 1)
    return positions


def frame_losses(tracker: MemoryTracker, found: Propagated, targets: NDArray[np.bool_]) -> dict[str, Tensor]:
    """Losses of n objects in one frame.

    Args:
        tracker: that found them.
        found: what it says of them.
        targets: [n, S, S] bool.
    """
    logits = tracker.enlarged(found.logits)
    wanted = torch.from_numpy(targets).to(logits)
    there = wanted.flatten(1).any(1)
    presence = F.binary_cross_entropy_with_logits(found.presence_logits, there.to(logits))
    rows = there & (found.presence_logits.detach() > 0)  # where it is called absent, no mask is decoded
    if not rows.any():
        nothing = presence.new_zeros(())
        return {"focal": nothing, "dice": nothing, "iou": nothing, "presence": presence}
    logits, wanted = logits[rows], wanted[rows]
    ious = torch.from_numpy(mask_ious((logits.detach() > 0).cpu().numpy(), targets[rows.cpu().numpy()]))
    return {
        "focal": focal(logits, wanted),
        "dice": dice(logits, wanted),
        "iou": F.mse_loss(found.ious[rows], ious.to(logits)),
        "presence": presence,
    }
