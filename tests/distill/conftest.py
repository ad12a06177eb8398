"""A teacher, a student and two dozen phrases, all so small that a run takes a moment."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from litetext.distill import EncoderTeacher, Examples, chunks_of, fitted, fresh_student, prompt_ids
from litetext.encoders import EncoderConfig, TextTransformer
from litetext.encoders.config import Convention
from litetext.ragged import Ragged
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder

PHRASES = [
    f"{color}{noun}{place}"
    for color in ("", "red ", "small green ")
    for noun in ("dog", "fire truck", "umbrella", "cup")
    for place in ("", " on the left")
]
CONTEXT = 8


@cache
def tokenizer() -> Tokenizer:
    """CLIP's vocabulary cut to what the phrases use."""
    return Tokenizer().prune_vocabulary(PHRASES)


@cache
def teacher_module(width: int = 16) -> TextTransformer:
    """A causal encoder of SAM3's kind, with features 12 wide."""
    config = EncoderConfig(
        "teacher", width, 2, 32, 2, causal=True, vocab_size=tokenizer().vocab_size, position_rows=32, output_dim=12,
        convention=Convention(32, 0, "none", "slice"),
    )  # fmt: skip
    return random_encoder(config)


@cache
def teacher() -> EncoderTeacher:
    """The same behind the seam of distillation."""
    return EncoderTeacher(teacher_module())


def student(repmixer: bool = False, seed: int = 0) -> TextTransformer:
    """A student of width 8, freshly drawn."""
    shape = EncoderConfig("tiny", 8, 2, 16, 3 if repmixer else 1, repmixer=repmixer)
    config = fitted(shape, output_dim=12, vocab_size=tokenizer().vocab_size, context_length=CONTEXT)
    return fresh_student(config, seed)


def examples(phrases: list[str] | None = None) -> Examples:
    """Phrases with their targets in memory."""
    phrases = PHRASES if phrases is None else phrases
    ids = prompt_ids(phrases, tokenizer(), CONTEXT)
    targets = Ragged(teacher().features(ids).astype(np.float16), ids.offsets)
    return Examples(ids, targets, chunks_of(phrases, ids, tokenizer()))


def weights(module: torch.nn.Module) -> torch.Tensor:
    """All numbers of a module in one row."""
    return torch.cat([tensor.detach().double().flatten() for tensor in module.state_dict().values()])
