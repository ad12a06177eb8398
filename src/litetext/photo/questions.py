"""Phrases asked of a scene: what is there and what is not, in the words people use.

As in `mini`'s world truth has three values: a phrase for which some object is "neither" is not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mini.art import COLORS
from .concepts import Concepts, described, plural

Rng = np.random.Generator

MOST_TARGETS = 40

_NEVER_ABSENT = ("food", "furniture", "flower", "toy", "tableware", "sports equipment", "weapon", "home appliance",
                 "kitchen appliance", "hand tool", "timepiece", "lamp")  # fmt: skip
"""What a photograph may hold without its annotators having outlined it."""

_COMMON = ("person", "car", "chair", "dining table", "potted plant", "boat", "bench", "book", "bottle", "cup", "bird")
"""What a photograph of something else may hold, where only that something is outlined."""

PLACES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
SIZES = {"small": ("small", "little"), "large": ("large", "big")}


@dataclass(frozen=True, slots=True)
class Asked:
    """A phrase and its answer.

    Attributes:
        text: the phrase.
        concept: the number of the concept it names.
        targets: the numbers (from 1) of the things it is true of; empty for a negative.
        truth: for every thing of the scene 1, 0, or -1 where one could argue.
        plain: whether it says nothing but the concept.
    """

    text: str
    concept: int
    targets: tuple[int, ...]
    truth: tuple[int, ...]
    plain: bool


class Questions:
    """Draws phrases about scenes.

    Attributes:
        common: bool, by concept: may be there though nobody outlined it, where only one object of a photograph is.

    Args:
        concepts: what can be asked for.
        facts: the scenes (`PhotoScene.facts`) that say how often each concept occurs: negatives are drawn alike, so
            that a word alone tells nothing about whether it is true.
        negatives: share of phrases that are true of nothing.
        attributes: share of phrases with a colour, a place or a size.
    """

    def __init__(
        self, concepts: Concepts, facts: Sequence[dict[str, Any]], negatives: float = 0.45, attributes: float = 0.12
    ) -> None:
        self.concepts, self.negatives, self.attributes = concepts, negatives, attributes
        counts = np.zeros(len(concepts))
        for one in facts:
            for number in {thing["concept"] for thing in one["things"]}:
                counts[number] += 1
        self.rarity = 1 / np.sqrt(np.maximum(counts, 1))
        asked = counts * self.rarity
        kinds = np.arange(len(concepts)) >= concepts.labels
        asked[kinds] = 0.12 * asked.sum() / max(int(kinds.sum()), 1)
        self._often = asked / asked.sum()
        names = [concept.name for concept in concepts.all]
        self._never_absent = np.array([name in _NEVER_ABSENT for name in names])
        self.common = np.array([name in _COMMON for name in names]) | kinds | self._never_absent
        truth = concepts.truth
        # Two concepts are alike if a kind (other than the widest) is true of both.
        wide = np.array([name in ("animal", "vehicle", "food") for name in names])
        shared = (truth[:, kinds & ~wide] == 1).astype(np.int64)
        self._alike = (shared @ shared.T > 0) & ~np.eye(len(names), dtype=bool)

    def draw(self, facts: dict[str, Any], rng: Rng, count: int, flipped: bool = False) -> list[Asked]:
        """Return up to ``count`` different phrases of a scene, which may be mirrored."""
        things = facts["things"]
        found: dict[str, Asked] = {}
        for _ in range(6 * count):
            if len(found) == count:
                break
            positive = bool(things) and rng.random() >= self.negatives
            asked = self._positive(facts, rng, flipped) if positive else self._negative(facts, rng, flipped)
            if asked is not None:
                found.setdefault(asked.text, asked)
        return list(found.values())

    def possible(self, facts: dict[str, Any], concept: int) -> bool:
        """Can one say, of this scene, where a concept is?"""
        truth = self.concepts.truth
        return not any(truth[other, concept] != 0 for other in facts["unclear"])

    def words(self, concept: int, rng: Rng) -> str:
        """Return a name of a concept, the first of its words most often."""
        words = self.concepts.all[concept].words
        return words[0] if len(words) == 1 or rng.random() < 0.55 else words[int(rng.integers(1, len(words)))]

    def _positive(self, facts: dict[str, Any], rng: Rng, flipped: bool) -> Asked | None:
        present = sorted({thing["concept"] for thing in facts["things"]})
        weights = self.rarity[present]
        concept = int(rng.choice(present, p=weights / weights.sum()))
        if rng.random() < 0.15:
            above = np.flatnonzero(self.concepts.truth[concept] == 1)
            concept = int(rng.choice(above))
        return self._asked(facts, rng, concept, flipped, positive=True)

    def _negative(self, facts: dict[str, Any], rng: Rng, flipped: bool) -> Asked | None:
        present = sorted({thing["concept"] for thing in facts["things"]})
        kind = rng.random()
        if kind < 0.15 and present:  # the concept is there, but not so
            return self._asked(facts, rng, int(rng.choice(present)), flipped, positive=False)
        chances = self._often.copy()
        if kind < 0.45 and present:
            chances *= self._alike[present].any(0)
        chances[self._never_absent if facts["exhaustive"] else self.common] = 0
        if chances.sum() == 0:
            return None
        concept = int(rng.choice(len(chances), p=chances / chances.sum()))
        return self._asked(facts, rng, concept, flipped, positive=False)

    def _asked(self, facts: dict[str, Any], rng: Rng, concept: int, flipped: bool, positive: bool) -> Asked | None:
        """Return a phrase for a concept, perhaps with an attribute, if it has one answer and that is as wanted."""
        if not self.possible(facts, concept):
            return None
        things = facts["things"]
        truth = [int(self.concepts.truth[thing["concept"], concept]) for thing in things]
        there = any(truth)
        attribute = ""
        if there and (not positive or rng.random() < self.attributes):
            attribute = str(rng.choice([*COLORS, *COLORS, *PLACES, *SIZES]))
            truth = [_both(value, _is(thing, attribute, flipped)) for value, thing in zip(truth, things, strict=True)]
        targets = tuple(number for number, value in enumerate(truth, start=1) if value == 1)
        if -1 in truth or bool(targets) != positive or len(targets) > MOST_TARGETS:
            return None
        return Asked(self._phrase(concept, attribute, rng), concept, targets, tuple(truth), not attribute)

    def _phrase(self, concept: int, attribute: str, rng: Rng) -> str:
        word = self.words(concept, rng)
        if rng.random() < 0.3:
            word = plural(word)
        before = attribute if attribute in COLORS else str(rng.choice(SIZES[attribute])) if attribute in SIZES else ""
        article = "the " if rng.random() < 0.12 else ""
        return article + described([before, word, PLACES.get(attribute, "")])


def _both(first: int, second: int) -> int:
    """Both true, either false, or neither."""
    return 0 if first == 0 or second == 0 else 1 if first == 1 and second == 1 else -1


def _is(thing: dict[str, Any], attribute: str, flipped: bool) -> int:
    """Is an attribute true of a thing? 1, 0, or -1."""
    x0, y0, x1, y1 = thing["box"]
    if attribute in COLORS:
        known = thing["truths"].get(attribute)
        return -1 if known is None else int(known)
    if attribute in SIZES:
        large = 1 if thing["area"] > 0.15 else 0 if thing["area"] < 0.05 else -1
        return large if attribute == "large" or large == -1 else 1 - large
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    x = 1 - x if flipped else x
    along = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}[attribute]
    return 1 if along < 0.42 else 0 if along > 0.55 else -1


def boxes_of(facts: dict[str, Any], flipped: bool) -> NDArray[np.float32]:
    """Return the boxes of a scene's things [n, 4]: centre x, centre y, width, height."""
    corners = np.array([thing["box"] for thing in facts["things"]], np.float32).reshape(-1, 4)
    if flipped:
        corners = np.stack([1 - corners[:, 2], corners[:, 1], 1 - corners[:, 0], corners[:, 3]], 1)
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], 1)
