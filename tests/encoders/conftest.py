"""Small random encoders, drawn so that every part of them matters."""

from __future__ import annotations

import torch

from litetext.encoders.config import AUTHORS, SAM3, Convention, EncoderConfig
from litetext.encoders.modules import TextTransformer, build

STRUCTURES = ("s0", "s1", "teacher")


def small_config(structure: str, convention: Convention | None = None, **changes: object) -> EncoderConfig:
    """A full-vocabulary encoder of one of the published structures, narrow and shallow."""
    shape: dict[str, object] = {"width": 32, "heads": 4, "ffn": 64, "layers": 4, "output_dim": 32}
    shape |= {"repmixer": structure == "s0", "causal": structure == "teacher"}
    shape |= {
        "position_rows": 32 if structure == "teacher" else 16,
        "unused_projection": 24 if structure == "teacher" else 32,
    }
    default = SAM3 if structure == "teacher" else AUTHORS
    return EncoderConfig("custom", **(shape | changes), convention=convention or default)  # type: ignore[arg-type]


def random_encoder(config: EncoderConfig, seed: int = 0) -> TextTransformer:
    """Weights large enough that attention, positions and both RepMixer branches move the output."""
    torch.manual_seed(seed)
    module = build(config)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith(("running_var",)):
                tensor.uniform_(0.5, 2.0)
            elif name.endswith(("running_mean", "bias")):
                tensor.normal_(std=0.3)
            elif name.endswith("scale"):
                tensor.uniform_(0.2, 0.8)
            elif "norm" in name and name.endswith("weight"):
                tensor.uniform_(0.5, 1.5)
            elif name in ("token_embedding.weight", "position_embedding"):
                tensor.normal_(std=0.5)
            elif tensor.is_floating_point():
                tensor.normal_(std=tensor.shape[-1] ** -0.5)
    return module.eval()
