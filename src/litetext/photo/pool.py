"""Scenes as the frozen network sees them, kept on disk: training reads these instead of running the network again.

A pool is a folder of memory-mapped arrays, one row a scene. It may be filled by several processes, each its own rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from ..errors import LitetextError
from ..files import write_json
from ..outputs import claim_folder
from ..segment.lite import CHANNELS, LiteModel
from .photographs import tensor_of
from .scenes import PhotoScene

_STRIDES = (4, 8, 16, 16)


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """N scenes.

    Attributes:
        taps: what `LiteModel.taps` gives, float16, [N, C, h, w] each.
        instances: uint8 [N, S, S], as in `PhotoScene`.
        facts: for each scene what `PhotoScene.facts` gives.
    """

    taps: tuple[NDArray[np.float16], ...]
    instances: NDArray[np.uint8]
    facts: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.facts)

    @classmethod
    def open(cls, folder: Path) -> Pool:
        """Open the scenes that were written so far."""
        if not (folder / "instances.npy").is_file():
            raise LitetextError(f"{folder} holds no scenes; litetext photo train makes them")
        parts = [json.loads(path.read_text()) for path in sorted(folder.glob("facts-*.json"))]
        facts = [one for part in parts for one in part]
        arrays = [np.load(folder / f"tap{number}.npy", mmap_mode="r") for number in range(len(CHANNELS))]
        return cls(tuple(arrays), np.load(folder / "instances.npy", mmap_mode="r"), facts)

    def features(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return the taps of some scenes, float32."""
        return tuple(torch.from_numpy(np.ascontiguousarray(tap[rows])).float() for tap in self.taps)


def make_pool(folder: Path, count: int, size: int) -> None:
    """Make the arrays of a pool of ``count`` scenes, empty."""
    claim_folder(folder, "scenes to train on")
    for number, (channels, stride) in enumerate(zip(CHANNELS, _STRIDES, strict=True)):
        shape = (count, channels, size // stride, size // stride)
        open_memmap(folder / f"tap{number}.npy", mode="w+", dtype=np.float16, shape=shape)
    open_memmap(folder / "instances.npy", mode="w+", dtype=np.uint8, shape=(count, size, size))


@torch.inference_mode()
def fill_pool(
    folder: Path,
    first: int,
    scenes: Iterable[PhotoScene],
    network: LiteModel,
    on_scene: Callable[[int], None] = lambda _: None,
) -> None:
    """Write scenes into the rows of a pool from ``first`` on."""
    taps = [np.load(folder / f"tap{number}.npy", mmap_mode="r+") for number in range(len(CHANNELS))]
    instances = np.load(folder / "instances.npy", mmap_mode="r+")
    facts = []
    for row, scene in enumerate(scenes, start=first):
        found = network.taps(tensor_of(scene.image, instances.shape[-1]))
        for array, tap in zip(taps, found, strict=True):
            array[row] = tap[0].clamp(-60_000, 60_000).numpy().astype(np.float16)
        instances[row] = scene.instances
        facts.append(scene.facts())
        on_scene(1)
    write_json(folder / f"facts-{first:07d}.json", facts, indent=None)
