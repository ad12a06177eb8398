"""Thresholds with a stated precision, from a reviewed sample: exact binomial tests in a fixed sequence.

The reviewed detections of a concept are a random sample of those with a score of at least some lowest one. The
hypothesis at a threshold t is "of the detections that score t or more, less than the wanted share are right". Given the
scores, the number of right ones among the n sampled from t on is binomial, so its exact tail is a p-value.
Thresholds are tested from the highest on, in an order that the scores alone decide, each at the full level, until the
first that is not rejected; the last one rejected is the threshold. So the chance that any concept's stated precision is
wrong is at most 1 - confidence (fixed-sequence testing, as in "Learn then Test", Angelopoulos et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LitetextError, short
from ..json_files import read_json
from .concepts import Concept

KIND = "litetext decisions"


@dataclass(frozen=True, slots=True)
class Decision:
    """A detection that was to be reviewed.

    Attributes:
        image: its name.
        concept: of the detection.
        score: of the detection.
        accepted: whether it is right; None where nobody said.
    """

    image: str
    concept: str
    score: float
    accepted: bool | None


@dataclass(frozen=True, slots=True)
class Bound:
    """What a sample proves of a concept.

    Attributes:
        threshold: the lowest that was proven; None where none was.
        reviewed: detections of the sample that score so or more; all of them where none was proven.
        right: of these.
        precision: that was asked for.
        confidence: at which it holds.
        needed: the least number of detections, all of them right, that would prove anything.
    """

    threshold: float | None
    reviewed: int
    right: int
    precision: float
    confidence: float
    needed: int

    def __str__(self) -> str:
        counted = f"{self.right} of {self.reviewed} reviewed are right"
        if self.threshold is None:
            return f"no threshold proven for {self.precision:.0%} ({counted})"
        return f"at least {self.precision:.0%} with {self.confidence:.0%} confidence ({counted})"


def proven_threshold(scores: ArrayLike, right: ArrayLike, precision: float = 0.95, confidence: float = 0.95) -> Bound:
    """Return the lowest threshold at which a sample proves a precision.

    Args:
        scores: [n] of a random sample of a concept's detections.
        right: [n] bool, whether each is right.
        precision: the share that is to be right among all detections that score the threshold or more.
        confidence: the chance, over samples, that the statement holds.

    Raises:
        LitetextError: a share outside 0..1, or arrays of two lengths.
    """
    for name, value in (("precision", precision), ("confidence", confidence)):
        if not 0 < value < 1:
            raise LitetextError(f"{name} must lie between 0 and 1, got {value}")
    score, hit = np.asarray(scores, np.float64), np.asarray(right, bool)
    if score.shape != hit.shape or score.ndim != 1:
        raise LitetextError(f"every score needs one decision, got {score.shape} and {hit.shape}")
    order = np.argsort(-score, kind="stable")
    score, hit = score[order], hit[order]
    needed = _fewest(precision, 1 - confidence, wrong=0)
    bound = Bound(None, len(score), int(hit.sum()), precision, confidence, needed)
    for count in _sequence(score, precision, 1 - confidence):
        right_count = int(hit[:count].sum())
        if _binomial_tail(right_count, count, precision) > 1 - confidence:
            break
        bound = Bound(float(score[count - 1]), count, right_count, precision, confidence, needed)
    return bound


def calibrated(
    concepts: Sequence[Concept], decisions: Iterable[Decision], precision: float = 0.95, confidence: float = 0.95
) -> tuple[list[Concept], dict[str, Bound]]:
    """Return concepts with the thresholds that decisions prove, and what is proven of each that was reviewed.

    Detections that nobody decided on count as wrong, so that leaving out the hard ones proves nothing. Concepts for
    which nothing is proven keep their threshold, and lose what was stated of it before.

    Raises:
        LitetextError: a decision on a concept that there is not.
    """
    by_concept: dict[str, list[Decision]] = {concept.name: [] for concept in concepts}
    for decision in decisions:
        if decision.concept not in by_concept:
            raise LitetextError(f"the decisions are on {decision.concept!r}, which is no concept of this job")
        by_concept[decision.concept].append(decision)
    bounds = {
        name: proven_threshold(
            [one.score for one in several], [bool(one.accepted) for one in several], precision, confidence
        )
        for name, several in by_concept.items()
        if several
    }
    return [_with_bound(concept, bounds.get(concept.name)) for concept in concepts], bounds


def read_decisions(path: Path, job: str) -> list[Decision]:
    """Return the decisions that the page of `litetext review` saved.

    Args:
        path: the file.
        job: the key of the job's model and phrases, of which the decisions must be.

    Raises:
        LitetextError: another file, a malformed one, or one whose detections are of another job, or were not drawn at
            random.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("kind") != KIND or not isinstance(value.get("decisions"), list):
        raise LitetextError(f"{path} holds no decisions; save them from the page that litetext review writes")
    if value.get("job") != job:
        raise LitetextError(f"{path} is of another model or other phrases than the job; review this one")
    if value.get("sample") != "random":
        raise LitetextError(
            f"{path} is of detections chosen by their margin, which prove nothing of the others; "
            "review a random sample: litetext review DIR --sample random"
        )
    return [_decision(entry, f"{path}: decisions[{row}]") for row, entry in enumerate(value["decisions"])]


def _decision(entry: Any, place: str) -> Decision:
    fits = (
        isinstance(entry, dict)
        and isinstance(entry.get("image"), str)
        and isinstance(entry.get("concept"), str)
        and type(entry.get("score")) in (int, float)
        and 0 <= entry["score"] <= 1
        and (entry.get("accepted") is None or isinstance(entry["accepted"], bool))
    )
    if not fits:
        raise LitetextError(f"{place} is {short(entry)}, where an image, concept, score and decision should stand")
    return Decision(entry["image"], entry["concept"], float(entry["score"]), entry.get("accepted"))


def _with_bound(concept: Concept, bound: Bound | None) -> Concept:
    if bound is None:
        return concept
    if bound.threshold is None:
        return replace(concept, calibration=None)
    return replace(concept, threshold=bound.threshold, calibration=str(bound))


def _sequence(score: NDArray[np.float64], precision: float, level: float) -> list[int]:
    """The sizes of the samples to test, the highest threshold first; what is right among them plays no part.

    Where there are twice as many as one wrong detection takes, the sequence begins there, so that a lone mistake among
    the best does not end it. Detections of one score are tested together.
    """
    lenient = _fewest(precision, level, wrong=1)
    first = lenient if len(score) >= 2 * lenient else _fewest(precision, level, wrong=0)
    ends = np.flatnonzero(np.append(score[1:] < score[:-1], True)) + 1
    return [int(end) for end in ends if end >= first]


def _fewest(precision: float, level: float, wrong: int) -> int:
    """The smallest sample that proves a precision though so many of it are wrong."""
    count = wrong + 1
    while _binomial_tail(count - wrong, count, precision) > level:
        count += 1
    return count


def _binomial_tail(right: int, count: int, share: float) -> float:
    """The chance that of ``count`` at least ``right`` are right if each is with the chance ``share``."""
    logs = [
        math.lgamma(count + 1)
        - math.lgamma(one + 1)
        - math.lgamma(count - one + 1)
        + one * math.log(share)
        + (count - one) * math.log1p(-share)
        for one in range(right, count + 1)
    ]
    return min(1.0, math.fsum(math.exp(value) for value in logs))
