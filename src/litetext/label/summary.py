"""What a job found, in numbers: so that an empty dataset is never a silent one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoders import ConceptBank
from ..progress import Progress, no_progress
from ..results import Instances
from ..tokenizer import clean
from .concepts import Concept
from .job import ImageEntry, Job, Outcome

BINS = 20
_LISTED = 1000
_NAMED = 5
_NEAREST = 3
_ENOUGH = 30  # scores from which on their distribution says something
_NEAR = 0.1  # to the threshold
_UNDECIDED = 0.5  # share of scores near the threshold from which on it is doubtful


@dataclass(slots=True)
class ConceptSummary:
    """What became of a concept.

    Attributes:
        name: of the class.
        threshold: lowest score that counted.
        instances: in the dataset.
        images: with an instance.
        histogram: [BINS] how many detections had a score, before thresholds and suppression, in steps from 0 to 1.
        nearest: where it never fired, the concepts that did, the nearest first by what the text encoder makes of them.
        calibration: what is known of the threshold.
        warning: what is doubtful, or "".
    """

    name: str
    threshold: float
    instances: int = 0
    images: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * BINS)
    nearest: list[str] = field(default_factory=list)
    calibration: str | None = None
    warning: str = ""


@dataclass(slots=True)
class Summary:
    """What became of a job.

    Attributes:
        images: given.
        labeled: of them, without the failed and the skipped.
        empty: labelled images in which nothing was found.
        failed: images that could not be labelled.
        duplicates: images whose content an earlier image has.
        skipped: images that look like an earlier one, and are not in the dataset.
        instances: in the dataset.
        splits: images of each split.
        concepts: in the order of the job.
        empty_names: of the images without anything, the first `_LISTED`.
        failures: (name, reason) of the first `_LISTED`.
        new: images that the last run labelled.
        seconds: on the clock, of that run.
    """

    images: int = 0
    labeled: int = 0
    empty: int = 0
    failed: int = 0
    duplicates: int = 0
    skipped: int = 0
    instances: int = 0
    splits: dict[str, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    concepts: list[ConceptSummary] = field(default_factory=list)
    empty_names: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    new: int = 0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float | None:
        """Of the last run; None where it labelled nothing."""
        return self.new / self.seconds if self.new and self.seconds else None

    @property
    def warnings(self) -> list[str]:
        """What its reader must know first."""
        found = [f"{concept.name}: {concept.warning}" for concept in self.concepts if concept.warning]
        silent = [concept.name for concept in self.concepts if not concept.instances]
        if silent and self.instances:
            named = ", ".join(silent[:_NAMED]) + (f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else "")
            found.insert(0, f"never found: {named}; the report names what is nearest")
        if self.labeled and not self.instances:
            found.insert(0, "nothing was found in any image; check the phrases, the thresholds and the model")
        if self.failed:
            found.insert(0, f"{self.failed:,} images could not be labelled; failed.jsonl has the reasons")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return it as ``report.json`` holds it."""
        return {**asdict(self), "images_per_second": self.images_per_second, "warnings": self.warnings}


def summarize(job: Job, outcome: Outcome | None = None, progress: Progress = no_progress) -> Summary:
    """Return what became of a job, in one pass over what it found.

    Args:
        job: labelled to the end.
        outcome: of its last run, for the throughput.
        progress: counts images.
    """
    summary = Summary()
    if outcome is not None:
        summary.new, summary.seconds = outcome.labeled, outcome.seconds
    summary.concepts = [ConceptSummary(one.name, one.threshold, calibration=one.calibration) for one in job.concepts]
    owners, histogram = _owners(job), np.zeros((len(job.concepts), BINS), np.int64)
    store = job.store()
    for number, entry in enumerate(job.entries(), start=1):
        summary.images += 1
        summary.duplicates += bool(entry.duplicate_of)
        if entry.error:
            _note_failure(summary, entry)
        elif entry.near:
            summary.skipped += 1
        else:
            found = store.instances(entry.sha256)
            _count_scores(histogram, found, owners)
            _note_image(summary, entry, job.settled(found), job.settings.val)
        progress(number, None)
    for concept, counts in zip(summary.concepts, histogram.tolist(), strict=True):
        concept.histogram = counts
        concept.warning = _warning(concept)
    _name_nearest(summary, job)
    return summary


def _note_failure(summary: Summary, entry: ImageEntry) -> None:
    summary.failed += 1
    if len(summary.failures) < _LISTED:
        summary.failures.append((entry.name, entry.error))


def _note_image(summary: Summary, entry: ImageEntry, settled: Instances, val: float) -> None:
    summary.labeled += 1
    summary.instances += len(settled)
    summary.splits[entry.split(val)] += 1
    counts = np.bincount(settled.prompt_index, minlength=len(summary.concepts)).tolist()
    for concept, count in zip(summary.concepts, counts, strict=True):
        concept.instances += count
        concept.images += count > 0
    if not len(settled):
        summary.empty += 1
        if len(summary.empty_names) < _LISTED:
            summary.empty_names.append(entry.name)


def _owners(job: Job) -> list[NDArray[np.int64]]:
    """For each phrase that was asked, the concepts that it stands for."""
    words = [{clean(word) for word in concept.asked} for concept in job.concepts]
    return [np.flatnonzero([clean(phrase) in own for own in words]) for phrase in job.phrases]


def _count_scores(histogram: NDArray[np.int64], found: Instances, owners: Sequence[NDArray[np.int64]]) -> None:
    bins = np.clip((found.scores * BINS).astype(np.int64), 0, BINS - 1)
    for phrase, place in zip(found.prompt_index.tolist(), bins.tolist(), strict=True):
        histogram[owners[phrase], place] += 1


def _warning(concept: ConceptSummary) -> str:
    """What the counts and scores of a concept say against it."""
    total, middles = sum(concept.histogram), (np.arange(BINS) + 0.5) / BINS
    counts = np.array(concept.histogram)
    above = int(counts[middles > concept.threshold].sum())
    if not concept.instances and above:
        return f"all {above:,} detections are on objects of a better concept or negative phrase; see --across"
    near = int(counts[np.abs(middles - concept.threshold) < _NEAR].sum())
    if total >= _ENOUGH and near > _UNDECIDED * total:
        return (
            f"{near / total:.0%} of its scores lie within {_NEAR:g} of the threshold {concept.threshold:g}, which so "
            "decides little; review some and calibrate"
        )
    return ""


def _name_nearest(summary: Summary, job: Job) -> None:
    """For concepts that were never found, the nearest that were."""
    fired = [row for row, concept in enumerate(summary.concepts) if concept.instances]
    silent = [row for row, concept in enumerate(summary.concepts) if not concept.instances]
    if not fired or not silent or not job.bank.exists():
        return
    means = _means(ConceptBank(job.bank), job.concepts)
    for row in silent:
        order = np.argsort(-(means[fired] @ means[row]), kind="stable")[:_NEAREST]
        summary.concepts[row].nearest = [summary.concepts[fired[place]].name for place in order.tolist()]


def _means(bank: ConceptBank, concepts: Sequence[Concept]) -> NDArray[np.float32]:
    """Unit vectors [C, D]: the mean token of each concept's first phrase."""
    features = bank.encode([concept.asked[0] for concept in concepts]).numpy()
    real = ~features.mask[:, :, None]
    means = (features.tokens * real).sum(1) / real.sum(1)
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
