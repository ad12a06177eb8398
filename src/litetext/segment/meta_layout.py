"""A whole SAM3 checkpoint as Meta and SAM3-LiteText's authors publish it, into transformers' names and config.

The file says nothing of its own shape, so the config is read off the tensors: widths and depths from the weights,
the image and window sizes from the rotary tables that the vision encoder keeps beside them. What image
segmentation never reads (the text tower, the tracker, the point encoder) is left where it is; every other key must
have a place here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import Sam3Config

from ..errors import LitetextError

if TYPE_CHECKING:
    from ..encoders.tensorfile import TensorFile

_PREFIX = "detector."

_UNREAD = re.compile(
    r"backbone\.language_backbone\.|backbone\.vision_backbone\.sam2_convs\.|geometry_encoder\.(points|mask)_"
    r"|transformer\.decoder\.instance_|backbone\.vision_backbone\.trunk\.blocks\.\d+\.attn\.freqs_cis$"
)

# Their modules -> transformers', by the module that both hold. `#` stands for an index that both share.
_MODULES: dict[tuple[str, str], dict[str, str]] = {
    ("backbone.vision_backbone.trunk.", "vision_encoder.backbone."): {
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "ln_pre": "layer_norm",
    },
    ("backbone.vision_backbone.trunk.blocks.#.", "vision_encoder.backbone.layers.#."): {
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "attn.qkv": "attention",
        "attn.proj": "attention.o_proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    },
    ("backbone.vision_backbone.convs.#.", "vision_encoder.neck.fpn_layers.#."): {
        "dconv_2x2_0": "scale_layers.0",
        "dconv_2x2_1": "scale_layers.2",
        "dconv_2x2": "scale_layers.0",
        "conv_1x1": "proj1",
        "conv_3x3": "proj2",
    },
    ("geometry_encoder.", "geometry_encoder."): {
        "label_embed": "label_embed",
        "cls_embed": "cls_embed",
        "boxes_direct_project": "boxes_direct_project",
        "boxes_pool_project": "boxes_pool_project",
        "boxes_pos_enc_project": "boxes_pos_enc_project",
        "final_proj": "final_proj",
        "img_pre_norm": "vision_layer_norm",
        "norm": "prompt_layer_norm",
        "encode_norm": "output_layer_norm",
    },
    ("geometry_encoder.encode.#.", "geometry_encoder.layers.#."): {
        "self_attn": "self_attn",
        "cross_attn_image": "cross_attn",
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "norm3": "layer_norm3",
    },
    ("transformer.encoder.layers.#.", "detr_encoder.layers.#."): {
        "self_attn": "self_attn",
        "cross_attn_image": "cross_attn",
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "norm3": "layer_norm3",
    },
    ("transformer.decoder.layers.#.", "detr_decoder.layers.#."): {
        "self_attn": "self_attn",
        "ca_text": "text_cross_attn",
        "cross_attn": "vision_cross_attn",
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "norm1": "vision_cross_attn_layer_norm",
        "catext_norm": "text_cross_attn_layer_norm",
        "norm2": "self_attn_layer_norm",
        "norm3": "mlp_layer_norm",
    },
    ("transformer.decoder.", "detr_decoder."): {
        "query_embed": "query_embed",
        "reference_points": "reference_points",
        "presence_token": "presence_token",
        "presence_token_out_norm": "presence_layer_norm",
        "norm": "output_layer_norm",
        **{
            f"{theirs}.layers.{index}": f"{ours}.layer{index + 1}"
            for theirs, ours, depth in (
                ("presence_token_head", "presence_head", 3),
                ("bbox_embed", "box_head", 3),
                ("ref_point_head", "ref_point_head", 2),
                ("boxRPB_embed_x", "box_rpb_embed_x", 2),
                ("boxRPB_embed_y", "box_rpb_embed_y", 2),
            )
            for index in range(depth)
        },
    },
    ("dot_prod_scoring.", "dot_product_scoring."): {
        "prompt_mlp.layers.0": "text_mlp.layer1",
        "prompt_mlp.layers.1": "text_mlp.layer2",
        "prompt_mlp.out_norm": "text_mlp_out_norm",
        "prompt_proj": "text_proj",
        "hs_proj": "query_proj",
    },
    ("segmentation_head.", "mask_decoder."): {
        "pixel_decoder.conv_layers.#": "pixel_decoder.conv_layers.#",
        "pixel_decoder.norms.#": "pixel_decoder.norms.#",
        "mask_predictor.mask_embed.layers.#": "mask_embedder.layers.#",
        "instance_seg_head": "instance_projection",
        "semantic_seg_head": "semantic_projection",
        "cross_attend_prompt": "prompt_cross_attn",
        "cross_attn_norm": "prompt_cross_attn_norm",
    },
}
_NAMES = {
    theirs + inner: ours + renamed for (theirs, ours), table in _MODULES.items() for inner, renamed in table.items()
}


def is_meta_layout(file: TensorFile) -> bool:
    """Whether ``file`` holds a whole SAM3 under Meta's names."""
    return any(key.startswith(_PREFIX + "transformer.decoder.") for key in file)


