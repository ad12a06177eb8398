"""The text teacher of `photo` behind the seam, and as what a student is distilled from. It does not ship."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..distill.preparation import prompt_ids
from ..distill.targets import by_length, weights_digest
from ..encoders.features import TextFeatures
from ..ragged import Ragged
from ..tokenizer import Tokenizer
from .model import TextTeacher
from .sentences import Sentences

CONTEXT = 16


class PhotoTeacher:
    """A `TextEncoder`, and a teacher in the sense of `litetext.distill.targets`.

    Attributes:
        dim: D, the numbers a token. context_length: tokens a phrase at most.
        digest: changes with the weights.

    Args:
        module: the trained projector.
        sentences: MiniLM.
    """

    def __init__(self, module: TextTeacher, sentences: Sentences) -> None:
        self._module, self._sentences = module.eval().requires_grad_(False), sentences
        self._tokenizer = Tokenizer()
        self._phrases: dict[tuple[int, ...], str] = {}
        self.dim = len(module.nothing)
        self.context_length = CONTEXT
        self.digest = weights_digest(module, "photo")

    def learn_spelling(self, phrases: Sequence[str]) -> None:
        """Take note of which tokens are which phrase: MiniLM reads words."""
        ids = prompt_ids(phrases, self._tokenizer, self.context_length)
        bounds = zip(ids.offsets[:-1], ids.offsets[1:], strict=True)
        spelled = (tuple(ids.values[start:stop].tolist()) for start, stop in bounds)
        self._phrases |= dict(zip(spelled, phrases, strict=True))

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        """Return the features of prompts."""
        lengths = prompt_ids(prompts, self._tokenizer, self.context_length).lengths
        tokens, real = self._module(self._sentences.embed(prompts), torch.from_numpy(np.asarray(lengths)))
        return TextFeatures(tokens, ~real)

    @torch.inference_mode()
    def features(self, ids: Ragged) -> np.ndarray:
        """Return the features of all tokens of phrases that `learn_spelling` was given: float32 [T, D]."""

        def run(batch: np.ndarray) -> np.ndarray:
            phrases = [self._phrases[tuple(row)] for row in batch.tolist()]
            lengths = torch.full((len(batch),), batch.shape[1])
            return np.asarray(self._module(self._sentences.embed(phrases), lengths)[0].numpy())

        return by_length(ids, self.dim, run)
