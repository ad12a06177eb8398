"""Phrases: each has one right answer, and a word alone says nothing about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litetext.photo.concepts import Concepts
from litetext.photo.questions import Questions


def _thing(concept: int, x: float = 0.5, area: float = 0.1, **truths: bool | None) -> dict[str, Any]:
    return {"concept": concept, "box": [x - 0.1, 0.4, x + 0.1, 0.6], "area": area, "truths": truths}


@pytest.fixture(scope="module")
def facts(concepts: Concepts) -> dict[str, Any]:
    dog, car = concepts.coco["dog"], concepts.coco["car"]
    things = [_thing(dog, 0.2, red=True, blue=False), _thing(dog, 0.8, red=False, blue=True), _thing(car, 0.5)]
    return {"things": things, "unclear": [concepts.coco["person"]], "exhaustive": True}


def test_targets_are_what_the_phrase_is_true_of(concepts: Concepts, facts: dict[str, Any]) -> None:
    questions = Questions(concepts, [facts], negatives=0.4, attributes=0.5)
    rng = np.random.default_rng(0)
    asked = [one for _ in range(200) for one in questions.draw(facts, rng, 6)]
    assert {bool(one.targets) for one in asked} == {True, False}
    for one in asked:
        assert one.concept != concepts.coco["person"]  # a crowd of them is there, without outlines
        assert one.targets == tuple(row for row, truth in enumerate(one.truth, start=1) if truth == 1)
        assert -1 not in one.truth
        if "red" in one.text and "dog" in one.text:
            assert one.targets == (1,)
        if "vehicle" in one.text and one.plain:
            assert one.targets == (3,)


def test_a_mirrored_scene_swaps_left_and_right(concepts: Concepts, facts: dict[str, Any]) -> None:
    questions = Questions(concepts, [facts], attributes=1.0)
    found: dict[bool, set[tuple[int, ...]]] = {False: set(), True: set()}
    for flipped in (False, True):
        rng = np.random.default_rng(1)
        for _ in range(400):
            for one in questions.draw(facts, rng, 4, flipped):
                if one.concept == concepts.coco["dog"] and one.text.endswith("on the left"):
                    found[flipped].add(one.targets)
    assert found == {False: {(1,)}, True: {(2,)}}


def test_nobody_is_said_to_be_absent_from_a_photograph_of_something_else(concepts: Concepts) -> None:
    facts = {"things": [_thing(concepts.caltech["anchor"])], "unclear": [], "exhaustive": False}
    questions = Questions(concepts, [facts, {**facts, "things": [_thing(concepts.coco["person"])]}])
    rng = np.random.default_rng(2)
    asked = [one for _ in range(100) for one in questions.draw(facts, rng, 4)]
    assert concepts.coco["person"] not in {one.concept for one in asked}
