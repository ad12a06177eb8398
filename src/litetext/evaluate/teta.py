"""TETA: localisation, association and classification of tracks, each scored alone (Li et al., ECCV 2022).

For every class (noun phrase), the predicted tracks that overlap its objects are the candidates, whatever class they
carry: they are scored on where they are (Loc) and on keeping identity (Assoc), and those matched are scored on their
class (Cls). SA-Co annotates exhaustively, so a track of the class away from all its objects is a classification error
too.

The rules below are those of the official toolkit in its exhaustive COCO setting, its order effect included: a class
without objects or candidates in a video replaces the classification errors that earlier classes put on it there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .hota import Frame, alignment, association_sums, at_least, frame_matches, track_lengths

LOCALISATION = np.arange(0.0, 0.99, 0.05)
CLASSIFICATION = np.arange(0.5, 0.99, 0.05)
_OVERLAP = 0.5

FIELDS = ("TETA", "LocA", "AssocA", "ClsA", "LocRe", "LocPr", "AssocRe", "AssocPr", "ClsRe", "ClsPr")


@dataclasses.dataclass(frozen=True)
class VideoFrames:
    """One video with all its phrases: frames over all tracks, and the class of each true and predicted track."""

    frames: Sequence[Frame]
    truth_classes: NDArray[np.int64]
    prediction_classes: NDArray[np.int64]


@dataclasses.dataclass
class _ClassCounts:
    """Sums of one class; localisation and association [20], classification [10] by threshold."""

    found: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(len(LOCALISATION)))
    missed: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(len(LOCALISATION)))
    false: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(len(LOCALISATION)))
    association: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros((3, len(LOCALISATION))))
    right_class: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(len(CLASSIFICATION)))
    wrong_class: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(len(CLASSIFICATION)))
    false_class: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(len(CLASSIFICATION)))

    def add(self, other: _ClassCounts) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    @property
    def empty(self) -> bool:
        return not (self.found + self.missed + self.false > 0).any()

    def scores(self) -> NDArray[np.float64]:
        """The ten numbers of `FIELDS`, 0 to 1, averaged over thresholds."""
        localisation = [
            _share(self.found, self.missed + self.false),
            _share(self.found, self.missed),
            _share(self.found, self.false),
        ]
        association = self.association / np.maximum(1, self.found)
        classification = [
            _share(self.right_class, self.wrong_class + self.false_class),
            _share(self.right_class, self.wrong_class),
            _share(self.right_class, self.false_class),
        ]
        (loc_a, loc_re, loc_pr), (assoc_a, assoc_re, assoc_pr), (cls_a, cls_re, cls_pr) = (
            [float(np.mean(values)) for values in part] for part in (localisation, association, classification)
        )
        teta = (loc_a + assoc_a + cls_a) / 3
        return np.array([teta, loc_a, assoc_a, cls_a, loc_re, loc_pr, assoc_re, assoc_pr, cls_re, cls_pr])


def teta_scores(scenes: Sequence[VideoFrames], classes: Sequence[int]) -> dict[str, float]:
    """Return TETA and its parts, 0 to 1, averaged over the classes that have objects or candidates (all 0 without any).

    Args:
        scenes: the videos.
        classes: those with ground truth in any video, in the order of the file's categories.
    """
    totals = {name: _ClassCounts() for name in classes}
    for scene in scenes:
        for name, counts in _scene_counts(scene, classes).items():
            totals[name].add(counts)
    scores = [counts.scores() for counts in totals.values() if not counts.empty]
    return dict(zip(FIELDS, np.mean(scores, axis=0).tolist() if scores else [0.0] * len(FIELDS), strict=True))


def _share(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(right / np.maximum(1, right + wrong))


def _scene_counts(scene: VideoFrames, classes: Sequence[int]) -> Mapping[int, _ClassCounts]:
    """One video's counts by class; classification errors of one class are put on the class that was predicted."""
    counts = {name: _ClassCounts() for name in classes}
    owners = _owners(scene)
    for name in classes:
        _count_class(scene, name, counts, owners)
    return counts


def _owners(scene: VideoFrames) -> list[dict[int, int]]:
    """For each frame, which predicted track (value) belongs to which object (key), over all classes at IoU 0.5."""
    near = {track for frame in scene.frames for track in frame.predictions[(frame.ious >= _OVERLAP).any(axis=0)]}
    frames = [_with_predictions(frame, near) for frame in scene.frames]
    owners: list[dict[int, int]] = [{} for _ in frames]
    if not near:
        return owners
    fit = alignment(frames, len(scene.truth_classes), len(scene.prediction_classes))
    for frame, owner in zip(frames, owners, strict=True):
        rows, columns = frame_matches(frame, fit)
        kept = at_least(frame.ious[rows, columns], np.array([_OVERLAP]))[0]
        owner.update(zip(frame.truths[rows[kept]].tolist(), frame.predictions[columns[kept]].tolist(), strict=True))
    return owners


def _count_class(
    scene: VideoFrames, name: int, counts: Mapping[int, _ClassCounts], owners: Sequence[Mapping[int, int]]
) -> None:
    own = counts[name]
    frames: list[Frame] = []
    candidates: list[set[int]] = []  # by frame: tracks over an object of the class, unless another class owns them
    of_class: list[set[int]] = []  # by frame: candidates and the tracks that carry the class
    for frame, owner in zip(scene.frames, owners, strict=True):
        ours = scene.truth_classes[frame.truths] == name
        taken = {track for object, track in owner.items() if scene.truth_classes[object] != name}
        over = frame.predictions[(frame.ious[ours] >= _OVERLAP).any(axis=0)]
        candidates.append(set(over.tolist()) - taken)
        of_class.append(
            candidates[-1] | set(frame.predictions[scene.prediction_classes[frame.predictions] == name].tolist())
        )
        frames.append(Frame(frame.truths[ours], frame.predictions, frame.ious[ours]))
    near = set().union(*candidates)
    frames = [_with_predictions(frame, near) for frame in frames]
    if not near:
        own.missed += sum(len(frame.truths) for frame in frames)
        own.false_class = np.full(
            len(CLASSIFICATION), float(sum(map(len, of_class)))
        )  # replaces, see the module's text
        return

    sizes = len(scene.truth_classes), len(scene.prediction_classes)
    fit = alignment(frames, *sizes)
    joined = np.zeros((len(LOCALISATION), *sizes))
    for frame, over, carriers in zip(frames, candidates, of_class, strict=True):
        own.false_class += len(carriers) - len(over)
        rows, columns = frame_matches(frame, fit)
        kept = at_least(frame.ious[rows, columns], LOCALISATION)
        tracks = frame.predictions[columns]
        own.found += kept.sum(1)
        own.missed += len(frame.truths) - kept.sum(1)
        own.false += len(over) - (kept & np.isin(tracks, list(over))).sum(1)
        joined[:, frame.truths[rows], tracks] += kept

        strict = kept[-len(CLASSIFICATION) :]
        predicted = scene.prediction_classes[tracks]
        own.right_class += strict[:, predicted == name].sum(1)
        own.wrong_class += strict[:, predicted != name].sum(1)
        for column in np.flatnonzero(predicted != name):
            if int(predicted[column]) in counts:
                counts[int(predicted[column])].false_class += strict[:, column]
    own.association += association_sums(joined, *track_lengths(frames, *sizes))


def _with_predictions(frame: Frame, tracks: set[int]) -> Frame:
    kept = np.isin(frame.predictions, list(tracks))
    return Frame(frame.truths, frame.predictions[kept], frame.ious[:, kept])
