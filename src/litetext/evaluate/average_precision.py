"""COCO's average precision for masklets: of classes (video mAP) and of noun phrases pooled (phrase AP).

Both use one greedy matching a (video, phrase) pair; they differ in what is pooled into one precision-recall curve.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .image import IOU_THRESHOLDS

_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_PREDICTIONS = 100


@dataclasses.dataclass(frozen=True)
class RankedMatches:
    """One pair's predictions by falling score: ``scores`` [n], ``hit``, ``ignored`` [10, n]; its ``truths``."""

    scores: NDArray[np.float64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truths: int


def ranked_matches(scores: Sequence[float], ious: NDArray[np.float64], crowd: Sequence[bool]) -> RankedMatches:
    """Match the 100 best-scored predictions of a pair one by one, as COCOeval does.

    A prediction takes the free truth of highest IoU at or above the threshold, a crowd only if no other fits; on a
    crowd it is ignored.

    Args:
        scores: [predictions].
        ious: [predictions, truths].
        crowd: [truths].
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")[:_MOST_PREDICTIONS]
    ignore = np.asarray(crowd, dtype=bool)
    truth_order = np.argsort(ignore, kind="stable")
    ignore = ignore[truth_order]
    table = ious[np.ix_(order, truth_order)] if ious.size else np.zeros((len(order), len(ignore)))
    hit = np.zeros((len(IOU_THRESHOLDS), len(order)), dtype=bool)
    ignored = np.zeros_like(hit)
    for t, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(len(ignore), dtype=bool)
        for d, row in enumerate(table):
            truth = _best_truth(row, free, ignore, min(float(threshold), 1 - 1e-10))
            if truth is not None:
                hit[t, d] = True
                ignored[t, d] = ignore[truth]
                free[truth] = ignore[truth]
    return RankedMatches(np.asarray(scores, dtype=np.float64)[order], hit, ignored, int((~ignore).sum()))


def _best_truth(
    row: NDArray[np.float64], free: NDArray[np.bool_], ignore: NDArray[np.bool_], threshold: float
) -> int | None:
    for group in (~ignore, ignore):
        fits = np.flatnonzero(group & free & (row >= threshold))
        if len(fits):
            return int(fits[row[fits] == row[fits].max()][-1])  # the last of equals, as COCOeval
    return None


def average_precision(pooled: Sequence[RankedMatches]) -> NDArray[np.float64] | None:
    """Return the 101-point average precision at each IoU threshold [10]; None without ground truth."""
    truths = sum(part.truths for part in pooled)
    if truths == 0:
        return None
    order = np.argsort(-np.concatenate([part.scores for part in pooled]), kind="stable")
    hit = np.concatenate([part.hit for part in pooled], axis=1)[:, order]
    ignored = np.concatenate([part.ignored for part in pooled], axis=1)[:, order]
    right = np.cumsum(hit & ~ignored, axis=1).astype(np.float64)
    wrong = np.cumsum(~hit & ~ignored, axis=1).astype(np.float64)
    precision = right / (right + wrong + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    result = np.zeros(len(IOU_THRESHOLDS))
    for t, recall in enumerate(right / truths):
        at = np.searchsorted(recall, _RECALLS, side="left")
        reached = at < precision.shape[1]
        result[t] = precision[t, at[reached]].sum() / len(_RECALLS)
    return result
