"""How far one encoder's features are from another's, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..tokenizer import Tokenizer
from .config import EncoderConfig
from .features import TextEncoder
from .trimming import real_lengths

if TYPE_CHECKING:
    from .runtime import OnnxTextEncoder
    from .torch_encoder import TorchTextEncoder


@dataclass(frozen=True)
class FeatureDifference:
    """How far some features are from the reference's, over the real tokens of some prompts.

    Attributes:
        prompts, tokens: how many were compared.
        mean_cosine, min_cosine: cosine of a token, over all of them and the lowest.
        error_worst: the largest relative error of a token, |a - b| / |b|.
        max_abs: the largest difference of any number.
        worst_prompt: the prompt with the token of lowest cosine.
    """

    prompts: int
    tokens: int
    mean_cosine: float
    min_cosine: float
    error_worst: float
    max_abs: float
    worst_prompt: str


def measure_difference(
    encoder: TextEncoder, reference: TorchTextEncoder | OnnxTextEncoder, prompts: Sequence[str], batch: int = 64
) -> FeatureDifference:
    """Compare the features of ``prompts``, ``batch`` at a time, on the tokens that are real to ``reference``."""
    errors, cosines, largest, owners = [], [], 0.0, []
    for start in range(0, len(prompts), batch):
        part = list(prompts[start : start + batch])
        real = _real(reference.tokenizer, reference.config, part)
        ours, theirs = encoder.encode(part).numpy(), reference.encode(part).numpy()
        a, b = (features.tokens[real].astype(np.float64) for features in (ours, theirs))
        largest = max(largest, float(np.abs(a - b).max()))
        length = np.linalg.norm(b, axis=1)
        errors.append(np.linalg.norm(a - b, axis=1) / length)
        cosines.append((a * b).sum(1) / (np.linalg.norm(a, axis=1) * length))
        owners.append(start + np.nonzero(real)[0])
    cosine = np.minimum(np.concatenate(cosines), 1.0)
    worst = int(np.nanargmin(cosine)) if np.isfinite(cosine).any() else 0
    return FeatureDifference(
        prompts=len(prompts),
        tokens=len(cosine),
        mean_cosine=float(cosine.mean()),
        min_cosine=float(cosine[worst]),
        error_worst=float(np.concatenate(errors).max()),
        max_abs=largest,
        worst_prompt=prompts[int(np.concatenate(owners)[worst])],
    )


def _real(tokenizer: Tokenizer, config: EncoderConfig, prompts: list[str]) -> np.ndarray:
    ids = tokenizer(prompts, config.convention.context_length, config.convention.pad_id)
    real: np.ndarray = np.arange(ids.shape[1]) < real_lengths(ids, config)[:, None]
    return real
