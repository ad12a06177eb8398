"""HOTA: how well objects are found in each frame, and how well they keep their identity (Luiten et al., IJCV 2021).

pHOTA, SA-Co's variant, makes every (video, noun phrase) pair a sequence of its own; counts are summed over the pairs
for each of the 19 localisation thresholds, and the numbers averaged over the thresholds. The association scores are
sums over matches, so they merge across pairs like counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ALPHAS = np.arange(0.05, 0.99, 0.05)
_EPSILON = float(np.finfo(np.float64).eps)


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame of a sequence: which tracks are there and how much they overlap.

    ``truths`` [T] and ``predictions`` [P] are track numbers from 0 within the sequence; ``ious`` [T, P].
    """

    truths: NDArray[np.int64]
    predictions: NDArray[np.int64]
    ious: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class HotaCounts:
    """Sums over frames (and sequences), each [19] by threshold.

    ``overlap`` sums the IoU of matches; ``association``, ``..._recall`` and ``..._precision`` sum, over matches, the
    Jaccard index, recall and precision of the two tracks they join.
    """

    matches: NDArray[np.float64]
    missed: NDArray[np.float64]
    false: NDArray[np.float64]
    overlap: NDArray[np.float64]
    association: NDArray[np.float64]
    association_recall: NDArray[np.float64]
    association_precision: NDArray[np.float64]

    @staticmethod
    def total(parts: Sequence[HotaCounts]) -> HotaCounts:
        """Return the sum over sequences."""
        zero = np.zeros(len(ALPHAS))
        names = [field.name for field in dataclasses.fields(HotaCounts)]
        return HotaCounts(**{name: sum((getattr(part, name) for part in parts), zero) for name in names})

    def scores(self) -> dict[str, float]:
        """Return HOTA and its parts, 0 to 1, averaged over thresholds; LocA is 1 where nothing matches."""
        found = np.maximum(1, self.matches)
        detection = self.matches / np.maximum(1, self.matches + self.missed + self.false)
        recall = self.matches / np.maximum(1, self.matches + self.missed)
        association = self.association / found
        parts = {
            "HOTA": np.sqrt(detection * association),
            "DetA": detection,
            "AssA": association,
            "DetRe": recall,
            "DetPr": self.matches / np.maximum(1, self.matches + self.false),
            "AssRe": self.association_recall / found,
            "AssPr": self.association_precision / found,
            "LocA": np.maximum(1e-10, self.overlap) / np.maximum(1e-10, self.matches),
            "OWTA": np.sqrt(recall * association),
        }
        return {name: float(values.mean()) for name, values in parts.items()}


def alignment(frames: Sequence[Frame], truths: int, predictions: int) -> NDArray[np.float64]:
    """Return how well each pair of tracks fits over the whole sequence [truths, predictions]: a soft Jaccard index."""
    shared = np.zeros((truths, predictions))
    lengths = track_lengths(frames, truths, predictions)
    for frame in frames:
        either = frame.ious.sum(0, keepdims=True) + frame.ious.sum(1, keepdims=True) - frame.ious
        fits = np.divide(frame.ious, either, out=np.zeros_like(frame.ious), where=either > _EPSILON)
        shared[np.ix_(frame.truths, frame.predictions)] += fits
    together = lengths[0][:, None] + lengths[1] - shared
    return np.divide(shared, together, out=np.zeros_like(shared), where=together > 0)  # 0 for tracks never seen here


def track_lengths(
    frames: Sequence[Frame], truths: int, predictions: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return in how many frames each true [truths] and each predicted track [predictions] is seen."""
    seen, drawn = np.zeros(truths), np.zeros(predictions)
    for frame in frames:
        seen[frame.truths] += 1
        drawn[frame.predictions] += 1
    return seen, drawn


def frame_matches(frame: Frame, fit: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the frame's best one-to-one matching on IoU times the tracks' ``fit``."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-(fit[np.ix_(frame.truths, frame.predictions)] * frame.ious))
    return rows, columns


def at_least(ious: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which IoUs [n] reach which thresholds [t], with the rounding slack of TrackEval [t, n]."""
    return np.asarray(ious >= thresholds[:, None] - _EPSILON)


def association_sums(
    joined: NDArray[np.float64], truth_lengths: NDArray[np.float64], prediction_lengths: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums over matches of Jaccard index, recall and precision of the joined tracks, each [t].

    Args:
        joined: [t, truths, predictions], the frames in which two tracks match at a threshold.
        truth_lengths: [truths], the frames in which each true track is seen.
        prediction_lengths: [predictions], the same of predicted tracks.
    """
    either = truth_lengths[:, None] + prediction_lengths - joined
    jaccard = (joined * joined / np.maximum(1, either)).sum((1, 2))
    recall = (joined * joined / np.maximum(1, truth_lengths)[:, None]).sum((1, 2))
    precision = (joined * joined / np.maximum(1, prediction_lengths)).sum((1, 2))
    return jaccard, recall, precision


def hota_counts(frames: Sequence[Frame], truths: int, predictions: int) -> HotaCounts:
    """Return the counts of one sequence of ``truths`` and ``predictions`` tracks."""
    matches, overlap = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
    joined = np.zeros((len(ALPHAS), truths, predictions))
    lengths = track_lengths(frames, truths, predictions)
    if truths and predictions:
        fit = alignment(frames, truths, predictions)
        for frame in frames:
            rows, columns = frame_matches(frame, fit)
            ious = frame.ious[rows, columns]
            kept = at_least(ious, ALPHAS)
            matches += kept.sum(1)
            overlap += (kept * ious).sum(1)
            joined[:, frame.truths[rows], frame.predictions[columns]] += kept
    return HotaCounts(
        matches,
        lengths[0].sum() - matches,
        lengths[1].sum() - matches,
        overlap,
        *association_sums(joined, *lengths),
    )
