"""Held-out photographs during training: presence, semantic map and instances of COCO's categories by their names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..mini.quick import auc, mcc
from .batches import PhotoBatches
from .concepts import Concepts
from .model import PhotoModel

LEAST_AREA = 0.005
LARGE_AREA = 0.05
_THRESHOLDS = np.arange(0.5, 0.951, 0.05)


def category_pairs(facts: list[dict[str, Any]], concepts: Concepts, seed: int = 0) -> list[list[int]]:
    """Return, for each photograph, the categories to ask for: those present at 0.5 % or more, and as many absent."""
    rng = np.random.default_rng(seed)
    chosen = []
    for one in facts:
        areas: dict[int, float] = {}
        for thing in one["things"]:
            areas[thing["concept"]] = areas.get(thing["concept"], 0) + thing["area"]
        shown = [
            number for number, area in sorted(areas.items()) if area >= LEAST_AREA and number not in one["unclear"]
        ]
        absent = sorted({*concepts.coco.values()} - {*areas} - {*one["unclear"]})
        drawn = rng.choice(absent, len(shown), replace=False).tolist() if shown else []
        chosen.append([*shown, *drawn])
    return chosen


@torch.inference_mode()
def evaluate(model: PhotoModel, batches: PhotoBatches, threshold: float = 0.5, seed: int = 0) -> dict[str, float]:
    """Return figures on all pairs of a pool of whole photographs; ``batches`` gives pool and words."""
    from scipy.optimize import linear_sum_assignment

    model.eval()
    pool, concepts = batches.pool, batches.questions.concepts
    counts = np.zeros((3, len(_THRESHOLDS)))
    said, true, sure, ious, areas, names = [], [], [], [], [], []
    for row, asked in enumerate(category_pairs(pool.facts, concepts, seed)):
        if not asked:
            continue
        vision = model.encode_image(pool.features(np.array([row])))
        phrases = batches.embedded([concepts.all[number].name for number in asked])
        tokens, real = model.teacher(phrases.embedded, phrases.lengths)
        image_of = torch.zeros(len(asked), dtype=torch.long)
        prediction = model.detect(vision, image_of, tokens, real)
        score = prediction.presence[-1].sigmoid()[:, None] * prediction.scores[-1].sigmoid()
        instances = torch.from_numpy(np.array(pool.instances[row]))
        labels = np.array([thing["concept"] for thing in pool.facts[row]["things"]])
        for place, number in enumerate(asked):
            wanted = torch.from_numpy(np.flatnonzero(labels == number) + 1)
            kept = (score[place] >= threshold).nonzero().squeeze(1)
            said.append(len(kept) > 0)
            true.append(len(wanted) > 0)
            sure.append(float(prediction.presence[-1][place]))
            names.append(number)
            if not len(wanted):
                continue
            masks, semantic = model.pixels(vision, image_of, tokens, real, prediction, torch.tensor([place]))
            truth = instances == wanted[:, None, None]
            side = instances.shape[-1]
            found = F.interpolate(semantic[None], (side, side), mode="bilinear")[0, 0] > 0
            everything = truth.any(0)
            ious.append(float((found & everything).sum() / (found | everything).sum().clamp(min=1)))
            areas.append(float(everything.float().mean()))
            if not len(kept):
                counts[2] += len(wanted)
                continue
            logits = F.interpolate(masks[0, kept][None], (side, side), mode="bilinear")[0]
            flat, exact = (logits > 0).flatten(1).float(), truth.flatten(1).float()
            shared = flat @ exact.T
            iou = (shared / (flat.sum(1)[:, None] + exact.sum(1)[None] - shared).clamp(min=1)).numpy()
            matched = iou[linear_sum_assignment(-iou)]
            good = (matched[:, None] >= _THRESHOLDS[None] - 1e-9).sum(0)
            counts += np.stack([good, len(kept) - good, len(wanted) - good])
    model.train()
    hit, extra, missed = counts
    f1 = float(np.mean(2 * hit / np.maximum(2 * hit + extra + missed, 1)))
    correlation = mcc(np.array(said), np.array(true))
    large = np.array(areas) > LARGE_AREA
    people = np.array(names) == concepts.coco["person"]
    return {
        "semantic_iou": _mean(np.array(ious)),
        "semantic_iou_large": _mean(np.array(ious)[large]),
        "presence_auc": auc(np.array(sure), np.array(true)),
        "presence_mcc": mcc(np.array(sure) > 0, np.array(true)),
        "IL_MCC": correlation,
        "pmF1": 100 * f1,
        "cgF1": 100 * f1 * correlation,
        "person_mcc": mcc(np.array(said)[people], np.array(true)[people]) if people.any() else 0.0,
    }


def _mean(values: np.ndarray) -> float:
    """The mean; 0 of nothing."""
    return float(values.mean()) if len(values) else 0.0
