"""Muon for the matrices inside the layers, AdamW for everything else.

On the dense stage of this very training Muon needed half the steps that AdamW took to the same loss, at a tenth more
time a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_RIM = ("embed", "token", "reference_points", "dense_", "concept_head", "color_head", "encoded_head", "center_head")
"""Parts of names of what is no matrix between hidden layers, though it has two dimensions."""


class MuonAndAdamW:
    """Both optimizers as one: the same learning rate for every group (Muon's is matched to AdamW's step size).

    Args:
        model: every parameter of it that requires a gradient is trained.
        learning_rate: of every group.
        weight_decay: decoupled, for matrices and kernels; biases, norms and embeddings are not decayed.
    """

    def __init__(self, model: nn.Module, learning_rate: float, weight_decay: float) -> None:
        inner, kernels, others = [], [], []
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            at_the_rim = any(part in name for part in _RIM)
            if parameter.ndim == 2 and min(parameter.shape) > 8 and not at_the_rim and not name.startswith("text."):
                inner.append(parameter)
            elif parameter.ndim >= 2 and not at_the_rim:
                kernels.append(parameter)
            else:
                others.append(parameter)
        groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._parts: dict[str, torch.optim.Optimizer] = {
            "muon": torch.optim.Muon(
                inner, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            ),
            "adamw": torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), foreach=True),
        }

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, for setting the learning rate."""
        return [group for part in self._parts.values() for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for part in self._parts.values():
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Update every parameter."""
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of both, by name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
