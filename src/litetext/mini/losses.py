"""SAM3's training losses at mini's scale.

Hungarian matching, focal-weighted classification whose target is the IoU, presence, boxes (L1, GIoU) on every decoder
layer; masks (focal, dice) of the matched queries and the semantic map on the last. Queries are classified only where
the concept is present: the presence token alone carries the negatives. (Carion et al., SAM 3, 2025; weights rescaled.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

POSITIVE_WEIGHT = 2.5
GAMMA = 2.0
WEIGHTS = {
    "presence": 2.0,
    "class": 1.5,
    "l1": 5.0,
    "giou": 2.0,
    "mask": 20.0,
    "dice": 4.0,
    "semantic": 2.0,
    "encoded": 1.0,
    "concept": 2.0,
    "color": 0.5,
    "phrases": 1.0,
    "dense_box": 2.0,
    "center": 5.0,
}


def corners(boxes: Tensor) -> Tensor:
    """Centre x, y, width, height -> x0, y0, x1, y1 (last axis)."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], -1)


def box_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes given by corners, broadcast over the leading axes."""
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (a, b)]
    union = areas[0] + areas[1] - overlap
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    iou = overlap / union.clamp(min=1e-7)
    return iou, iou - (hull - union) / hull.clamp(min=1e-7)


@torch.no_grad()
def match(scores: Tensor, boxes: Tensor, targets: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Match queries to targets, one to one, on class, L1 and GIoU costs.

    Args:
        scores: [R, Q] logits.
        boxes: [R, Q, 4], centre form.
        targets: [R, T, 4], centre form.
        valid: bool [R, T], which of the targets are real.

    Returns:
        Three int64 tensors [M]: row, query, target of every match.
    """
    probability = scores.sigmoid()[..., None]
    l1 = (boxes[:, :, None] - targets[:, None]).abs().sum(-1)
    _, giou = box_iou(corners(boxes)[:, :, None], corners(targets)[:, None])
    cost = (2 * (1 - probability) + WEIGHTS["l1"] * l1 - WEIGHTS["giou"] * giou).float().cpu().numpy()
    counts = valid.sum(1).tolist()
    found: list[tuple[int, int, int]] = []
    for row, count in enumerate(counts):
        queries, chosen = linear_sum_assignment(cost[row, :, :count])
        found.extend(zip([row] * len(queries), queries.tolist(), chosen.tolist(), strict=True))
    table = torch.tensor(found, dtype=torch.long, device=scores.device).view(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def detection_losses(
    scores: Tensor, boxes: Tensor, targets: Tensor, valid: Tensor, copies: int = 1, class_copies: int = 1
) -> dict[str, Tensor]:
    """Class and box losses of one decoder layer over the R positive prompts (arguments as `match`).

    With ``copies`` above 1 that many queries learn each target's box, which is faster. Classes are learned one-to-one;
    with ``class_copies`` above 1 that many queries also learn to score the IoU of their box. That tells queries on an
    object from those beside it, where one-to-one alone left all scores alike for a thousand steps.
    """
    row, query, target = match(scores, boxes, targets, valid)
    exact = row, query
    wanted, found = targets[row, target], boxes[row, query]
    iou, _ = box_iou(corners(found), corners(wanted))
    score = torch.zeros_like(scores)
    matched = torch.zeros_like(scores, dtype=torch.bool)
    if max(copies, class_copies) > 1:
        targets, valid = (part.repeat_interleave(max(copies, class_copies), 1) for part in (targets, valid))
        row, query, target = match(scores, boxes, targets, valid)
        many = box_iou(corners(boxes[row, query]), corners(targets[row, target]))[0]
        if class_copies > 1:
            score[row, query] = many.detach().to(score.dtype)
            matched[row, query] = True
        if copies > 1:
            wanted, found = targets[row, target], boxes[row, query]
    # The target never falls below a half, so that what was found counts even before its box is exact.
    score[exact] = 0.5 + 0.5 * iou.detach().to(score.dtype)
    matched[exact] = True
    _, giou = box_iou(corners(found), corners(wanted))
    count = max(len(found), 1)
    return {
        "class": iou_focal(scores, score, matched).sum() / max(len(exact[0]), 1),
        "l1": (found - wanted).abs().sum() / count,
        "giou": (1 - giou).sum() / count,
    }


def iou_focal(scores: Tensor, target: Tensor, matched: Tensor) -> Tensor:
    """Binary cross-entropy against an IoU; matched queries weigh 2.5, the others by how sure they are (gamma 2)."""
    probability = scores.detach().sigmoid()
    weight = torch.where(matched, POSITIVE_WEIGHT * (0.1 + (target - probability).abs()), 2 * probability**GAMMA)
    return weight * F.binary_cross_entropy_with_logits(scores, target, reduction="none")


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal binary cross-entropy with soft targets, mean over everything (gamma 2)."""
    weight = (target - logits.detach().sigmoid()).abs() ** GAMMA
    return (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Dice loss over the last two axes, mean over the rest."""
    probability = logits.sigmoid()
    shared = 2 * (probability * target).sum((-2, -1))
    return (1 - (shared + 1) / (probability.sum((-2, -1)) + target.sum((-2, -1)) + 1)).mean()


def balanced(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy in which the places of a phrase and all other places weigh alike."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    inside = (loss * target).sum() / target.sum().clamp(min=1)
    outside = (loss * (1 - target)).sum() / (1 - target).sum().clamp(min=1)
    return 0.5 * inside + outside
