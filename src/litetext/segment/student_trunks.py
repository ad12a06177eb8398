"""EfficientSAM3's image encoders: small networks distilled to stand in the place of SAM3's ViT.

RepViT, TinyViT and EfficientViT come from timm; on their last map, at stride 32, stand a projection to the ViT's width
and a bilinear resize to its grid, so that SAM3's neck reads them as it reads the ViT. `StudentTrunkConfig` is a
``vision_config.backbone_config`` of a transformers `Sam3Config`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from ..errors import choice_error, extras_named

ARCHITECTURES = {
    "repvit-m0.9": "repvit_m0_9",
    "repvit-m1.1": "repvit_m1_1",
    "repvit-m2.3": "repvit_m2_3",
    "tinyvit-5m": "tiny_vit_5m_224",
    "tinyvit-11m": "tiny_vit_11m_224",
    "tinyvit-21m": "tiny_vit_21m_224",
    "efficientvit-b0": "efficientvit_b0",
    "efficientvit-b1": "efficientvit_b1",
    "efficientvit-b2": "efficientvit_b2",
}
"""The published students -> their names in timm."""

_BACKBONE = "model.backbone.model."
"""Before the network's names in a published file, below ``trunk.``; the projection's stand below ``model.head.``."""


class StudentTrunkConfig(PretrainedConfig):
    """What transformers stores of a student trunk.

    Args:
        architecture: a key of `ARCHITECTURES`.
        hidden_size: channels of the output, the ViT's.
        image_size, patch_size: pixels; the output has image_size / patch_size places a side.
    """

    model_type = "litetext_student_trunk"

    def __init__(
        self,
        architecture: str = "repvit-m0.9",
        hidden_size: int = 1024,
        image_size: int = 1008,
        patch_size: int = 14,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self.architecture = architecture
        self.hidden_size = hidden_size
        self.image_size = image_size
        self.patch_size = patch_size


class StudentTrunkModel(PreTrainedModel):
    """A network of timm, projected and resized to the ViT's output."""

    config_class = StudentTrunkConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True

    def __init__(self, config: StudentTrunkConfig) -> None:
        super().__init__(config)
        self.network = _network(config.architecture)
        width = config.hidden_size
        self.projection = nn.Sequential(
            nn.Conv2d(self.network.num_features, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Fill the indices that timm computes and no file holds; weights are loaded, or as torch and timm drew them."""
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()  # type: ignore[operator]

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """Encode pixels [B, 3, S, S] to ``last_hidden_state`` [B, places, D], row by row."""
        maps = self.projection(self.network.forward_features(pixel_values))
        places = tuple(side // self.config.patch_size for side in pixel_values.shape[-2:])
        if maps.shape[-2:] != places:
            maps = F.interpolate(maps, size=places, mode="bilinear", align_corners=False)
        return BaseModelOutput(last_hidden_state=maps.flatten(2).transpose(1, 2))


AutoConfig.register(StudentTrunkConfig.model_type, StudentTrunkConfig)
AutoModel.register(StudentTrunkConfig, StudentTrunkModel)


def published_names(architecture: str) -> dict[str, str]:
    """Return our name -> the authors' name below ``trunk.``, for every tensor of a student trunk."""
    norm = [f"1.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
    projection = {f"projection.{leaf}": f"model.head.{leaf}" for leaf in ("0.weight", *norm, "3.weight", "3.bias")}
    network = _network_shapes(architecture)
    prefixes = _FAMILIES[architecture.partition("-")[0]](network)
    return {f"network.{key}": _BACKBONE + _renamed(key, prefixes) for key in network} | projection


def architecture_of(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return the architecture whose network has exactly these tensors, or None.

    Args:
        shapes: of a file's tensors, by their names below ``trunk.``.
    """
    found = {key: shape for key, shape in shapes.items() if key.startswith(_BACKBONE)}
    for architecture in ARCHITECTURES:
        network, names = _network_shapes(architecture), published_names(architecture)
        if {names[f"network.{key}"]: shape for key, shape in network.items()} == found:
            return architecture
    return None


def _network(architecture: str) -> Any:
    """Timm's network of that name, without its classifier."""
    if architecture not in ARCHITECTURES:
        raise choice_error("student trunk", architecture, tuple(ARCHITECTURES))
    with extras_named():
        import timm
    network = timm.create_model(ARCHITECTURES[architecture], num_classes=0)
    network.head = nn.Identity()
    for module in network.modules():
        if type(module).__name__ == "LiteMLA":
            module.eps = 1e-15  # type: ignore[assignment]  # timm: 1e-5, which shows where attention is small
    return network


@cache
def _network_shapes(architecture: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(tensor.shape) for key, tensor in _network(architecture).state_dict().items()}


def _renamed(key: str, prefixes: Mapping[str, str]) -> str:
    """A name of timm's with the longest of its known beginnings replaced."""
    beginning = max((prefix for prefix in prefixes if key.startswith(prefix)), key=len)
    return prefixes[beginning] + key[len(beginning) :]


def _repvit(network: Iterable[str]) -> dict[str, str]:
    """Timm's beginnings of names -> the authors', whose blocks stand in one list."""
    prefixes = {"stem.conv1.": "features.0.0.", "stem.conv2.": "features.0.2."}
    block = {
        "token_mixer.": "token_mixer.0.",
        "se.": "token_mixer.1.",
        "channel_mixer.conv1.": "channel_mixer.m.0.",
        "channel_mixer.conv2.": "channel_mixer.m.2.",
    }
    strided = {
        "spatial_downsample.": "token_mixer.0.",
        "channel_downsample.": "token_mixer.2.",
        "ffn.conv1.": "channel_mixer.m.0.",
        "ffn.conv2.": "channel_mixer.m.2.",
    }
    pattern = re.compile(r"stages\.\d+\.(?:downsample\.(?:pre_block\.)?|blocks\.\d+\.)")
    blocks = dict.fromkeys(match[0] for key in network if (match := pattern.match(key)))
    for number, place in enumerate(blocks, start=1):
        inner = strided if place.endswith("downsample.") else block
        prefixes |= {place + ours: f"features.{number}.{theirs}" for ours, theirs in inner.items()}
    return prefixes


def _tinyvit(network: Iterable[str]) -> dict[str, str]:
    """Timm's beginnings of names -> the authors', who count a downsampling to the stage before it."""
    prefixes = {"": ""}
    for key in network:
        stem = re.match(r"patch_embed\.conv(\d)\.", key)
        strided = re.match(r"stages\.(\d+)\.downsample\.", key)
        stage = re.match(r"stages\.(\d+)\.blocks\.", key)
        if stem:
            prefixes[stem[0]] = f"patch_embed.seq.{2 * int(stem[1]) - 2}."
        elif strided:
            prefixes[strided[0]] = f"layers.{int(strided[1]) - 1}.downsample."
        elif stage:
            prefixes[stage[0]] = f"layers.{stage[1]}.blocks."
        convolution = re.match(r"(.*)\.conv\.weight$", key)
        if convolution:
            prefixes[f"{convolution[1]}.conv."] = _renamed(f"{convolution[1]}.", prefixes) + "c."
    return prefixes


def _efficientvit(network: Iterable[str]) -> dict[str, str]:
    """Timm's beginnings of names -> the authors'."""
    prefixes = {"stem.in_conv.": "input_stem.op_list.0."}
    for key in network:
        stem = re.match(r"stem\.res(\d+)\.", key)
        stage = re.match(r"(stages\.\d+\.)blocks\.", key)
        if stem:
            prefixes[stem[0]] = f"input_stem.op_list.{int(stem[1]) + 1}."
        elif stage:
            prefixes[stage[0]] = f"{stage[1]}op_list."
    return prefixes


_FAMILIES = {"repvit": _repvit, "tinyvit": _tinyvit, "efficientvit": _efficientvit}
