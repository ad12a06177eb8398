"""What the study needs of a segmenter: pictures at which any text features can be tried."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..encoders import TextFeatures
from ..prompts import stem
from .tokens import PromptTokenizer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class GalleryImage:
    """One picture, already seen by the vision encoder, and phrases to ask of it.

    Attributes:
        phrases: noun phrases to ask.
        wrong: for each of them a phrase of another noun, with as many tokens.
        soft_masks: text features of P prompts -> [P, h, w], each pixel's probability of belonging to the prompt.
    """

    phrases: Sequence[str]
    wrong: Sequence[str]
    soft_masks: Callable[[TextFeatures], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """The pictures of a study.

    Attributes:
        name: of the segmenter.
        detector: transformers' SAM3 without its text tower, which the scenes' ``soft_masks`` run.
        dim: D, the numbers a text token must have.
        scenes: the pictures.
    """

    name: str
    detector: Any
    dim: int
    scenes: Sequence[GalleryImage]


def with_wrong_nouns(
    phrases: Sequence[str], pool: Sequence[str], tokenizer: PromptTokenizer, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Return those of ``phrases`` for which ``pool`` holds a wrong counterpart, and the counterparts.

    A counterpart has as many tokens (so that features can be compared slot by slot) and another last word; of several,
    one with no word in common is taken where there is one.
    """
    rng = random.Random(seed)
    by_length: dict[int, list[str]] = defaultdict(list)
    for phrase, ids in zip(pool, tokenizer.encode_batch(pool), strict=True):
        by_length[len(ids)].append(phrase)
    kept, wrong = [], []
    for phrase, ids in zip(phrases, tokenizer.encode_batch(phrases), strict=True):
        words = stem(phrase).split()
        others = [other for other in by_length[len(ids)] if stem(other).split()[-1] not in words]
        if others:
            best = [other for other in others if not set(stem(other).split()) & set(words)]
            kept.append(phrase)
            wrong.append(rng.choice(best or others))
    return kept, wrong
