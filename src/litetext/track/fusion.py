"""Detections and propagated masks brought together: which detections are new, which tracks confirmed, which hidden.

Functions of masks and scores alone, one for each rule of SAM3's video system; `litetext.track.session` applies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .cleanup import mask_ious
from .policy import TrackingPolicy

HIDDEN_LOGIT = -10.0
"""Of pixels that a rule takes from a track."""


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """The detections of all prompts in a frame.

    Attributes:
        logits: [N, h, w] of their masks.
        scores: [N].
        prompts: [N] int64, the id of the prompt of each.
    """

    logits: Tensor
    scores: Tensor
    prompts: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Association:
    """Which detections and tracks belong together. Detections and tracks are named by their rows.

    Attributes:
        new: detections that start a track.
        matched: for each detection the tracks that it overlaps.
        unmatched: tracks with pixels that no detection confirms.
        empty: tracks without a pixel.
        confirmed: track -> a good detection that overlaps it well.
    """

    new: list[int]
    matched: list[list[int]]
    unmatched: list[int]
    empty: list[int]
    confirmed: dict[int, int]


def associate(detected: Detected, tracks: Tensor, prompts: Tensor, policy: TrackingPolicy) -> Association:
    """Match a frame's detections with the tracks of the same prompt.

    Args:
        detected: the detections.
        tracks: [M, h, w] mask logits of the tracks.
        prompts: [M] int64, the prompt of each.
        policy: whose thresholds decide.
    """
    there = (tracks > 0).flatten(1).any(1) if len(tracks) else torch.zeros(0, dtype=torch.bool)
    empty = _rows(~there)
    if not len(detected.scores) or not len(tracks):
        # as in SAM3, a first detection need only be one; later ones must reach the threshold of new objects
        return Association(list(range(len(detected.scores))), [[]] * len(detected.scores), _rows(there), empty, {})
    ious = mask_ious(detected.logits > 0, tracks > 0)
    ious = torch.where(detected.prompts[:, None] == prompts[None], ious, 0.0)
    new = (detected.scores >= policy.new_object_threshold) & ~(ious >= policy.association_iou).any(1)
    best_iou, best = ious.max(1)
    sure = (detected.scores >= policy.recondition_score) & ~new & (best_iou >= policy.recondition_iou)
    return Association(
        new=_rows(new),
        matched=[_rows(row >= policy.association_iou) for row in ious],
        unmatched=_rows(there & ~(ious >= policy.matched_iou).any(0)),
        empty=empty,
        confirmed={int(best[row]): row for row in _rows(sure)},
    )


def most_recently_hidden(masks: Tensor, last_hidden: Tensor, iou: float) -> Tensor:
    """Return which of overlapping tracks were hidden last: the other one has held on, so these give way.

    Args:
        masks: [N, h, w] bool.
        last_hidden: [N] int64, the last frame in which each had no pixel; -1: never.
        iou: tracks that overlap at least this much are compared.

    Returns:
        [N] bool.
    """
    overlapping = torch.triu(mask_ious(masks, masks) >= iou, diagonal=1)
    first, second = last_hidden[:, None], last_hidden[None]
    first_gives_way = overlapping & (first > second) & (second > -1)
    second_gives_way = overlapping & (second > first) & (first > -1)
    return first_gives_way.any(1) | second_gives_way.any(0)


def without_shrunk(logits: Tensor, groups: Sequence[int], least: float = 0.3) -> Tensor:
    """Empty tracks of which little is left where every pixel goes to the strongest track of its group.

    Args:
        logits: [N, h, w] of the tracks' masks.
        groups: for each the group that it shares pixels with, such as its prompt.
        least: share of its area that a track must keep.
    """
    result = logits.clone()
    for group in dict.fromkeys(groups):
        rows = [row for row, one in enumerate(groups) if one == group]
        if len(rows) > 1:
            result[rows] = _without_shrunk(logits[rows], least)
    return result


def _without_shrunk(logits: Tensor, least: float) -> Tensor:
    before = (logits > 0).flatten(1).sum(1).clamp(min=1.0)
    after = (owned_pixels(logits) & (logits > 0)).flatten(1).sum(1)
    keep = (after / before >= least)[:, None, None]
    return torch.where(keep, logits, logits.clamp(max=HIDDEN_LOGIT))


def owned_pixels(strengths: Tensor) -> Tensor:
    """Return [N, h, w] bool: where each of N maps is the strongest, the first of equals."""
    rows = torch.arange(len(strengths), device=strengths.device)
    return strengths.argmax(0)[None] == rows[:, None, None]


def _rows(chosen: Tensor) -> list[int]:
    rows: list[int] = chosen.nonzero()[:, 0].tolist()
    return rows
