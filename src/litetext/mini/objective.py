"""What mini learns from a batch: the losses of every stage of its training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import Batch, pixels_of
from .concepts import CONCEPTS
from .losses import WEIGHTS, balanced, box_iou, corners, detection_losses, dice, focal, match
from .model import Mini, Vision

COPIES = 4
"""Queries that learn to score one object, where several do."""


def losses_of(model: Mini, batch: Batch, stage: int, mask_rows: int, class_copies: int = 1) -> dict[str, Tensor]:
    """Return the losses of one batch by name, unweighted; which ones there are depends on the stage."""
    vision = model.vision(pixels_of(batch.images))
    tokens, real = model.texts(batch.ids)
    losses = _dense_losses(model, vision, tokens, real, batch)
    # The detector's first steps must not undo what the dense stage taught, so its losses start beside it.
    return (
        losses
        if stage == 0
        else losses | detector_losses(model, batch, vision, tokens, real, stage == 2, mask_rows, class_copies)
    )


def detector_losses(
    model: Mini,
    batch: Batch,
    vision: Vision,
    tokens: Tensor,
    real: Tensor,
    instances: bool,
    mask_rows: int,
    class_copies: int = 1,
) -> dict[str, Tensor]:
    """Return SAM3's losses: presence and semantic map and, with ``instances``, classes, boxes and masks.

    Args:
        model: what learns.
        batch: what was asked of which images.
        vision: the images, encoded.
        tokens: the phrases encoded, as `Mini.texts` returns them.
        real: which of the tokens are not padding.
        instances: whether single objects are learned.
        mask_rows: phrases, at most, whose masks are computed.
        class_copies: queries that learn to score one object.
    """
    losses = {}
    prediction = model.detect(vision, batch.image_of, tokens, real)
    present = batch.targets[:, 0] > 0
    losses["presence"] = F.binary_cross_entropy_with_logits(
        prediction.presence, present.float().expand_as(prediction.presence)
    )
    side = vision.maps[-1].shape[-1]
    losses["encoded"] = balanced(
        model.encoded_head(prediction.encoded).view(-1, side, side), coverage(batch, side, slice(None))
    )
    rows = present.nonzero().squeeze(1)
    if len(rows) == 0:
        return losses
    drawn = rows[:: -(-len(rows) // mask_rows)]
    masks, semantic = model.pixels(vision, batch.image_of, tokens, real, prediction, drawn)
    target = coverage(batch, semantic.shape[-1], drawn)
    losses["semantic"] = focal(semantic, target) * 5 + dice(semantic, target)
    if not instances:
        return losses
    valid = batch.targets[rows] > 0
    wanted = batch.boxes[rows]
    last = len(prediction.scores) - 1
    # The early layers learn boxes one-to-many, as SAM3's extra branch does; only the last one's answers are used.
    layers = [
        detection_losses(scores[rows], boxes[rows], wanted, valid, 1 if layer == last else COPIES, class_copies)
        for layer, (scores, boxes) in enumerate(zip(prediction.scores, prediction.boxes, strict=True))
    ]
    for name in layers[0]:
        losses[name] = torch.stack([layer[name] for layer in layers]).mean()
    row, query, slot = match(
        prediction.scores[-1][drawn], prediction.boxes[-1][drawn], batch.boxes[drawn], batch.targets[drawn] > 0
    )
    pair = drawn[row]
    # The masks are judged at twice their resolution, since what counts is their edge after upsampling.
    fine = F.interpolate(masks[row, query][:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    exact = batch.instances[batch.image_of[pair]] == batch.targets[pair, slot][:, None, None]
    shrink = exact.shape[-1] // fine.shape[-1]
    exact_mask = F.avg_pool2d(exact.float()[:, None], shrink)[:, 0]
    losses["mask"] = focal(fine, exact_mask)
    losses["dice"] = dice(fine, exact_mask)
    return losses


def total_loss(losses: dict[str, Tensor], weights: Mapping[str, float] = WEIGHTS) -> Tensor:
    """The weighted sum."""
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()


def coverage(batch: Batch, side: int, rows: Tensor | slice) -> Tensor:
    """The share of every cell of a side x side grid that the phrases' objects cover: [R, side, side]."""
    instances = batch.instances[batch.image_of[rows]].long()
    targets = batch.targets[rows]
    table = torch.zeros(len(targets), 256, device=targets.device)
    table.scatter_(1, targets, 1.0)
    table[:, 0] = 0
    covered = table.gather(1, instances.flatten(1)).view(instances.shape)
    return F.avg_pool2d(covered[:, None], instances.shape[-1] // side)[:, 0]


def _dense_losses(model: Mini, vision: Vision, tokens: Tensor, real: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Every place says which concept and colour it shows, and which of the phrases asked of *any* image is true there.

    Phrases asked of other images are phrases like any other here, so one pass over B images is B * P questions.
    """
    losses = {}
    coarse = centres(batch.instances, vision.maps[-1].shape[-1]).flatten(1)
    concepts = batch.concept_of.gather(1, coarse).flatten()
    colors = batch.color_of.gather(1, coarse).flatten()
    on_object = concepts > 0
    rarity = torch.ones(len(CONCEPTS) + 1, device=concepts.device)
    rarity[0] = 0.15
    losses["concept"] = F.cross_entropy(model.concept_head(vision.hidden).flatten(0, 1).float(), concepts, rarity)
    hidden = vision.hidden.flatten(0, 1)[on_object]
    losses["color"] = F.cross_entropy(model.color_head(hidden).float(), colors[on_object])
    losses |= dense_box_losses(model, vision, batch)
    phrases = []
    for level in vision.maps:
        logits = model.dense_logits(level, tokens, real)
        places = centres(batch.instances, level.shape[-1])
        rows = torch.arange(len(places), device=places.device)[:, None, None]
        phrases.append(phrase_loss(logits, batch.truth[rows, places]))
    losses["phrases"] = torch.stack(phrases).sum()
    return losses


def phrase_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal cross-entropy of phrases at places, over the number of truths; where one could argue (-1) counts nothing.

    Args:
        logits: of any shape.
        truth: of the same shape: 1, 0 or -1.
    """
    true, clear = (truth == 1).float(), (truth >= 0).float()
    wrong = (true - logits.detach().sigmoid()).abs() ** 2
    entropy = F.binary_cross_entropy_with_logits(logits.float(), true, reduction="none")
    return (entropy * wrong * clear * (0.25 + 0.5 * true)).sum() / (true.sum() + 1)


def dense_box_losses(model: Mini, vision: Vision, batch: Batch) -> dict[str, Tensor]:
    """Every place on an object says where that object is: its box on the coarse map, its centre on the fine one.

    Phrases have no part in it, so one pass over an image teaches all its objects' places.
    """
    rows = torch.arange(len(batch.images), device=batch.images.device)[:, None, None]
    coarse, fine = (centres(batch.instances, level.shape[-1]) for level in (vision.maps[-1], vision.maps[0]))
    found, wanted = model.dense_boxes(vision.maps[-1])[coarse > 0], batch.box_of[rows, coarse][coarse > 0]
    _, giou = box_iou(corners(found), corners(wanted))
    centers = model.dense_centers(vision.maps[0])[fine > 0]
    return {
        "dense_box": (1 - giou).mean() + 2 * (found - wanted).abs().sum(-1).mean(),
        "center": (centers - batch.box_of[rows, fine][fine > 0][:, :2]).abs().sum(-1).mean(),
    }


def centres(instances: Tensor, side: int) -> Tensor:
    """The object numbers at the centres of a side x side grid: [B, side, side] int64."""
    step = instances.shape[-1] // side
    return instances[:, step // 2 :: step, step // 2 :: step].long()
