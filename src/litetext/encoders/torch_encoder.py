"""A text encoder that runs in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import LitetextError
from ..tokenizer import Tokenizer
from .config import EncoderConfig
from .features import TextFeatures
from .modules import TextTransformer
from .trimming import equal_length_groups, padding_mask, real_lengths, trims_exactly

_BATCH = 256  # prompts run at once; bounds memory, changes nothing else


class TorchTextEncoder:
    """Noun phrases to `TextFeatures` through a `TextTransformer`, under the convention stored with it.

    Args:
        module: the encoder, unfolded; a folded copy of it runs (same function, fewer operations).
        tokenizer: its vocabulary must have as many rows as the module's embedding.
        trim: run real tokens only. By default where that is exact (`trims_exactly`); True elsewhere is another function
            than the one trained, closer or farther by a measure that `litetext export --trim` reports.

    Attributes:
        module: the folded module that runs.
        config: shape and convention.
        tokenizer: see `Tokenizer`.
    """

    def __init__(self, module: TextTransformer, tokenizer: Tokenizer, trim: bool | None = None) -> None:
        self.module = module.folded().requires_grad_(False)
        self.config: EncoderConfig = module.config
        self.tokenizer = tokenizer
        self.trim = trims_exactly(module.config) if trim is None else trim

    def encode(self, prompts: Sequence[str]) -> TextFeatures[Tensor]:
        """Return tokens [B, L, D] and mask [B, L] on the encoder's device; L is the convention's context length.

        Where real tokens run alone, the features of padding are zero.
        """
        convention = self.config.convention
        ids = self.tokenizer(prompts, convention.context_length, convention.pad_id)
        self._check_rows(torch.from_numpy(ids))
        if self.trim and len(ids):
            return self._encode_trimmed(ids)
        return self.encode_ids(torch.from_numpy(ids))

    @torch.inference_mode()
    def _encode_trimmed(self, ids: np.ndarray) -> TextFeatures[Tensor]:
        positions = self.module.positions(ids.shape[1])
        tokens = positions.new_zeros(*ids.shape, self.config.output_dim)
        mask = torch.from_numpy(padding_mask(ids, self.config)).to(positions.device)
        for length, rows in equal_length_groups(real_lengths(ids, self.config), _BATCH):
            group = torch.from_numpy(rows).to(positions.device)
            words = self.module.token_embedding(torch.from_numpy(ids[rows, :length]).to(positions.device))
            real = torch.zeros(len(rows), length, dtype=torch.bool, device=positions.device)
            tokens[group, :length] = self.module.encode_embeddings(words + positions[:length], real)
        return TextFeatures(tokens, mask)

    @torch.inference_mode()
    def encode_ids(self, ids: Tensor) -> TextFeatures[Tensor]:
        """Return the features of ids int64 [B, L], for any L that the position table serves."""
        self._check_rows(ids)
        device = self.module.position_embedding.device
        parts = [self.module(chunk.to(device)) for chunk in ids.split(_BATCH)]
        if not parts:
            empty = self.module.position_embedding.new_zeros(0, ids.shape[1], self.config.output_dim)
            return TextFeatures(empty, torch.zeros(0, ids.shape[1], dtype=torch.bool, device=device))
        return TextFeatures(torch.cat([tokens for tokens, _ in parts]), torch.cat([mask for _, mask in parts]))

    def _check_rows(self, ids: Tensor) -> None:
        lowest, highest = (int(ids.min()), int(ids.max())) if ids.numel() else (0, 0)
        if not 0 <= lowest <= highest < self.config.vocab_size:
            culprit = lowest if lowest < 0 else highest
            raise LitetextError(
                f"token id {culprit} is outside the embedding's {self.config.vocab_size} rows; "
                "is this the vocabulary the encoder was made for?"
            )
