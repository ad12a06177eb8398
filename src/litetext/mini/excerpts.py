"""What the tracker learns from: a library of clips, encoded once, and excerpts of it to follow objects through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..progress import Progress, no_progress
from ..segment import Segmenter
from ..segment.backend import ImageFeatures
from .language import Rng
from .motion import FRAMES, Clip, MotionWorld
from .world import generator

CLIP_FRAMES = 10
"""Frames of a clip in the library."""

START_PIXELS = 64
"""An object may start where so many of its pixels are seen."""

_KEYS = (0, 3, 6, 9)  # frames in which excerpts may start: the first two run forwards, the others backwards
_MATCHED_IOU = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class EncodedClip:
    """T frames as the image encoder sees them, and what is in them.

    Attributes:
        maps: the levels of the pyramid, fine to coarse, [T, C, h, w] float16 each.
        instances: [T, S, S] uint8, as in `Clip`.
        objects: how many there are.
        detected: frame -> [objects, S, S] bool, the detector's masks where it finds the objects, else the exact ones.
    """

    maps: tuple[Tensor, ...]
    instances: NDArray[np.uint8]
    objects: int
    detected: dict[int, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """T frames of a clip, forwards or backwards, and n objects that are seen in the first of them.

    Attributes:
        maps: the levels of the pyramid, fine to coarse, [T, C, h, w] float16 each.
        targets: [n, T, S, S] bool, the exact masks; empty where an object is hidden.
        starts: [n, S, S] bool, the masks that the objects start from.
    """

    maps: tuple[Tensor, ...]
    targets: NDArray[np.bool_]
    starts: NDArray[np.bool_]


def library(
    motion: MotionWorld, segmenter: Segmenter, seed: int, count: int, progress: Progress = no_progress
) -> list[EncodedClip]:
    """Draw and encode ``count`` clips; clip ``i`` of a seed is always the same.

    Args:
        motion: to draw from.
        segmenter: whose image encoder and detector look at the clips.
        seed: of the clips.
        count: of clips.
        progress: counts clips.
    """
    clips = []
    for index in range(count):
        rng = generator(seed, index)
        clips.append(_encoded(motion.clip(rng, _times(rng)), segmenter))
        progress(index + 1, count)
    return clips


def excerpt(clip: EncodedClip, rng: Rng, frames: int, *, objects: int, detected: float) -> Excerpt | None:
    """Return an excerpt of a clip; None if no object is seen well enough in its first frame.

    Args:
        clip: of the library.
        rng: of the excerpt.
        frames: how many, up to 8.
        objects: how many at most.
        detected: the probability that the objects start from the detector's masks.
    """
    key = int(rng.choice([one for one in _KEYS if _room(one) >= frames - 1]))
    stride = int(rng.integers(1, _room(key) // (frames - 1) + 1))
    places = key + (1 if key < CLIP_FRAMES / 2 else -1) * stride * np.arange(frames)
    targets = np.stack([clip.instances[places] == number for number in range(1, clip.objects + 1)])
    followed = np.flatnonzero(targets[:, 0].sum((1, 2)) >= START_PIXELS)
    if not len(followed):
        return None
    rows = np.sort(rng.permutation(followed)[:objects])
    starts = clip.detected[key][rows] if rng.random() < detected else targets[rows, 0]
    return Excerpt(tuple(level[torch.from_numpy(places)] for level in clip.maps), targets[rows], starts)


def _room(key: int) -> int:
    """Frames after ``key`` in the direction in which an excerpt from there runs."""
    return CLIP_FRAMES - 1 - key if key < CLIP_FRAMES / 2 else key


def _encoded(clip: Clip, segmenter: Segmenter) -> EncodedClip:
    frames = segmenter.encode_images(list(clip.frames), image_batch=len(clip.frames))
    levels = zip(*(frame.state.maps for frame in frames), strict=True)
    maps = tuple(torch.cat(list(level)).half().cpu() for level in levels)
    detected = {key: _detected(segmenter, frames[key], clip, key) for key in _KEYS}
    return EncodedClip(maps, clip.instances, len(clip.objects), detected)


def _detected(segmenter: Segmenter, frame: ImageFeatures, clip: Clip, index: int) -> NDArray[np.bool_]:
    """The masks of all objects in a frame, the detector's where it finds them: [objects, S, S]."""
    names = list(dict.fromkeys(one.traits.concept.name for one in clip.objects))
    masks = segmenter.detect(frame, names).masks.dense()
    return np.stack([_nearest(clip.mask(index, row), masks) for row in range(len(clip.objects))])


def _nearest(mask: NDArray[np.bool_], masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask of several that overlaps ``mask`` most, if it does so well enough; else ``mask`` itself."""
    if not len(masks):
        return mask
    ious = mask_ious(np.broadcast_to(mask, masks.shape), masks)
    best = int(ious.argmax())
    return masks[best] if ious[best] >= _MATCHED_IOU else mask


def mask_ious(masks: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The IoU of each mask [n, S, S] with its other; 0 where both are empty."""
    together = (masks & others).sum((1, 2))
    ious: NDArray[np.float64] = together / (masks | others).sum((1, 2)).clip(1)
    return ious


def _times(rng: Rng) -> NDArray[np.float64]:
    """Evenly spaced times in a clip of 24 frames, one or two of its frames apart."""
    stride = int(rng.integers(1, (FRAMES - 1) // (CLIP_FRAMES - 1) + 1))
    first = int(rng.integers(0, FRAMES - stride * (CLIP_FRAMES - 1)))
    return (first + stride * np.arange(CLIP_FRAMES)) / (FRAMES - 1)
