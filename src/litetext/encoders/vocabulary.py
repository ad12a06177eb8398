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
    """Return the encoder with only the embedding rows of ``tokenizer``, dtypes and all else unchanged.

    Args:
        checkpoint: of CLIP's vocabulary or a part of it.
        tokenizer: a part of the checkpoint's, see `Tokenizer.prune_vocabulary`.

    Raises:
        LitetextError: the embedding is not of the checkpoint's vocabulary, ``tokenizer`` is no part of it, or the pad
            id has no row left.
    """
    config = checkpoint.config
    if config.vocab_size != checkpoint.tokenizer.vocab_size:
        raise LitetextError(
            f"{checkpoint.source} has {config.vocab_size} embedding rows, its vocabulary "
            f"{checkpoint.tokenizer.vocab_size}; only CLIP's and parts of it can be pruned"
        )
    if tokenizer.kept == checkpoint.tokenizer.kept:
        return checkpoint
    rows = tokenizer.rows_in(checkpoint.tokenizer)
    pad_id = np.flatnonzero(rows == config.convention.pad_id)
    if len(pad_id) == 0:
        raise LitetextError(
            f"the vocabulary lacks id {config.convention.pad_id}, which {checkpoint.source} pads with; keep its row"
        )
    table = checkpoint.state["token_embedding.weight"][rows].contiguous()
    return replace(
        checkpoint,
        config=replace(config, vocab_size=len(rows), convention=replace(config.convention, pad_id=int(pad_id[0]))),
        state={**checkpoint.state, "token_embedding.weight": table},
        tokenizer=tokenizer,
    )


def touched_prompts(before: Tokenizer, after: Tokenizer, prompts: Sequence[str]) -> list[str]:
    """Return the prompts that use a token of ``before`` which the pruned ``after`` no longer has."""
    kept, clip_ids = set(after.clip_ids.tolist()), before.clip_ids
    spelled = zip(prompts, before.encode_batch(prompts), strict=True)
    return [prompt for prompt, ids in spelled if not kept.issuperset(clip_ids[ids].tolist())]


def measure_effect(
    before: TextEncoder, after: TextEncoder, vocabularies: tuple[Tokenizer, Tokenizer], prompts: Sequence[str]
) -> VocabularyEffect:
    """Encode the prompts that pruning touches with both encoders, and compare.

    Args:
        before: with the whole vocabulary.
        after: with the pruned one.
        vocabularies: the two.
        prompts: to compare on.
    """
    touched = touched_prompts(*vocabularies, prompts)
    cosines = [
        _cosines(before.encode(batch), after.encode(batch))
        for batch in (touched[start : start + _BATCH] for start in range(0, len(touched), _BATCH))
    ]
    cosine = np.concatenate([*cosines, np.zeros(0)])
    return VocabularyEffect(
        rows=vocabularies[1].vocab_size,
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
    arrays = features.numpy()
    real = ~arrays.mask[:, :, None]
    return (arrays.tokens.astype(np.float64) * real).sum(1) / real.sum(1)
