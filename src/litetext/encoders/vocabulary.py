"""Vocabulary surgery: an encoder with fewer rows in its token embedding, the same everywhere else.

The token embedding is most of a small encoder (25.3 of S0's 42.3 million live parameters), and a corpus uses a third of
it (paper, section 3.2). A prompt whose tokens are all kept reads the same rows in the same places, so its features are
bit-identical; another one is spelled in smaller pieces that were kept (`Tokenizer.prune_vocabulary`), which moves them.
`measure_effect` says how many prompts that is, and how far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import LitetextError
from ..tokenizer import Tokenizer
from .checkpoints import Checkpoint
from .features import TextEncoder, TextFeatures

_BATCH = 1024  # prompts whose features are held at once


@dataclass(frozen=True)
class VocabularyEffect:
    """What fewer rows do to a corpus.

    Attributes:
        rows: rows kept.
        prompts: prompts in the corpus.
        touched: how many of them are spelled in other tokens than before.
        mean_cosine: between a touched prompt's features before and after, each the mean over its real tokens (their
            number changes, so tokens cannot be compared one by one); the mean over touched prompts, 1 if none is.
        min_cosine: of the prompt that moved most.
        worst_prompt: that prompt; None if none is touched.
    """

    rows: int
    prompts: int
    touched: int
    mean_cosine: float
    min_cosine: float
    worst_prompt: str | None


def prune_checkpoint(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Checkpoint:
    """Return the encoder with only the embedding rows that ``tokenizer`` kept, dtypes and all else unchanged.

    Raises:
        LitetextError: the checkpoint is pruned already, its embedding is not CLIP's, or its pad id has no row left.
    """
    config = checkpoint.config
    if checkpoint.tokenizer.kept is not None:
        raise LitetextError(f"{checkpoint.source} has a pruned vocabulary already; prune the checkpoint it came from")
    if config.vocab_size != checkpoint.tokenizer.vocab_size:
        raise LitetextError(
            f"{checkpoint.source} has {config.vocab_size} embedding rows, CLIP's vocabulary "
            f"{checkpoint.tokenizer.vocab_size}; only CLIP's can be pruned"
        )
    if tokenizer.kept is None:
        return checkpoint
    rows = {clip_id: row for row, clip_id in enumerate(tokenizer.kept)}
    pad_id = config.convention.pad_id
    if pad_id not in rows:
        raise LitetextError(f"the vocabulary lacks id {pad_id}, which {checkpoint.source} pads with; keep its row")
    table = checkpoint.state["token_embedding.weight"][list(tokenizer.kept)].contiguous()
    return replace(
        checkpoint,
        config=replace(config, vocab_size=len(rows)).with_convention(pad_id=rows[pad_id]),
        state={**checkpoint.state, "token_embedding.weight": table},
        tokenizer=tokenizer,
    )


def touched_prompts(tokenizer: Tokenizer, prompts: Sequence[str]) -> list[str]:
    """Return the prompts that use a token which the pruned ``tokenizer`` no longer has."""
    if tokenizer.kept is None:
        return []
    kept = set(tokenizer.kept)
    spelled = zip(prompts, Tokenizer().encode_batch(prompts), strict=True)
    return [prompt for prompt, ids in spelled if not kept.issuperset(ids)]


def measure_effect(
    before: TextEncoder, after: TextEncoder, tokenizer: Tokenizer, prompts: Sequence[str]
) -> VocabularyEffect:
    """Encode the prompts that the pruned ``tokenizer`` touches with both encoders, and compare."""
    touched = touched_prompts(tokenizer, prompts)
    cosines = [
        _cosines(before.encode(batch), after.encode(batch))
        for batch in (touched[start : start + _BATCH] for start in range(0, len(touched), _BATCH))
    ]
    cosine = np.concatenate([*cosines, np.zeros(0)])
    return VocabularyEffect(
        rows=tokenizer.vocab_size,
        prompts=len(prompts),
        touched=len(touched),
        mean_cosine=float(cosine.mean()) if touched else 1.0,
        min_cosine=float(cosine.min()) if touched else 1.0,
        worst_prompt=touched[int(cosine.argmin())] if touched else None,
    )


def _cosines(before: TextFeatures, after: TextFeatures) -> np.ndarray:
    a, b = _means(before), _means(after)
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def _means(features: TextFeatures) -> np.ndarray:
    """The mean over each prompt's real tokens, float64 [B, D]."""
    features = features.numpy()
    real = ~features.mask[:, :, None]
    return (features.tokens.astype(np.float64) * real).sum(1) / real.sum(1)
