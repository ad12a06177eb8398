"""Train and test sets that share no concept: phrases go where the hash of their stem sends them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import LitetextError
from .phrases import stem


@dataclass(frozen=True, slots=True)
class Split:
    """Two lists of phrases in their given order; no stem (see `stem`) occurs in both."""

    train: list[str]
    test: list[str]


def split_by_stem(phrases: Iterable[str], test_share: float = 0.05, *, seed: int = 0) -> Split:
    """Split ``phrases`` so that "a dog", "the dog" and "dogs" stand on one side.

    A phrase's side depends on its stem and ``seed`` alone: adding or reordering phrases moves none of the others.

    Args:
        phrases: normalised phrases.
        test_share: expected share of stems in the test set, 0 to 1.
        seed: another seed gives another split.
    """
    if not 0 <= test_share <= 1:
        raise LitetextError(f"test_share is {test_share}; give a share between 0 and 1")
    split = Split([], [])
    for phrase in phrases:
        (split.test if _draw(stem(phrase), seed) < test_share else split.train).append(phrase)
    return split


def _draw(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on ``text`` and ``seed`` alone, on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big") / 2**64
