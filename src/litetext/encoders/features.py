"""The seam: what a text encoder is, and what it returns.

SAM3 reads language through one narrow door. For every prompt it takes L tokens of D numbers and a mask.
Whatever turns noun phrases into that is a text encoder; whatever stands behind the door never asks which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ..errors import LitetextError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class TextFeatures:
    """The features of B prompts, as the detector reads them.

    Attributes:
        tokens: [B, L, D] floating. One vector a token; D is 256 for SAM3. A torch tensor (on the encoder's
            device) from torch encoders, a numpy array from the torch-free ones.
        mask: [B, L] bool, **True = padding**; the inverse of transformers' ``attention_mask``.
    """

    tokens: Any
    mask: Any

    def __post_init__(self) -> None:
        if len(self.tokens.shape) != 3 or tuple(self.tokens.shape[:2]) != tuple(self.mask.shape):
            raise LitetextError(
                f"text features need tokens [B, L, D] and a mask [B, L]; "
                f"got {tuple(self.tokens.shape)} and {tuple(self.mask.shape)}"
            )

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def __getitem__(self, rows: slice | Sequence[int]) -> TextFeatures:
        """The features of some of the prompts (a slice or a list of indices)."""
        index = rows if isinstance(rows, slice) else list(rows)
        return TextFeatures(self.tokens[index], self.mask[index])

    @property
    def dim(self) -> int:
        """D, the numbers a token."""
        return int(self.tokens.shape[2])

    def to_torch(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> TextFeatures:
        """Return the same features as torch tensors on ``device``, tokens as ``dtype`` (both kept if None)."""
        import torch

        return TextFeatures(
            torch.as_tensor(self.tokens).to(device=device, dtype=dtype),
            torch.as_tensor(self.mask).to(device=device, dtype=torch.bool),
        )

    def numpy(self) -> TextFeatures:
        """Return the same features as numpy arrays (tokens float32, mask bool)."""
        if isinstance(self.tokens, np.ndarray):
            return TextFeatures(self.tokens.astype(np.float32, copy=False), np.asarray(self.mask, dtype=bool))
        return TextFeatures(self.tokens.detach().float().cpu().numpy(), self.mask.detach().cpu().numpy())


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that turns noun phrases into `TextFeatures`."""

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        """Return the features of ``prompts`` in their order: tokens [B, L, D], mask [B, L]."""
        ...
