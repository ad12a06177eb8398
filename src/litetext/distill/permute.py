"""Other orders of the same words, in tokens: what the consistency loss compares a prompt with.

A prompt's tokens are cut into chunks, some of which may move; a permutation changes their order and nothing else, so
every token has one partner in the permuted prompt and the loss can compare token with token. The order drawn always
reads differently: a plain shuffle leaves a fifth of short prompts as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import numpy as np

from ..errors import choice_error
from ..ragged import Ragged

PermutationMode = Literal["words", "attribute-noun"]
"""``words``: any order of all words; ``attribute-noun``: the noun before what describes it ("car red")."""

FRONT, BACK = 0, 255
"""Chunk numbers of tokens that stay where they are: before and after the chunks that move (1, 2, 3 …)."""

_ARTICLES = frozenset({"a", "an", "the"})
# Where the noun ends: what follows says more about it ("dog on the left", "man who is sitting").
_WORDS_AFTER = (
    "about above across after against along among around at before behind below beneath beside between beyond by "
    "carrying containing down during facing for from holding in inside into is leaning like near next of off on onto "
    "over riding showing sitting sleeping standing that through to toward towards under up wearing which while who "
    "whose with without"
)
_AFTER_NOUN = frozenset(_WORDS_AFTER.split())


class WordTokenizer(Protocol):
    """A tokenizer that never joins words: ids of a prompt with its start and end tokens."""

    def encode_batch(self, prompts: Sequence[str]) -> list[list[int]]: ...


def chunks_of(prompts: Sequence[str], ids: Ragged, tokenizer: WordTokenizer, mode: PermutationMode = "words") -> Ragged:
    """Return uint8 [T]: for every token of ``ids`` the number of its chunk, or `FRONT` or `BACK`.

    Args:
        prompts: N prompts as ``ids`` spell them, cleaned as the tokenizer cleans (lower case matters to articles only).
        ids: their token ids with one start and one end token, perhaps cut to a context.
        tokenizer: what made the ids; each word is tokenized alone, and where the pieces do not add up to the prompt
            (a tokenizer that joins words) nothing moves.
        mode: see `PermutationMode`.
    """
    if mode not in get_args(PermutationMode):
        raise choice_error("permutation mode", mode, get_args(PermutationMode))
    split = [prompt.split() for prompt in prompts]
    known = sorted({word for words in split for word in words})
    pieces = dict(zip(known, (len(word) - 2 for word in tokenizer.encode_batch(known)), strict=True))
    chunks = np.full(len(ids.values), BACK, np.uint8)
    for row, words in enumerate(split):
        start, end = ids.offsets[row : row + 2].tolist()
        numbers = _all_words(words) if mode == "words" else _attributes_and_noun(words)
        labels = [number for word, number in zip(words, numbers, strict=True) for _ in range(pieces[word])]
        room = end - start - 2
        chunks[start] = FRONT
        if len(labels) >= room:  # more than room: the prompt was cut
            chunks[start + 1 : end - 1] = labels[:room]
    return Ragged(chunks, ids.offsets)


def _all_words(words: list[str]) -> list[int]:
    """Every word for itself; what exceeds the numbers there are stays at the end."""
    return [min(number, BACK) for number in range(1, len(words) + 1)]


def _attributes_and_noun(words: list[str]) -> list[int]:
    """1 for what stands before the noun, 2 for the noun; articles before and all that follows stay."""
    start = 1 if words and words[0].lower() in _ARTICLES else 0
    end = next((place for place in range(start, len(words)) if words[place].lower() in _AFTER_NOUN), len(words))
    if len(set(words[start:end])) < 2:
        return [BACK] * len(words)
    return [FRONT] * start + [1] * (end - 1 - start) + [2] + [BACK] * (len(words) - end)


def movable(ids: Ragged, chunks: Ragged) -> np.ndarray:
    """Return bool [N]: prompts with at least one other order, that is with two chunks that move and are not alike."""
    owner = np.repeat(np.arange(len(ids)), ids.lengths)
    moves = (chunks.values != FRONT) & (chunks.values != BACK)
    # Chunks alike in every token (the same word twice) have no other order; comparing sums of hashed ids finds out.
    key = owner * 256 + chunks.values
    groups, group_of = np.unique(key[moves], return_inverse=True)
    spelled = np.zeros(len(groups), np.uint64)
    place = np.arange(len(key)) - np.maximum.accumulate(np.where(np.diff(key, prepend=-1) != 0, np.arange(len(key)), 0))
    with np.errstate(over="ignore"):
        hashed = (ids.values.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        hashed = (hashed ^ (hashed >> np.uint64(29))) * (2 * place.astype(np.uint64) + np.uint64(1))
        np.add.at(spelled, group_of, hashed[moves])
    prompts = groups // 256
    differs = np.zeros(len(ids), bool)
    same_prompt = prompts[1:] == prompts[:-1]
    differs[prompts[1:][same_prompt & (spelled[1:] != spelled[:-1])]] = True
    return differs


def permuted_order(ids: np.ndarray, chunks: np.ndarray, owner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return int64 [t]: which token comes next when every prompt is permuted; drawn evenly from all other orders.

    Args:
        ids: int [t], of prompts that are all `movable`, end to end.
        chunks: int [t], of the same prompts (`chunks_of`).
        owner: int64 [t], rising: the number of the prompt that each token belongs to.
        rng: draws the orders.
    """
    order = np.arange(len(ids))
    count = int(owner[-1]) + 1 if len(owner) else 0
    number = np.where(chunks == BACK, 0, chunks)
    fixed = np.where(chunks == FRONT, -1.0, 2.0)
    same = np.ones(count, bool)
    while same.any():  # at least half of all orders differ, so this ends soon
        tokens = np.flatnonzero(same[owner])
        draws = rng.random((count, int(number.max()) + 1))
        key = np.where(number > 0, draws[owner, number], fixed)[tokens]
        order[tokens] = tokens[np.lexsort((tokens, key, owner[tokens]))]
        same = np.bincount(owner, weights=ids[order] != ids, minlength=count) == 0
    return order


__all__ = ["BACK", "FRONT", "PermutationMode", "chunks_of", "movable", "permuted_order"]
