"""``--vocabulary``, as ``convert`` and ``export`` understand it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import notes

if TYPE_CHECKING:
    from ..encoders import Checkpoint
    from ..tokenizer import Tokenizer

HELP = "Keep fewer embedding rows: N (CLIP's most frequent), FILE (those its prompts use) or FILE:N (their most used)."


def pruned(checkpoint: Checkpoint, vocabulary: str, prompts: Sequence[str]) -> tuple[Checkpoint, dict[str, Any]]:
    """Return the checkpoint with the rows that ``vocabulary`` asks for, and what that does to ``prompts``."""
    from dataclasses import asdict

    from ..encoders.torch_encoder import TorchTextEncoder
    from ..encoders.vocabulary import measure_effect, prune_checkpoint

    smaller = prune_checkpoint(checkpoint, _tokenizer(vocabulary, checkpoint.tokenizer))
    before, after = (TorchTextEncoder(one.module(), one.tokenizer) for one in (checkpoint, smaller))
    effect = measure_effect(before, after, (checkpoint.tokenizer, smaller.tokenizer), prompts)
    line = f"{effect.rows:,} rows kept; {effect.touched} of {effect.prompts} prompts are spelled in other tokens"
    if effect.touched:
        line += (
            f", which moves their features (cosine of means {effect.mean_cosine:.4f}, "
            f"worst {effect.min_cosine:.4f}: {effect.worst_prompt!r})"
        )
    notes.print(line, highlight=False, soft_wrap=True)
    return smaller, asdict(effect) | {"live_parameters": smaller.config.live_parameters()}


def _tokenizer(vocabulary: str, full: Tokenizer) -> Tokenizer:
    from ..prompts import read_prompts

    if vocabulary.isdecimal():
        return full.prune_vocabulary(int(vocabulary))
    name, _, rows = vocabulary.rpartition(":")
    if name and rows.isdecimal():
        return full.prune_vocabulary(read_prompts(Path(name)), int(rows))
    return full.prune_vocabulary(read_prompts(Path(vocabulary)))
