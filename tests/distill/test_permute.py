"""A permutation moves words, all their tokens with them, and always reads differently."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.distill.permute import chunks_of, movable, permuted_order
from litetext.distill.preparation import prompt_ids
from litetext.errors import LitetextError
from litetext.ragged import Ragged
from litetext.tokenizer import Tokenizer

TOKENIZER = Tokenizer()
WORDS = st.sampled_from(["a", "dog", "cat", "umbrella", "zxqv", "don't", "fire-truck", "the", "on", "red", "red"])
PROMPTS = st.lists(st.lists(WORDS, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=5)


def permuted(prompts: list[str], mode: str = "words", seed: int = 0, context: int = 32) -> list[str | None]:
    """Every prompt in another order, as text; None where it has none."""
    ids = prompt_ids(prompts, TOKENIZER, context)
    chunks = chunks_of(prompts, ids, TOKENIZER, mode)  # type: ignore[arg-type]
    moves = movable(ids, chunks)
    texts: list[str | None] = [None] * len(prompts)
    if moves.any():
        rows = np.flatnonzero(moves)
        part, lengths = ids.select(rows), ids.lengths[rows]
        owner = np.repeat(np.arange(len(rows)), lengths)
        order = permuted_order(part.values, chunks.take(rows), owner, np.random.default_rng(seed))
        moved = Ragged(part.values[order], part.offsets)
        for place, row in enumerate(rows):
            assert sorted(moved[place]) == sorted(part[place])
            texts[row] = text_of(moved[place].tolist())
    return texts


def text_of(ids: list[int]) -> str:
    """The words that ids between start and end token spell."""
    return "".join(map(TOKENIZER.decode_token, ids[1:-1])).replace("</w>", " ").strip()


@given(PROMPTS, st.integers(0, 99))
def test_every_order_is_one_of_the_words_and_another_one(prompts: list[str], seed: int) -> None:
    for prompt, other in zip(prompts, permuted(prompts, seed=seed), strict=True):
        if len(set(prompt.split())) < 2:
            assert other is None
        else:
            assert other is not None
            (ids,) = TOKENIZER.encode_batch([prompt])
            spelled = text_of(ids)  # "fire-truck" comes back as "fire - truck"
            assert sorted(other.split()) == sorted(spelled.split()) and other != spelled


def test_all_other_orders_are_drawn_alike() -> None:
    counts: dict[str | None, int] = {}
    for other in permuted(["big red dog"] * 1000):
        counts[other] = counts.get(other, 0) + 1
    assert len(counts) == 5 and "big red dog" not in counts
    assert min(counts.values()) > 140  # 200 expected; five standard deviations below


def test_attribute_noun_puts_the_noun_first_and_nothing_else() -> None:
    prompts = ["a small red car on the left", "dog", "fire truck", "man who is sitting", "dog dog", "the red the"]
    assert permuted(prompts, "attribute-noun") == [
        "a car small red on the left", None, "truck fire", None, None, "the the red",
    ]  # fmt: skip


def test_a_cut_prompt_keeps_its_end_token() -> None:
    (other,) = permuted(["red umbrella dog cat"], context=5)  # SOT red umbrella dog EOT
    assert other is not None and sorted(other.split()) == ["dog", "red", "umbrella"]


def test_an_unknown_mode_lists_the_modes() -> None:
    with pytest.raises(LitetextError, match="unknown permutation mode 'letters'; choose one of: attribute-noun, words"):
        chunks_of(["dog"], prompt_ids(["dog"], TOKENIZER, 8), TOKENIZER, "letters")  # type: ignore[arg-type]
