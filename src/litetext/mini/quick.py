"""A look at held-out scenes during training: the figures of the evaluation, without files in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..tokenizer import Tokenizer
from .batches import Batch, Batches, pixels_of
from .model import Mini, Vision

HELD_OUT_SEED = 900_000
_THRESHOLDS = np.arange(0.5, 0.951, 0.05)


@torch.inference_mode()
def evaluate_quickly(
    model: Mini, tokenizer: Tokenizer, concepts: Sequence[str], batches: int = 8, threshold: float = 0.5
) -> dict[str, float]:
    """Return pmF1, IL_MCC, cgF1 (x 100 where the paper does), presence AUC and dense accuracy on fixed scenes."""
    from scipy.optimize import linear_sum_assignment

    model.eval()
    device = next(model.parameters()).device
    drawn = Batches(tokenizer, HELD_OUT_SEED, concepts, model.shape.image_size, 16, 4)
    counts = np.zeros((3, len(_THRESHOLDS)))  # TP, FP, FN over pairs with ground truth
    said, true, sure, hits = [], [], [], []
    for step in range(batches):
        batch = drawn[step].to(device)
        vision = model.vision(pixels_of(batch.images))
        hits.append(_dense_hits(model, vision, batch))
        tokens, real = model.texts(batch.ids)
        prediction = model.detect(vision, batch.image_of, tokens, real)
        score = (prediction.presence[-1].sigmoid()[:, None] * prediction.scores[-1].sigmoid()).cpu()
        sure.extend(prediction.presence[-1].tolist())
        rows = torch.arange(len(batch.ids), device=device)
        masks, _ = model.pixels(vision, batch.image_of, tokens, real, prediction, rows)
        for row in range(len(rows)):
            kept = (score[row] >= threshold).nonzero().squeeze(1)
            wanted = batch.targets[row][batch.targets[row] > 0]
            said.append(len(kept) > 0)
            true.append(len(wanted) > 0)
            if not len(wanted):
                continue
            truth = (batch.instances[batch.image_of[row]] == wanted[:, None, None]).flatten(1).float()
            if not len(kept):
                counts[2] += len(wanted)
                continue
            logits = F.interpolate(masks[row, kept][None], size=batch.instances.shape[-2:], mode="bilinear")[0]
            found = (logits > 0).flatten(1).float()
            shared = found @ truth.T
            iou = (shared / (found.sum(1)[:, None] + truth.sum(1)[None] - shared).clamp(min=1)).cpu().numpy()
            matched = iou[linear_sum_assignment(-iou)]
            good = (matched[:, None] >= _THRESHOLDS[None] - 1e-9).sum(0)
            counts += np.stack([good, len(kept) - good, len(wanted) - good])
    model.train()
    hit, extra, missed = counts
    f1 = float(np.mean(2 * hit / np.maximum(2 * hit + extra + missed, 1)))
    correlation = mcc(np.array(said), np.array(true))
    return {
        "cgF1": 100 * f1 * correlation,
        "pmF1": 100 * f1,
        "IL_MCC": correlation,
        "presence_auc": auc(np.array(sure), np.array(true)),
        "dense_accuracy": float(np.mean(hits)),
    }


def _dense_hits(model: Mini, vision: Vision, batch: Batch) -> float:
    """The share of the objects' places at which the vision encoder knows the concept."""
    side = vision.maps[-1].shape[-1]
    step = batch.instances.shape[-1] // side
    centres = batch.instances[:, step // 2 :: step, step // 2 :: step].flatten(1).long()
    concepts = batch.concept_of.gather(1, centres)
    best = model.concept_head(vision.hidden).argmax(-1)
    return float((best == concepts)[concepts > 0].float().mean())


def mcc(said: np.ndarray, true: np.ndarray) -> float:
    """Matthews correlation of two bool arrays; 0 where one of them is constant."""
    if said.std() == 0 or true.std() == 0:
        return 0.0
    return float(np.corrcoef(said, true)[0, 1])


def auc(score: np.ndarray, true: np.ndarray) -> float:
    """The chance that a true one scores above another; NaN where all are alike."""
    ranks = score.argsort().argsort() + 1
    positives = int(true.sum())
    negatives = len(true) - positives
    if not positives or not negatives:
        return float("nan")
    return float((ranks[true].sum() - positives * (positives + 1) / 2) / (positives * negatives))
