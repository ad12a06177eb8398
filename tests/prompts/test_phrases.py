"""What counts as one phrase, one concept, another order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.errors import LitetextError
from litetext.prompts import article_free, normalise, permute_words, split_by_stem, stem
from litetext.prompts.phrases import merge_key

WORDS = st.lists(st.sampled_from(["dog", "cat", "red", "bus", "box", "a", "the"]), min_size=1, max_size=6)


@given(st.text())
def test_normalise_is_idempotent_and_keeps_the_words(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert normalise(text).split() == text.split()


def test_articles_are_cut_only_in_front_of_a_word() -> None:
    assert [article_free(p) for p in ["a dog", "The dog", "an owl", "a", "another dog", "dog on a mat"]] == [
        "dog", "dog", "owl", "a", "another dog", "dog on a mat",
    ]  # fmt: skip


def test_merge_keys_compose_and_unknown_ones_are_refused() -> None:
    assert merge_key(["case", "article"])("The Dog") == merge_key(["article", "case"])("a dog") == "dog"
    assert merge_key([])("The Dog") == "The Dog"
    with pytest.raises(LitetextError, match=r"unknown merge 'stem'; choose one of: article, case"):
        merge_key(["stem"])


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        (["a dog", "the Dog", "dogs", "dog."], "dog"),
        (["two berries", "two berry"], "two berry"),
        (["glass", "a glass"], "glass"),
        (["the bus"], "bus"),
        (["tennis-ball", "tennis balls"], "tenni ball"),  # an S-stemmer cuts "tennis" too; only sameness matters
        (["!;"], "!;"),
    ],
)
def test_forms_of_one_concept_share_a_stem(forms: list[str], expected: str) -> None:
    assert {stem(form) for form in forms} == {expected}


@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=60), st.integers(0, 5), st.floats(0, 1))
def test_split_never_straddles_a_stem_and_loses_nothing(phrases: list[str], seed: int, share: float) -> None:
    split = split_by_stem(phrases, share, seed=seed)
    assert not {stem(p) for p in split.train} & {stem(p) for p in split.test}
    assert sorted(split.train + split.test) == sorted(phrases)


def test_split_is_stable_when_phrases_are_added_and_near_its_share() -> None:
    phrases = [f"thing{n:05d}" for n in range(4000)]
    before, after = split_by_stem(phrases[:2000], 0.2), split_by_stem(phrases[::-1], 0.2)
    assert set(before.test) == set(after.test) & set(phrases[:2000])
    assert 0.17 < len(after.test) / 4000 < 0.23
    assert split_by_stem(phrases, 0.2, seed=1).test != split_by_stem(phrases, 0.2).test
    with pytest.raises(LitetextError, match="test_share"):
        split_by_stem(phrases, 1.5)


@given(WORDS.map(" ".join), st.integers())
def test_a_permutation_always_reads_differently(phrase: str, seed: int) -> None:
    permuted = permute_words(phrase, random.Random(seed))
    if len(set(phrase.split())) < 2:
        assert permuted is None
    else:
        assert permuted != phrase
        assert sorted(permuted.split()) == sorted(phrase.split())  # type: ignore[union-attr]


def test_all_other_orders_are_drawn() -> None:
    rng = random.Random(0)
    assert len({permute_words("x y z", rng) for _ in range(200)}) == 5
