"""Question 8, the convention gap: what padding and masking do to real tokens, by the length of the prompt.

The same weights run under the encoder's own convention and under the other one SAM3-LiteText meets in the wild
(transformers': padded to 32 with EOT, under an attention mask, positions interpolated).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..encoders import Convention
from .subject import Subject


@dataclass(frozen=True, slots=True)
class ConventionGap:
    """The answer to question 8.

    Attributes:
        first, second: the conventions compared; the first is the encoder's own.
        prompts: prompts compared.
        mean_cosine, min_cosine: of the features of real tokens under the two.
        worst_prompt: the prompt with the lowest mean cosine.
        by_length: real tokens a prompt -> mean cosine.
    """

    first: Convention
    second: Convention
    prompts: int
    mean_cosine: float
    min_cosine: float
    worst_prompt: str
    by_length: dict[int, float]


def convention_gap(subject: Subject, prompts: Sequence[str]) -> ConventionGap | None:
    """Return the gap for ``prompts``, or None for an encoder that has but one convention (a transformers model)."""
    if subject.module is None:
        return None
    from ..encoders import measure_parity

    tokenizer = subject.encoder.tokenizer  # type: ignore[attr-defined]
    found = measure_parity(subject.module, tokenizer, list(prompts), subject.module.config.convention)
    return ConventionGap(
        found.first,
        found.second,
        found.prompts,
        float(np.clip(found.mean_cosine, -1, 1)),
        float(np.clip(found.min_cosine, -1, 1)),
        found.worst_prompt,
        found.by_length,
    )
