"""Small encoders to study."""

from __future__ import annotations

import torch

from litetext import Tokenizer
from litetext.anatomy.subject import Subject, subject_of
from litetext.encoders import EncoderConfig, TorchTextEncoder, build


def small_subject(name: str = "tiny", width: int = 32) -> Subject:
    """A random litetext encoder with CLIP's whole vocabulary and 16-dimensional features."""
    torch.manual_seed(0)
    config = EncoderConfig("tiny", width, 2, 2 * width, 2, output_dim=16)
    return subject_of(TorchTextEncoder(build(config).eval(), Tokenizer()), name)
