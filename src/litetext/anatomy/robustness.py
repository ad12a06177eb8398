"""Question 6, attention robustness: what becomes of an error in the text features on its way to the masks?

Gaussian noise is put on the features of real tokens, at a given size relative to them, and the relative error
(Frobenius norm of the difference over the norm of the undisturbed value) is read where vision attends to text in
every layer of the detector's encoder: at the logits, after the softmax, at the attention's output; and at the
masks. Attenuation is relative error in over relative error out. The paper (section 5.7) divides absolute errors,
which lie on different scales at each of these places; its ratio stands beside. The control says what the same
figures are when the prompt is simply another noun: an error is small when it is small against that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..encoders import TextEncoder, TextFeatures
from ..errors import LitetextError
from .gallery import GalleryImage

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0)
STAGES = ("text features", "attention logits", "attention weights", "attention output", "masks")
"""Where errors are read, in the order in which they travel."""


@dataclass(frozen=True, slots=True)
class StageError:
    """The error at one stage.

    Attributes:
        relative: Frobenius norm of the difference over that of the undisturbed value.
        absolute: root mean square of the difference.
        attenuation: relative error of the text features / ``relative``; None where nothing changed.
        absolute_ratio: the same with absolute errors, as the paper has it.
    """

    relative: float
    absolute: float
    attenuation: float | None
    absolute_ratio: float | None


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One way of disturbing the text.

    Attributes:
        stages: stage (see `STAGES`) -> its error.
        mask_overlap: mean soft IoU (sum of minima over sum of maxima) of disturbed and undisturbed masks.
    """

    stages: dict[str, StageError]
    mask_overlap: float


@dataclass(frozen=True, slots=True)
class Robustness:
    """The answer to question 6: noise level -> what it does, and what another noun does."""

    scenes: int
    prompts: int
    noise: dict[float, Disturbance]
    wrong_noun: Disturbance


def robustness(
    detector: Any,
    encoder: TextEncoder,
    scenes: Sequence[GalleryImage],
    levels: Sequence[float] = DEFAULT_LEVELS,
    *,
    seed: int = 0,
) -> Robustness:
    """Disturb the text at every scene and return what arrives where.

    Args:
        detector: transformers' SAM3, or its detector: what has ``detr_encoder.layers[i].cross_attn``.
        encoder: the text encoder.
        scenes: pictures with phrases; the detector must be the one their ``soft_masks`` run.
        levels: sizes of the noise, relative to the features (0.1: a tenth of their norm).
        seed: of the noise.
    """
    import torch

    if not scenes:
        raise LitetextError("robustness needs at least one scene with a phrase")
    generator = torch.Generator().manual_seed(seed)
    sums = {level: _Sums() for level in levels}
    control = _Sums()
    with torch.inference_mode():
        for scene in scenes:
            clean = encoder.encode(scene.phrases).to_torch()
            reference = _values(detector, scene, clean)
            for level in levels:
                noisy = TextFeatures(_with_noise(clean, level, generator), clean.mask)
                sums[level].add(reference, _values(detector, scene, noisy))
            wrong = encoder.encode(scene.wrong).to_torch()
            control.add(reference, _values(detector, scene, wrong))
    prompts = sum(len(scene.phrases) for scene in scenes)
    return Robustness(len(scenes), prompts, {level: sums[level].result() for level in levels}, control.result())


def _with_noise(features: TextFeatures[Tensor], level: float, generator: Any) -> Tensor:
    """The tokens plus noise of ``level`` times each prompt's norm, on real tokens."""
    import torch

    tokens = features.tokens
    real = (~features.mask).unsqueeze(-1).to(tokens.dtype)
    noise = torch.randn(tokens.shape, generator=generator).to(tokens) * real
    size = (tokens * real).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1).clamp(min=1e-12)
    return tokens + level * size[:, None, None] * noise


def _values(detector: Any, scene: GalleryImage, features: TextFeatures[Tensor]) -> dict[str, list[Tensor]]:
    """What stands at every stage (a tensor a layer) when the scene is asked with these features."""
    real = (~features.mask).unsqueeze(-1)
    with tapped(detector, features.mask) as stages:
        masks = scene.soft_masks(features)
    return {"text features": [features.tokens * real], **stages, "masks": [masks]}


@contextmanager
def tapped(detector: Any, padding: Tensor) -> Iterator[dict[str, list[Tensor]]]:
    """Yield a dictionary that fills with the stages of every text cross-attention of the detector's encoder.

    Logits and weights are computed again from the layer's own projections, since fast attention keeps neither;
    columns of padding are zero in both.
    """
    import torch

    stages: dict[str, list[Tensor]] = {"attention logits": [], "attention weights": [], "attention output": []}

    def read(module: Any, arguments: Any, named: dict[str, Any], output: Any) -> None:
        query, key = module.q_proj(named["query"]), module.k_proj(named["key"])
        heads = [
            side.view(*side.shape[:2], module.num_attention_heads, module.head_dim).transpose(1, 2)
            for side in (query, key)
        ]
        logits = heads[0] @ heads[1].transpose(2, 3) * module.scaling
        hidden = padding[:, None, None, :]
        stages["attention logits"].append(logits.masked_fill(hidden, 0.0))
        stages["attention weights"].append(torch.softmax(logits.masked_fill(hidden, -torch.inf), dim=-1))
        stages["attention output"].append(output[0])

    hooks = [layer.cross_attn.register_forward_hook(read, with_kwargs=True) for layer in detector.detr_encoder.layers]
    try:
        yield stages
    finally:
        for hook in hooks:
            hook.remove()


class _Sums:
    """Squared errors and squared reference values of every stage, summed over scenes and layers."""

    def __init__(self) -> None:
        self._error = dict.fromkeys(STAGES, 0.0)
        self._size = dict.fromkeys(STAGES, 0.0)
        self._count = dict.fromkeys(STAGES, 0)
        self._overlaps: list[float] = []

    def add(self, reference: dict[str, list[Tensor]], disturbed: dict[str, list[Tensor]]) -> None:
        for stage in STAGES:
            for before, after in zip(reference[stage], disturbed[stage], strict=True):
                self._error[stage] += float((after.double() - before.double()).square().sum())
                self._size[stage] += float(before.double().square().sum())
                self._count[stage] += before.numel()
        self._overlaps += soft_overlap(reference["masks"][0], disturbed["masks"][0])

    def result(self) -> Disturbance:
        stages: dict[str, StageError] = {}
        for stage in STAGES:
            relative = math.sqrt(self._error[stage] / self._size[stage]) if self._size[stage] else 0.0
            absolute = math.sqrt(self._error[stage] / self._count[stage])
            first = stages.get(STAGES[0])
            stages[stage] = StageError(
                relative,
                absolute,
                (first.relative if first else relative) / relative if relative else None,
                (first.absolute if first else absolute) / absolute if absolute else None,
            )
        return Disturbance(stages, sum(self._overlaps) / len(self._overlaps))


def soft_overlap(first: Tensor, second: Tensor) -> list[float]:
    """Soft IoU of two masks a prompt: sum of minima over sum of maxima, 1 where both are empty."""
    import torch

    lower = torch.minimum(first, second).flatten(1).double().sum(1)
    upper = torch.maximum(first, second).flatten(1).double().sum(1)
    overlaps: list[float] = torch.where(upper > 0, lower / upper.clamp(min=1e-12), torch.ones_like(upper)).tolist()
    return overlaps
