"""From what each phrase found to the objects of each concept: thresholds, synonyms, negatives, suppression, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..results import Instances
from ..results.suppression import kept_rows
from ..tokenizer import clean
from ..validation import check_ranges, ranged
from .concepts import Concept


@dataclass(frozen=True, slots=True)
class Rules:
    """When two masks are one object.

    Attributes:
        iou: above this IoU they are, whatever their concepts.
        containment: of one concept, the worse goes too when more than this share of it lies inside the better; None:
            never.
        across: what of that holds between different concepts: ``"overlap"``, the IoU alone; ``"containment"``, both, so
            that parts go beside the whole; ``"off"``, neither.
    """

    iou: float = ranged(0, 1, 0.7)
    containment: float | None = ranged(0, 1, 0.9)
    across: Literal["overlap", "containment", "off"] = "overlap"

    def __post_init__(self) -> None:
        check_ranges(self)


def settled(found: Instances, concepts: Sequence[Concept], rules: Rules) -> Instances:
    """Return the objects of an image by concept.

    1. A phrase's instances count from its concept's threshold on; so do those of the concept's negatives.
    2. Among those of one concept, what repeats a better one goes; what repeats a better negative goes with it.
    3. Where several concepts are on one object, the higher priority stays, of equals the better score.
    4. Of each concept the best ``max_count`` stay.

    Args:
        found: by phrase, as `Store.instances` gives it.
        concepts: of the job.
        rules: when two are one.

    Returns:
        Instances whose prompts are the concepts, ordered by concept, then by falling score.
    """
    rows, owners = _candidates(found, concepts, rules)
    if rules.across != "off" and len(rows):
        containment = rules.containment if rules.across == "containment" else None
        rank = _ranks(found.scores[rows], np.array([concepts[owner].priority for owner in owners]))
        kept = kept_rows(found.masks[rows], rank, np.zeros(len(rows), np.int64), rules.iou, containment)
        rows, owners = rows[kept], owners[kept]
    order = np.lexsort((-found.scores[rows], owners))
    rows, owners = rows[order], owners[order]
    within = np.array([np.count_nonzero(owners[:row] == owner) for row, owner in enumerate(owners)], np.int64)
    most = np.array([concepts[owner].max_count or len(rows) for owner in owners], np.int64)
    rows, owners = rows[within < most], owners[within < most]
    return Instances(
        size=found.size,
        prompts=tuple(concept.name for concept in concepts),
        presence=_presence(found, concepts),
        boxes=found.boxes[rows],
        masks=found.masks[rows],
        scores=found.scores[rows],
        prompt_index=owners,
    )


def _candidates(
    found: Instances, concepts: Sequence[Concept], rules: Rules
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of each concept that pass its threshold and its own suppression, and the concept of each."""
    phrases = _rows_by_phrase(found)
    rows: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    owners: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for owner, concept in enumerate(concepts):
        own, against = (_chosen(found, phrases, words, concept) for words in (concept.asked, concept.negatives))
        both = np.concatenate([own, against])
        groups = np.zeros(len(both), np.int64)
        kept = kept_rows(found.masks[both], found.scores[both], groups, rules.iou, rules.containment)
        rows.append(both[kept[kept < len(own)]])
        owners.append(np.full(len(rows[-1]), owner))
    return np.concatenate(rows), np.concatenate(owners)


def _rows_by_phrase(found: Instances) -> dict[str, NDArray[np.int64]]:
    return {clean(phrase): np.flatnonzero(found.prompt_index == row) for row, phrase in enumerate(found.prompts)}


def _chosen(
    found: Instances, phrases: dict[str, NDArray[np.int64]], words: Sequence[str], concept: Concept
) -> NDArray[np.int64]:
    rows = [phrases[word] for word in dict.fromkeys(map(clean, words))]
    every = np.concatenate([np.zeros(0, np.int64), *rows])
    return every[found.scores[every] >= np.float32(concept.threshold)]


def _ranks(scores: NDArray[np.float32], priorities: NDArray[np.int64]) -> NDArray[np.float32]:
    """A number for each row that is higher the better it is: by priority, then by score, then by place."""
    order = np.lexsort((-np.arange(len(scores)), scores, priorities))
    ranks = np.empty(len(scores), np.float32)
    ranks[order] = np.arange(len(scores))
    return ranks


def _presence(found: Instances, concepts: Sequence[Concept]) -> NDArray[np.float32]:
    """The belief that a concept is there: that in its best phrase."""
    by_phrase = {clean(phrase): float(value) for phrase, value in zip(found.prompts, found.presence, strict=True)}
    return np.array([max(by_phrase[clean(word)] for word in concept.asked) for concept in concepts], np.float32)