def detector_config(file: TensorFile) -> Sam3Config:
    """Return transformers' config of the SAM3 in ``file``, read off its tensors.

    Raises:
        LitetextError: a tensor that the config is read from is missing, by name.
    """
    shapes = _Shapes(file)
    trunk = "backbone.vision_backbone.trunk."
    blocks = shapes.count(trunk + "blocks.#.norm1.weight")
    width, _, patch, _ = shapes[trunk + "patch_embed.proj.weight"]
    tables = [shapes[f"{trunk}blocks.{index}.attn.freqs_cis"] for index in range(blocks)]
    grid, window = (math.isqrt(extreme(length for length, _ in tables)) for extreme in (max, min))
    hidden = shapes["transformer.decoder.query_embed.weight"][1]
    block = {
        "hidden_size": hidden,
        "num_attention_heads": shapes["transformer.decoder.boxRPB_embed_x.layers.1.weight"][0],
    }
    ffn = {"intermediate_size": shapes["transformer.encoder.layers.0.linear1.weight"][0]}
    return Sam3Config(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": width,
                "intermediate_size": shapes[trunk + "blocks.0.mlp.fc1.weight"][0],
                "num_hidden_layers": blocks,
                "num_attention_heads": width // (2 * tables[0][1]),
                "patch_size": patch,
                "image_size": grid * patch,
                "window_size": window,
                "global_attn_indexes": [index for index, (length, _) in enumerate(tables) if length == grid * grid],
                "pretrain_image_size": math.isqrt(shapes[trunk + "pos_embed"][1] - 1) * patch,
            },
            "fpn_hidden_size": hidden,
            "backbone_feature_sizes": [[scale * grid, scale * grid] for scale in (4, 2, 1)],
        },
        geometry_encoder_config=block
        | ffn
        | {
            "num_layers": shapes.count("geometry_encoder.encode.#.norm1.weight"),
            "roi_size": shapes["geometry_encoder.boxes_pool_project.weight"][-1],
        },
        detr_encoder_config=block | ffn | {"num_layers": shapes.count("transformer.encoder.layers.#.norm1.weight")},
        detr_decoder_config=block
        | ffn
        | {
            "num_layers": shapes.count("transformer.decoder.layers.#.norm1.weight"),
            "num_queries": shapes["transformer.decoder.query_embed.weight"][0],
        },
        mask_decoder_config=block
        | {"num_upsampling_stages": shapes.count("segmentation_head.pixel_decoder.conv_layers.#.weight")},
    )


def detector_tensors(file: TensorFile) -> dict[str, Tensor]:
    """Return the tensors of the SAM3 in ``file`` under transformers' names, without text tower and tracker.

    Raises:
        LitetextError: a key without a place, by name.
    """
    tensors: dict[str, Tensor] = {}
    for key in file:
        if key.startswith(_PREFIX) and not _UNREAD.match(key.removeprefix(_PREFIX)):
            tensors.update(_renamed(key, file))
    return tensors


def _renamed(key: str, file: TensorFile) -> Iterator[tuple[str, Tensor]]:
    """One of their tensors as transformers has it: under another name, or as three."""
    name = key.removeprefix(_PREFIX)
    if name == "backbone.vision_backbone.trunk.pos_embed":
        # [1, 1 + N, D]: the first row is a class token's, which SAM3 does not have
        yield "vision_encoder.backbone.embeddings.position_embeddings", file.get(key)[:, 1:]
        return
    module, _, leaf = name.rpartition(".")
    joined = re.fullmatch(r"in_proj_(weight|bias)", leaf)
    ours = _module_name(module)
    if ours is None:
        raise LitetextError(
            f"{file.source} has an unexpected key: {key}; use the file as its authors published it, "
            "or the model's transformers version from the hub"
        )
    if joined or module.endswith("attn.qkv"):
        kind = joined.group(1) if joined else leaf
        for part, tensor in zip("qkv", torch.chunk(file.get(key), 3), strict=True):
            yield f"{ours}.{part}_proj.{kind}", tensor
        return
    attention = module.endswith(".out_proj")
    yield f"{ours}.o_proj.{leaf}" if attention else f"{ours}.{leaf}", file.get(key)


def _module_name(module: str) -> str | None:
    """Their module's name in transformers, or None where it has none."""
    module = module.removesuffix(".out_proj")
    if module in _NAMES:
        return _NAMES[module]
    indices = iter(re.findall(r"(?<=\.)\d+(?=\.|$)", module))
    pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", "#", module, count=1)
    return re.sub("#", lambda _: next(indices), _NAMES[pattern]) if pattern in _NAMES else None


class _Shapes:
    """Shapes by name below the prefix; a missing one is an error that names it."""

    def __init__(self, file: TensorFile) -> None:
        self._file = file

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if _PREFIX + name not in self._file:
            raise LitetextError(
                f"{self._file.source} lacks the key {_PREFIX + name}; use the file as its authors published it, "
                "or the model's transformers version from the hub"
            )
        return self._file.shape(_PREFIX + name)

    def count(self, pattern: str) -> int:
        """How many names fit the pattern, in which ``#`` is an index."""
        before, after = (_PREFIX + pattern).split("#")
        fits = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        number = sum(fits.fullmatch(key) is not None for key in self._file)
        return number or len(self[pattern])
