"""Masks cleaned: duplicates of one object, holes and specks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_FILLED, _REMOVED = 0.1, -0.1
"""Logits that a filled hole and a removed speck get."""


def mask_ious(ones: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of every mask of ``ones`` with every one of ``others``.

    Args:
        ones: [N, h, w] bool.
        others: [M, h, w] bool.

    Returns:
        [N, M] float32; 0 where both are empty.
    """
    first, second = (one.flatten(1).float() for one in (ones, others))
    shared = first @ second.T  # counts below 2^24 are exact
    union = first.sum(1)[:, None] + second.sum(1)[None] - shared
    return shared / union.clamp(min=1)


def keep_best(masks: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Return which masks stay where of any two that overlap more than ``iou`` only the better one does.

    Args:
        masks: [N, h, w] bool.
        scores: [N].
        iou: 0..1.

    Returns:
        [N] bool.
    """
    overlapping = mask_ious(masks, masks) > iou
    keep = torch.zeros(len(masks), dtype=torch.bool)
    for row in scores.argsort(descending=True, stable=True).tolist():
        keep[row] = not bool((overlapping[row].cpu() & keep).any())
    return keep.to(masks.device)


def without_holes(logits: Tensor, area: int) -> Tensor:
    """Return mask logits [N, h, w] in which holes and specks of up to ``area`` pixels are gone.

    A speck goes only where it is less than half of its mask, so that small objects stay.
    """
    if area <= 0 or not len(logits):
        return logits
    cleaned = [torch.from_numpy(_cleaned(one, area)) for one in logits.float().cpu().numpy()]
    return torch.stack(cleaned).to(logits.device, logits.dtype)


def _cleaned(logits: np.ndarray, area: int) -> np.ndarray:
    logits = np.where(_small(logits <= 0, area), np.float32(_FILLED), logits)
    inside = logits > 0
    return np.where(_small(inside, min(int(inside.sum()) // 2, area)), np.float32(_REMOVED), logits)


def _small(region: np.ndarray, area: int) -> np.ndarray:
    """The parts of ``region`` (connected by sides or corners) of up to ``area`` pixels."""
    from scipy import ndimage

    labels, count = ndimage.label(region, structure=np.ones((3, 3), bool))
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = area + 1
    small: np.ndarray = (areas <= area)[labels]
    return small
