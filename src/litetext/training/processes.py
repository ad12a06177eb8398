"""The processes that train together, over accelerate: one exchange of gradients a step, and agreement on when to stop.

Gradients are summed here rather than by torch's DistributedDataParallel: losses are already shares of the whole step,
a second pass over permuted prompts runs in the same step, and parameters that nothing reads have no gradient at all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from ..devices import torch_device


@dataclass(frozen=True)
class Processes:
    """The processes that train together: one, or those that `torchrun` or `accelerate launch` started."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.rank == 0

    @classmethod
    def start(cls, device: str | torch.device | None) -> Processes:
        """Join the other processes, if any; ``device`` None is CUDA where there is one."""
        wanted = torch_device(device)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(wanted)
        from accelerate import PartialState

        state = PartialState(cpu=wanted.type == "cpu")
        device = wanted if wanted.type == "cpu" else state.device  # which is cpu:0, and torch.load knows cpu alone
        return cls(device, state.process_index, state.num_processes)

    def sum_(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one exchange."""
        if self.count == 1 or not tensors:
            return
        from accelerate.utils import reduce

        flat = reduce(torch.cat([tensor.flatten().float() for tensor in tensors]), "sum")
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def agree(self, stop: bool, step: int) -> bool:
        """Whether any process was told to stop; several ask each other only every 16 steps."""
        if self.count == 1:
            return stop
        if step % 16:
            return False
        votes = torch.tensor(float(stop), device=self.device)
        self.sum_([votes])
        return bool(votes > 0)

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()
