"""The world is the same for everyone, its masks are exact, and its phrases are true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.errors import LitetextError
from litetext.mini.art import COLORS, TINTS, icons_of, sprite
from litetext.mini.concepts import CONCEPTS, NEW_LOOK, STYLES
from litetext.mini.export import draw_pairs, statistics
from litetext.mini.language import PHRASE_KINDS, Query, Traits, phrase, phrases
from litetext.mini.world import MAX_COUNT, MAX_OBJECTS, TRAINING_STYLES, World, generator

KNOWN = [concept.name for concept in CONCEPTS[:30]]


@pytest.fixture(scope="module")
def world() -> World:
    return World(KNOWN, size=96)


def test_holds_many_concepts_with_distinct_words_in_three_styles() -> None:
    assert len(CONCEPTS) >= 100
    words = [word for concept in CONCEPTS for word in concept.words]
    assert len(words) == len(set(words))
    for style in TRAINING_STYLES:
        assert {concept.icon for concept in CONCEPTS} <= icons_of(style)
    assert len(TRAINING_STYLES) >= 3
    assert NEW_LOOK in STYLES and NEW_LOOK not in TRAINING_STYLES
    assert len(icons_of(NEW_LOOK)) >= 100


@given(seed=st.integers(0, 2**31), index=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_scene_is_a_function_of_seed_and_index(seed: int, index: int) -> None:
    one, other = (World(KNOWN, size=64).scene(generator(seed, index)) for _ in range(2))
    assert one.image.tobytes() == other.image.tobytes()
    assert one.instances.tobytes() == other.instances.tobytes()


def test_scenes_of_other_seeds_differ(world: World) -> None:
    assert not np.array_equal(world.scene(generator(1, 0)).image, world.scene(generator(2, 0)).image)


def test_masks_are_exact(world: World) -> None:
    for index in range(40):
        scene = world.scene(generator(3, index))
        assert 0 <= len(scene.objects) <= MAX_OBJECTS
        assert set(np.unique(scene.instances)) <= set(range(len(scene.objects) + 1))
        for number, thing in enumerate(scene.objects):
            mask = scene.mask(number)
            x0, y0, x1, y1 = thing.box
            assert mask.sum() == thing.area > 0
            assert mask[y0:y1, x0:x1].sum() == thing.area
            assert mask[y0].any() and mask[y1 - 1].any() and mask[:, x0].any() and mask[:, x1 - 1].any()


def test_pairs_have_one_right_answer(world: World) -> None:
    for index in range(60):
        rng = generator(4, index)
        scene = world.scene(rng)
        for pair in world.pairs(scene, rng, 6) if scene.objects else ():
            truths = [pair.query.truth(thing.traits) for thing in scene.objects]
            assert None not in truths
            assert pair.targets == tuple(place for place, truth in enumerate(truths) if truth)
            assert (pair.negative is None) == bool(pair.targets)
            assert len(pair.targets) <= MAX_OBJECTS
            present = {thing.traits.concept for thing in scene.objects}
            if pair.negative == "wrong attribute":
                assert pair.query.concept in present
            elif pair.negative == "same kind":
                assert pair.query.concept not in present
                assert pair.query.concept.kind in {concept.kind for concept in present}
            elif pair.negative == "shared attribute":
                assert pair.query.concept not in present
                assert any(
                    all(thing.traits.truths[attribute] for attribute in pair.query.attributes)
                    for thing in scene.objects
                )


def test_shares_are_as_promised(world: World) -> None:
    figures = statistics(draw_pairs(world, 5, 1200))
    assert figures["pairs"] == 1200
    assert 0.4 <= figures["negative_share"] <= 0.6
    assert 0.42 <= figures["hard_share_of_negatives"] <= 0.65
    assert 3.5 <= figures["objects_a_scene"] <= 5
    assert 6 < figures["most_instances_a_pair"] <= MAX_COUNT
    assert all(number > 50 for number in figures["phrase_kinds"].values())
    assert set(figures["phrase_kinds"]) == set(PHRASE_KINDS)
    assert all(number > 20 for number in figures["negatives_by_kind"].values())
    assert figures["concepts_asked_for"] == len(KNOWN)


def test_a_tint_is_seen_and_true() -> None:
    for color in COLORS:
        art = sprite("banana", "noto", color)
        mean = art.rgba[art.rgba[..., 3] > 127][:, :3].mean(0)
        distances = {
            name: np.linalg.norm(mean / mean.max() - np.array(tint) / max(tint)) for name, tint in TINTS.items()
        }
        assert min(distances, key=lambda name: distances[name]) == color
        assert [name for name, truth in art.truths.items() if truth] == [color]


def test_natural_colours_are_what_people_say() -> None:
    assert sprite("red-apple", "noto").truths["red"] is True
    assert sprite("cactus", "twemoji").truths["green"] is True
    assert sprite("whale", "fluent").truths["blue"] is True
    assert sprite("cactus", "noto").truths["red"] is False


def test_truth_has_three_values() -> None:
    banana, car = CONCEPTS[0], CONCEPTS[1]
    traits = Traits(banana, {"red": False, "yellow": True, "small": None})
    assert Query(banana).truth(traits) is True
    assert Query(car).truth(traits) is False
    assert Query(banana, color="yellow").truth(traits) is True
    assert Query(banana, color="yellow", size="small").truth(traits) is None
    assert Query(banana, color="red", size="small").truth(traits) is False


@given(seed=st.integers(0, 2**31), kind=st.sampled_from(PHRASE_KINDS))
@settings(max_examples=60, deadline=None)
def test_phrases_name_all_they_ask_for(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    concept = CONCEPTS[int(rng.integers(len(CONCEPTS)))]
    text = phrase(Query(concept, "red", None, "left"), rng, kind)
    assert "red" in text and "left" in text
    assert any(word in text for word in concept.words)
    assert "  " not in text and text == text.strip()


def test_bad_choices_are_named() -> None:
    with pytest.raises(LitetextError, match="no concept 'unicorn'"):
        World(["unicorn"])
    with pytest.raises(LitetextError, match="unknown drawing style 'oil'"):
        World(styles=["oil"])


def test_phrases_without_a_scene_are_distinct_and_speak_of_their_concepts() -> None:
    concepts = CONCEPTS[:3]
    found = phrases(concepts, 400, 1)
    assert found == phrases(concepts, 400, 1) and len(set(found)) == 400
    words = {word for concept in concepts for word in concept.words}
    assert all(any(word in phrase for word in words) for phrase in found)
    only = phrases(concepts, 400, 1, lambda query: query.color == "red")
    assert only and all("red" in phrase.split() for phrase in only)
