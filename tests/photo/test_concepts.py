"""Meanings: what a label says an object is, and what it leaves open."""

from __future__ import annotations

from pathlib import Path

import pytest

from litetext.errors import LitetextError
from litetext.photo.concepts import CALTECH, COCO, Concepts, plural
from litetext.photo.wordnet import WordNet


def test_a_label_is_its_kind_and_leaves_open_what_lies_below(concepts: Concepts) -> None:
    number = {concept.name: row for row, concept in enumerate(concepts.all)}

    def truth(thing: str, asked: str) -> int:
        return int(concepts.truth[number[thing], number[asked]])

    assert truth("dog", "dog") == 1
    assert truth("dog", "animal") == 1
    assert truth("dog", "cat") == 0
    assert truth("flamingo", "bird") == 1
    assert truth("bird", "flamingo") == -1  # a bird may be one
    assert truth("bus", "vehicle") == 1
    assert truth("truck", "car") == -1  # people differ


def test_every_category_has_a_concept_and_shared_meanings_one(concepts: Concepts) -> None:
    assert set(concepts.coco) == set(COCO) and len(concepts.coco) == 80
    assert set(concepts.caltech) == set(CALTECH)
    assert concepts.caltech["airplanes"] == concepts.coco["airplane"]
    assert concepts.caltech["cougar_face"] == concepts.caltech["cougar_body"]
    assert all(number < concepts.labels for number in concepts.caltech.values())


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("dog", "dogs"), ("bus", "buses"), ("bench", "benches"), ("puppy", "puppies"), ("knife", "knives"),
        ("toy", "toys"), ("computer mouse", "computer mice"), ("pair of skis", "pair of skis"), ("person", "people"),
    ],
)  # fmt: skip
def test_plurals(word: str, expected: str) -> None:
    assert plural(word) == expected


def test_wordnet_numbers_meanings_and_climbs(wordnet: WordNet) -> None:
    mouse = wordnet.sense("mouse#4")
    assert mouse.words == ("mouse",) and mouse.offset == wordnet.senses["mouse"][3]
    names = [wordnet.synsets[offset].words[0] for offset in wordnet.ancestors(wordnet.sense("flamingo").offset)]
    assert names == ["bird", "animal", "physical object"]
    with pytest.raises(LitetextError, match="no noun 'mouse#9'"):
        wordnet.sense("mouse#9")


def test_a_folder_without_wordnet_is_named(tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match=r"holds no data\.noun; give the dict folder"):
        WordNet(tmp_path)
