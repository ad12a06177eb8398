"""The seam: what a text encoder is, and what it returns.

SAM3 reads language through one narrow door. For every prompt it takes L tokens of D numbers and a mask.
Whatever turns noun phrases into that is a text encoder; whatever stands behind the door never asks which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeVar

    Array = NDArray[Any] | torch.Tensor
    ArrayT = TypeVar("ArrayT", bound=Array, default=Array, covariant=True)
else:
    from typing import TypeVar

    ArrayT = TypeVar("ArrayT")


@dataclass(frozen=True, slots=True, eq=False)
class TextFeatures(Generic[ArrayT]):
    """The features of B prompts, as the detector reads them.

    ``TextFeatures[torch.Tensor]`` come from torch encoders (on the encoder's device), ``TextFeatures[NDArray]`` from
    the torch-free ones; a plain ``TextFeatures`` may be either.

    Attributes:
        tokens: [B, L, D] floating. One vector a token; D is 256 for SAM3.
        mask: [B, L] bool, **True = padding**; the inverse of transformers' ``attention_mask``.
        thresholds: [B] float32, the lowest score that counts for each prompt, NaN where it has none of its own; None
            where no prompt has one.
        by_example: [B] bool, whether the tokens hold those of example boxes too (see `ExemplarConcept`); None where
            none do.
    """

    tokens: ArrayT
    mask: ArrayT
    thresholds: NDArray[np.float32] | None = None
    by_example: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if len(self.tokens.shape) != 3 or tuple(self.tokens.shape[:2]) != tuple(self.mask.shape):
            raise LitetextError(
                f"text features need tokens [B, L, D] and a mask [B, L]; "
                f"got {tuple(self.tokens.shape)} and {tuple(self.mask.shape)}"
            )

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def __getitem__(self, rows: slice | Sequence[int]) -> TextFeatures[ArrayT]:
        """The features of some of the prompts (a slice or a list of indices)."""
        index = rows if isinstance(rows, slice) else list(rows)
        thresholds, by_example = (None if one is None else one[index] for one in (self.thresholds, self.by_example))
        return TextFeatures(self.tokens[index], self.mask[index], thresholds, by_example)  # type: ignore[arg-type]

    @property
    def dim(self) -> int:
        """D, the numbers a token."""
        return int(self.tokens.shape[2])

    def to_torch(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> TextFeatures[torch.Tensor]:
        """Return the same features as torch tensors on ``device``, tokens as ``dtype`` (both kept if None)."""
        import torch

        return TextFeatures(
            torch.as_tensor(self.tokens).to(device=device, dtype=dtype),
            torch.as_tensor(self.mask).to(device=device, dtype=torch.bool),
            self.thresholds,
            self.by_example,
        )

    def numpy(self) -> TextFeatures[NDArray[Any]]:
        """Return the same features as numpy arrays (tokens float32, mask bool)."""
        if isinstance(self.tokens, np.ndarray):
            tokens, mask = self.tokens.astype(np.float32, copy=False), np.asarray(self.mask, dtype=bool)
        else:
            features = self.to_torch("cpu")
            tokens, mask = features.tokens.detach().float().numpy(), features.mask.numpy()
        return TextFeatures(tokens, mask, self.thresholds, self.by_example)


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that turns noun phrases into `TextFeatures`."""

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        """Return the features of ``prompts`` in their order: tokens [B, L, D], mask [B, L]."""
        ...
