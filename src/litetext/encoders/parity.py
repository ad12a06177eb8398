"""How far apart the same weights are under two conventions, on real tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import LitetextError
from ..tokenizer import Tokenizer
from .config import AUTHORS, SAM3, TRANSFORMERS, Convention, own_context
from .modules import TextTransformer, after_first_eot
from .torch_encoder import TorchTextEncoder


@dataclass(frozen=True)
class Parity:
    """The cosine between the features of one token under two conventions, over the real tokens of some prompts.

    Attributes:
        first, second: the conventions compared.
        prompts: how many.
        tokens: real tokens compared (SOT to the first EOT, as far as both contexts reach).
        mean_cosine: over all tokens.
        min_cosine: of the worst token.
        worst_prompt: the prompt with the lowest mean cosine, and that mean.
        worst_prompt_cosine: see ``worst_prompt``.
        max_abs: the largest difference of any number.
        by_length: real tokens a prompt -> mean cosine over prompts of that length.
    """

    first: Convention
    second: Convention
    prompts: int
    tokens: int
    mean_cosine: float
    min_cosine: float
    worst_prompt: str
    worst_prompt_cosine: float
    max_abs: float
    by_length: dict[int, float]


def measure_parity(
    module: TextTransformer,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    first: Convention | None = None,
    second: Convention | None = None,
    second_module: TextTransformer | None = None,
) -> Parity:
    """Compare the features of ``prompts`` under two conventions.

    ``first`` defaults to the authors' (SAM3's own for a teacher), ``second`` to transformers' (padded to 32 with EOT
    under an attention mask; a sliced table for a teacher, whose transformers class cannot interpolate). With
    ``second_module`` the second convention runs on other weights, such as an export's.
    """
    if not prompts:
        raise LitetextError("parity needs one prompt or more")
    causal = module.config.causal
    rows = module.config.position_rows
    first = first or (SAM3 if causal else replace(AUTHORS, context_length=own_context(AUTHORS, rows)))
    second = second or (
        replace(TRANSFORMERS, positions="slice", context_length=min(32, rows)) if causal else TRANSFORMERS
    )
    second = replace(second, pad_id=min(second.pad_id, tokenizer.eot_id))
    a, ids = _features(module, tokenizer, prompts, first)
    b, _ = _features(second_module or module, tokenizer, prompts, second)
    length = min(a.shape[1], b.shape[1])
    real = ~after_first_eot(ids[:, :length], tokenizer.eot_id)
    a, b = a[:, :length].double(), b[:, :length].double()
    cosine = F.cosine_similarity(a, b, dim=-1).clamp(max=1.0)
    per_prompt = (cosine * real).sum(1) / real.sum(1)
    worst = int(per_prompt.argmin())
    lengths = real.sum(1)
    return Parity(
        first=first,
        second=second,
        prompts=len(prompts),
        tokens=int(real.sum()),
        mean_cosine=float(cosine[real].mean()),
        min_cosine=float(cosine[real].min()),
        worst_prompt=prompts[worst],
        worst_prompt_cosine=float(per_prompt[worst]),
        max_abs=float((a - b)[real].abs().max()),
        by_length={int(n): float(per_prompt[lengths == n].mean()) for n in lengths.unique()},
    )


def _features(
    module: TextTransformer, tokenizer: Tokenizer, prompts: Sequence[str], convention: Convention
) -> tuple[Tensor, Tensor]:
    # the same tensors under another convention: only the config differs, no weight is copied
    twin = TextTransformer.__new__(TextTransformer)
    twin.__dict__.update(module.__dict__)
    twin.config = replace(module.config, convention=convention)
    ids = torch.from_numpy(tokenizer(list(prompts), convention.context_length, convention.pad_id))
    return TorchTextEncoder(twin, tokenizer).encode_ids(ids).to_torch("cpu").tokens, ids
