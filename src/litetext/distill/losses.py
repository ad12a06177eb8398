"""How far a student is from its teacher: the paper's loss (section 4), Gram matching, what a detector reads.

All are means over real tokens; nothing here ever sees padding. For T real tokens, s and t the student's and the
teacher's features:

* ``mse``: mean over tokens and channels of (s - t)^2.
* ``cosine``: mean of 1 - cos(s, t).
* ``consistency``: mean over tokens and channels of (s(T) - s(T'))^2, T' a permutation of the words; a token is compared
  with itself at its new place (the paper's ||v(T) - v(T')||^2, where we divide by D, as ``mse`` does).
* ``relational``: between the prompts of a batch, mean squared difference of the cosines of their mean features.
* ``downstream``: whatever a `Downstream` says.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Downstream(Protocol):
    """A loss through what reads the features.

    One with an attribute ``digest``, a hash of what it looks through, lets a resumed run know that it is the same.
    """

    def __call__(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Return one number, a mean over the prompts.

        Args:
            student: features, float32 [B, L, D], zero on padding.
            teacher: features, float32 [B, L, D], zero on padding.
            mask: bool [B, L], True = padding.
        """
        ...


def token_losses(student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
    """Return ``mse`` and ``cosine`` of every token: float32 [T] each, for features float32 [T, D]."""
    return {
        "mse": (student - teacher).square().mean(1),
        "cosine": 1 - F.cosine_similarity(student, teacher, dim=1),
    }


def relational(student: Tensor, teacher: Tensor, lengths: Tensor) -> Tensor:
    """Return how differently student and teacher relate the prompts of a batch (Gram matrices of cosines).

    Args:
        student: features, float32 [B, L, D], zero on padding.
        teacher: features, float32 [B, L, D], zero on padding.
        lengths: int64 [B], real tokens.
    """
    grams = []
    for features in (student, teacher):
        pooled = F.normalize(features.sum(1) / lengths[:, None], dim=1)
        grams.append(pooled @ pooled.T)
    return (grams[0] - grams[1]).square().mean()


class ReadBy(nn.Module):
    """A `Downstream`: the difference as linear readers see it, such as the keys and values of cross-attentions.

    With all readers' weights W stacked, every token counts |W (s - t)|^2, relative to the mean of |W t|^2 in the batch;
    directions that no reader looks at cost nothing.

    Attributes:
        digest: a hash of the readers' weights.

    Args:
        weights: matrices [k_i, D] of the readers.
    """

    metric: Tensor

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        stacked = torch.cat([weight.detach().float() for weight in weights])
        self.register_buffer("metric", stacked.T @ stacked / len(stacked))
        self.digest = hashlib.blake2b(b"reads" + stacked.cpu().numpy().tobytes(), digest_size=16).hexdigest()

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Return the loss, see `Downstream`."""
        metric = self.metric.to(student)
        difference = student - teacher  # zero on padding
        size = torch.einsum("bld,de,ble->", teacher, metric, teacher)
        return torch.einsum("bld,de,ble->", difference, metric, difference) / size
