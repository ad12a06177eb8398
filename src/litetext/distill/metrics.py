"""How close a student is to its teacher on prompts that it never saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..encoders.modules import Rows
from ..ragged import padded
from .examples import Examples
from .losses import token_losses

_EVALUATION_TOKENS = 16_384  # run at once without gradients


@dataclass(frozen=True, slots=True)
class EvalMetrics:
    """How close a student is to its teacher on prompts it never saw, over their real tokens.

    Attributes:
        mean_cosine, p5_cosine: mean and 5th percentile of the tokens' cosines.
        mse: mean over tokens and channels.
        pooled_cosine: mean cosine of the prompts' mean features.
        prompts, tokens: how many.
    """

    mean_cosine: float
    p5_cosine: float
    mse: float
    pooled_cosine: float
    prompts: int
    tokens: int


@torch.inference_mode()
def measure(student: nn.Module, examples: Examples, *, pad_id: int = 0, pad_to: int | None = None) -> EvalMetrics:
    """Compare the student (left in eval mode) with the teacher on ``examples``."""
    student.eval()
    device = next(student.parameters()).device
    ids = examples.ids
    order = np.argsort(ids.lengths, kind="stable")
    cosines, errors, pooled = [], 0.0, []
    for rows in np.split(order, np.flatnonzero(np.diff(np.cumsum(ids.lengths[order]) // _EVALUATION_TOKENS)) + 1):
        batch = padded(ids, rows, pad_id, pad_to)
        places = Rows(torch.from_numpy(np.arange(batch.shape[1]) >= ids.lengths[rows][:, None]).to(device))
        tokens = places.flat(student(torch.from_numpy(batch).to(device))[0].float())
        teacher = torch.from_numpy(examples.targets.take(rows)).to(device).float()
        losses = token_losses(tokens, teacher)
        cosines.append(1 - losses["cosine"])
        errors += float(losses["mse"].double().sum())
        pooled.append(F.cosine_similarity(places.padded(tokens).sum(1), places.padded(teacher).sum(1), dim=1))
    cosine = torch.cat(cosines).double()
    return EvalMetrics(
        float(cosine.mean()),
        float(np.quantile(cosine.cpu().numpy(), 0.05)),
        errors / len(cosine),
        float(torch.cat(pooled).double().mean()),
        len(ids),
        len(cosine),
    )
