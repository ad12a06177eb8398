import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.errors import LitetextError
from litetext.evaluate import evaluate_images, ground_truth_from
from litetext.evaluate.compare import compare, group_metrics, groups_of, headline, words_of

from .world import ground_truth, perfect, shaken, without_names


def scores(document, predictions):
    return evaluate_images(ground_truth_from(document), predictions).scores


@pytest.fixture
def two():
    document = ground_truth(3, pairs=60)
    return scores(document, perfect(document)), scores(document, shaken(document, 3))


def test_the_differences_are_those_of_the_metrics(two):
    first, second = two
    found = compare(first, second, resamples=200)
    for name, change in found.differences.items():
        assert change.difference == pytest.approx(headline(second)[name] - headline(first)[name])
        assert change.low <= change.difference <= change.high
        assert change.clear
    assert found.images == 30
    assert found.pairs == 60


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_a_system_does_not_differ_from_itself(seed):
    document = ground_truth(seed)
    own = scores(document, shaken(document, seed))
    found = compare(own, own, resamples=20, seed=seed)
    assert all(change.difference == change.low == change.high == 0 for change in found.differences.values())
    assert not any(change.clear for change in found.differences.values())
    assert found.flips == ()


def test_swapping_the_systems_turns_the_sign(two):
    one, other = compare(*two, resamples=50), compare(*two[::-1], resamples=50)
    for name, change in one.differences.items():
        back = other.differences[name]
        assert (change.difference, change.low) == pytest.approx((-back.difference, -back.high))
    assert one.to_dict()["won"] == other.to_dict()["lost"]


def test_pairs_of_an_image_without_a_name_are_of_one_image():
    document = without_names()
    first, second = scores(document, perfect(document)), scores(document, [])
    assert (len(first), compare(first, second, resamples=20).images) == (3, 1)


def test_the_bootstrap_draws_whole_images():
    document = ground_truth(3, pairs=60)
    for image in document["images"]:
        image["file_name"] = "one.png"
    first, second = scores(document, perfect(document)), scores(document, shaken(document, 3))
    change = compare(first, second, resamples=20).differences["cgF1"]
    assert change.low == pytest.approx(change.high)  # one image: every draw is the same


def test_flips_are_pairs_that_one_system_got_right(two):
    first, second = two
    found = compare(first, second, resamples=10)
    there = first.truths > 0
    wrong = there != (second.predictions > 0)
    assert {flip.pair_id for flip in found.flips} == {first.pairs[row].id for row in np.flatnonzero(wrong)}
    assert not any(flip.won for flip in found.flips)


def test_groups_partition_the_pairs(two):
    groups = groups_of(two[0], {"red", "ball", "small"})
    assert set(groups) == {"prompt_length", "instances", "words"}
    for parts in groups.values():
        assert np.stack(list(parts.values())).sum(axis=0).tolist() == [1] * len(two[0])
    seen = groups["words"]["all seen in training"]
    for pair, inside in zip(two[0].pairs, seen, strict=True):
        assert inside == (set(words_of(pair.prompt)) <= {"red", "ball", "small"})


def test_groups_leave_undefined_numbers_out(two):
    rows = groups_of(two[0])["instances"]
    assert group_metrics(two[0], rows["none"]) == {"cgF1": None, "IL_MCC": None, "pmF1": None, "presence": 100.0}
    positive = group_metrics(two[0], rows["1"])
    assert positive["cgF1"] is None
    assert positive["pmF1"] == pytest.approx(100, abs=0.1)


def test_other_pairs_are_refused(two):
    with pytest.raises(LitetextError, match="scored on different pairs"):
        compare(two[0], two[1].select(range(10)))
