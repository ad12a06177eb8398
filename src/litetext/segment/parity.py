"""How far one implementation is from another, stage by stage: where a conversion, an export or a port goes wrong.

Both are asked the same questions (`stages.StageInputs`). The first stage that is off is where to look: what comes after
inherits its error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from .stages import PhotoStages, Recording

TOLERANCE = 1e-3
"""How far a number may be off by default: as it is, and where the largest is more than 1, as a part of that."""

DETECTION_TOLERANCE = 0.05
"""How far at least the IoU of two masks may be from 1: a pixel on the edge of a small one falls to either side."""


@dataclass(frozen=True, slots=True)
class StageDifference:
    """One stage of two implementations.

    Attributes:
        stage: its name.
        values: how many numbers were compared.
        max: the largest difference; of ids the number of tokens that differ; of detections one minus the IoU of two
            masks, 1 where the other has none.
        mean: over all numbers.
        scale: the largest number of the reference.
        exceeds: whether ``max`` is more than the tolerance times ``scale`` (times 1 where that is smaller), or for
            detections more than `DETECTION_TOLERANCE`, if the tolerance is not even larger.
    """

    stage: str
    values: int
    max: float
    mean: float
    scale: float
    exceeds: bool


@dataclass(frozen=True, slots=True)
class StageParity:
    """Two implementations, stage by stage.

    Attributes:
        implementation, reference: their names.
        tolerance: see `StageDifference`.
        stages: in the order in which they are computed; without ids where one of the two has none.
        detections: how many detections the implementation has, and the reference.
    """

    implementation: str
    reference: str
    tolerance: float
    stages: tuple[StageDifference, ...]
    detections: tuple[int, int]

    @property
    def first_exceeding(self) -> str | None:
        """The first stage that is further off than the tolerance."""
        return next((one.stage for one in self.stages if one.exceeds), None)


def compare(found: Recording, reference: Recording, tolerance: float = TOLERANCE) -> StageParity:
    """Compare two recordings of the same questions.

    Raises:
        LitetextError: a stage of other shapes: the two are of different models, or were asked different questions.
    """
    _check_questions(found, reference)
    stages = tuple(_difference(stage, pairs, tolerance) for stage, pairs in _stages(found, reference) if pairs)
    counts = (_detections(found), _detections(reference))
    return StageParity(found.implementation, reference.implementation, tolerance, stages, counts)


def _check_questions(found: Recording, reference: Recording) -> None:
    if found.questions.prompts != reference.questions.prompts or len(found.photos) != len(reference.photos):
        raise LitetextError(
            f"{found.implementation} and {reference.implementation} were asked different things; "
            "compare recordings of the same prompts and photos"
        )


Pair = tuple[NDArray[Any], NDArray[Any]]


def _stages(found: Recording, reference: Recording) -> Iterator[tuple[str, list[Pair]]]:
    """Every stage's numbers, as pairs of arrays of one shape."""
    if found.ids is not None and reference.ids is not None:
        ids = [_aligned(*rows) for rows in zip(_real(found, found.ids), _real(reference, reference.ids), strict=True)]
        yield "ids", [(np.not_equal(a, b).sum(keepdims=True), np.zeros(1)) for a, b in ids]
    tokens = zip(_real(found, found.text.tokens), _real(reference, reference.text.tokens), strict=True)
    yield "text tokens", [(a[: len(b)], b[: len(a)]) for a, b in tokens]
    photos = list(zip(found.photos, reference.photos, strict=True))
    levels = [pair for a, b in photos for pair in zip(a.features, b.features, strict=False)]
    yield "image features", levels
    read: dict[str, Callable[[PhotoStages], NDArray[Any]]] = {
        "logits": lambda stages: stages.logits,
        "presence": lambda stages: stages.presence_logits,
        "boxes": lambda stages: stages.boxes,
        "masks": lambda stages: stages.mask_logits,
    }
    for stage, of in read.items():
        yield stage, [(of(a), of(b)) for a, b in photos]
    yield "detections", [_unmatched(a, b) for a, b in photos]


def _real(recording: Recording, values: NDArray[Any]) -> list[NDArray[Any]]:
    """The rows of ``values`` [P, L, …], each cut to its prompt's real tokens."""
    lengths = (~recording.text.mask).sum(1)
    return [row[:length] for row, length in zip(values, lengths, strict=True)]


def _aligned(a: NDArray[Any], b: NDArray[Any]) -> Pair:
    """Two rows of ids at one length; no id is -1."""
    length = max(len(a), len(b))
    return np.pad(a, (0, length - len(a)), constant_values=-1), np.pad(b, (0, length - len(b)), constant_values=-1)


def _unmatched(found: PhotoStages, reference: PhotoStages) -> Pair:
    """One minus the IoU of every detection of either with its best partner of the same prompt in the other."""
    iou = found.detection_masks.iou(reference.detection_masks)
    iou = np.where(found.prompt_index[:, None] == reference.prompt_index, iou, 0.0)
    best = np.concatenate([iou.max(1, initial=0.0), iou.max(0, initial=0.0)])
    return 1 - best, np.zeros_like(best)


def _difference(stage: str, pairs: list[Pair], tolerance: float) -> StageDifference:
    for a, b in pairs:
        if a.shape != b.shape:
            raise LitetextError(
                f"{stage} are of shape {a.shape} here and {b.shape} there; the two are of different models"
            )
    differences = np.concatenate([np.abs(a.astype(np.float64) - b).ravel() for a, b in pairs])
    scale = max((float(np.abs(b).max(initial=0)) for _, b in pairs), default=0.0)
    largest = float(differences.max(initial=0))  # NaN if one of them is
    mean = float(differences.mean()) if len(differences) else 0.0
    limit = max(tolerance, DETECTION_TOLERANCE) if stage == "detections" else tolerance * max(1.0, scale)
    return StageDifference(stage, len(differences), largest, mean, scale, not largest <= limit)


def _detections(recording: Recording) -> int:
    return sum(len(stages.scores) for stages in recording.photos)
