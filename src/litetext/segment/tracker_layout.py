"""SAM3's video tracker: the names that Meta's files and transformers' `Sam3VideoModel` give its tensors.

SAM 3.1's tracker is another, which transformers does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Sam3TrackerVideoConfig

from ..encoders.tensorfile import LazyTensor
from ..errors import LitetextError
from .meta_layout import NECK_MODULES, renamed
from .tracker_names import MEMORY

MODEL, NECK = "tracker_model.", "tracker_neck."
"""What transformers' `Sam3VideoModel` calls the tracker's two parts."""

_THREE = {"layers.0": "proj_in", "layers.1": "layers.0", "layers.2": "proj_out"}
"""The layers of a perceptron of three."""

_ATTENTION = {f"{part}_proj": f"{part}_proj" for part in "qkv"} | {"out_proj": "o_proj"}


def _each(theirs: str, ours: str, inner: Mapping[str, str]) -> dict[str, str]:
    return {f"{theirs}.{one}": f"{ours}.{other}" for one, other in inner.items()}


_NORMS = {f"norm{number}": f"layer_norm{number}" for number in (1, 2, 3, 4)}

# Modules and bare parameters, below `tracker.` and below `tracker_model.`; `#` is an index that both share.
_TRACKER = {
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
    "mask_downsample": "mask_downsample",
    "obj_ptr_tpos_proj": "temporal_positional_encoding_projection_layer",
    **_each("obj_ptr_proj", "object_pointer_proj", _THREE),
    "transformer.encoder.norm": "memory_attention.layer_norm",
    **_each(
        "transformer.encoder.layers.#",
        "memory_attention.layers.#",
        {
            **{f"self_attn.{one}": f"self_attn.{other}" for one, other in _ATTENTION.items()},
            **{f"cross_attn_image.{one}": f"cross_attn_image.{other}" for one, other in _ATTENTION.items()},
            "linear1": "linear1",
            "linear2": "linear2",
            **_NORMS,
        },
    ),
    **_each(
        "maskmem_backbone.mask_downsampler",
        "memory_encoder.mask_downsampler",
        {
            **{f"encoder.{3 * level}": f"layers.{level}.conv" for level in range(4)},
            **{f"encoder.{3 * level + 1}": f"layers.{level}.layer_norm" for level in range(4)},
            "encoder.12": "final_conv",
        },
    ),
    **_each(
        "maskmem_backbone",
        "memory_encoder",
        {
            "pix_feat_proj": "feature_projection",
            "out_proj": "projection",
            "fuser.layers.#.gamma": "memory_fuser.layers.#.scale",
            "fuser.layers.#.dwconv": "memory_fuser.layers.#.depthwise_conv",
            "fuser.layers.#.norm": "memory_fuser.layers.#.layer_norm",
            "fuser.layers.#.pwconv1": "memory_fuser.layers.#.pointwise_conv1",
            "fuser.layers.#.pwconv2": "memory_fuser.layers.#.pointwise_conv2",
        },
    ),
    **_each(
        "sam_prompt_encoder",
        "prompt_encoder",
        {
            "mask_downscaling.0": "mask_embed.conv1",
            "mask_downscaling.1": "mask_embed.layer_norm1",
            "mask_downscaling.3": "mask_embed.conv2",
            "mask_downscaling.4": "mask_embed.layer_norm2",
            "mask_downscaling.6": "mask_embed.conv3",
            "no_mask_embed": "no_mask_embed",
            "not_a_point_embed": "not_a_point_embed",
        },
    ),
    "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": "shared_image_embedding.positional_embedding",
    **_each(
        "sam_mask_decoder",
        "mask_decoder",
        {
            **{
                f"transformer.{where}.{one}": f"transformer.{where}.{other}"
                for where in (
                    "layers.#.self_attn",
                    "layers.#.cross_attn_token_to_image",
                    "layers.#.cross_attn_image_to_token",
                    "final_attn_token_to_image",
                )
                for one, other in _ATTENTION.items()
            },
            **_each("transformer.layers.#", "transformer.layers.#", _NORMS),
            "transformer.layers.#.mlp.lin1": "transformer.layers.#.mlp.proj_in",
            "transformer.layers.#.mlp.lin2": "transformer.layers.#.mlp.proj_out",
            "transformer.norm_final_attn": "transformer.layer_norm_final_attn",
            "iou_token": "iou_token",
            "mask_tokens": "mask_tokens",
            "obj_score_token": "obj_score_token",
            "output_upscaling.0": "upscale_conv1",
            "output_upscaling.1": "upscale_layer_norm",
            "output_upscaling.3": "upscale_conv2",
            "conv_s0": "conv_s0",
            "conv_s1": "conv_s1",
            **_each("output_hypernetworks_mlps.#", "output_hypernetworks_mlps.#", _THREE),
            **_each("iou_prediction_head", "iou_prediction_head", _THREE),
            **_each("pred_obj_score_head", "pred_obj_score_head", _THREE),
        },
    ),
}
_TO_OURS = {
    **{f"tracker.{theirs}": MODEL + ours for theirs, ours in _TRACKER.items()},
    **{
        f"backbone.vision_backbone.sam2_convs.{theirs}": f"{NECK}fpn_layers.{ours}"
        for theirs, ours in NECK_MODULES.items()
    },
}
_TO_THEIRS = {ours: theirs for theirs, ours in _TO_OURS.items()}

_POINTS = "tracker.sam_prompt_encoder.point_embeddings.{}.weight", "tracker_model.prompt_encoder.point_embed.weight"
"""One tensor a kind of point in Meta's files, one table in transformers'."""

_SHARED = "tracker_model.shared_image_embedding.positional_embedding"
_COPY = "tracker_model.prompt_encoder.shared_embedding.positional_embedding"
"""transformers keeps the random frequencies of positions twice."""


def once(key: str) -> str:
    """Return a tracker's key without the second prefix that `save_pretrained` of transformers 5.24 writes."""
    return key.removeprefix(MODEL) if key.startswith(MODEL + MODEL) else key


def tracker_from_meta(tensors: Mapping[str, LazyTensor]) -> tuple[dict[str, LazyTensor], dict[str, LazyTensor]]:
    """Return the tracker among Meta's tensors under transformers' names, and what is none of its tensors.

    Args:
        tensors: by Meta's names, ``detector.`` left out. SAM 3.1's tracker stays among the others.
    """
    if MEMORY not in tensors:
        return {}, dict(tensors)
    found: dict[str, LazyTensor] = {}
    others: dict[str, LazyTensor] = {}
    points: dict[str, LazyTensor] = {}
    for key, tensor in tensors.items():
        ours = _renamed_key(key, _TO_OURS)
        if ours is not None:
            found[ours] = tensor
        elif key.startswith(_POINTS[0].partition("{}")[0]):
            points[key] = tensor
        else:
            others[key] = tensor
    if points:
        found[_POINTS[1]] = _stacked([points[key] for key in sorted(points)])
    if _SHARED in found:
        found[_COPY] = found[_SHARED]
    return found, others


def tracker_to_meta(tracker: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Return transformers' tensors of the tracker under Meta's names; those of its neck stand below ``detector.``.

    Raises:
        KeyError: a name that is none of the tracker's.
    """
    found: dict[str, LazyTensor] = {}
    for name, tensor in tracker.items():
        if name == _POINTS[1]:
            found |= {_POINTS[0].format(row): _row(tensor, row) for row in range(tensor.shape[0])}
        elif name != _COPY:
            theirs = _renamed_key(name, _TO_THEIRS)
            if theirs is None:
                raise KeyError(name)
            found[theirs if theirs.startswith("tracker.") else f"detector.{theirs}"] = tensor
    return found


def tracker_config(tracker: Mapping[str, LazyTensor], detector: Any) -> Sam3TrackerVideoConfig:
    """Return transformers' config of a tracker, read off its tensors; what they do not say is as Meta published it.

    Args:
        tracker: by transformers' names, from `tracker_from_meta`.
        detector: transformers' config of the detector beside it.

    Raises:
        LitetextError: a tensor that the config is read from is missing, by name.
    """

    def shape(name: str) -> tuple[int, ...]:
        if MODEL + name not in tracker:
            raise LitetextError(f"the tracker lacks {name}; use the file as its authors published it")
        return tracker[MODEL + name].shape

    def count(before: str, after: str) -> int:
        return sum(f"{MODEL}{before}.{index}.{after}" in tracker for index in range(len(tracker)))

    vision = detector.vision_config.to_dict()
    side, patch = detector.image_size, vision["backbone_config"]["patch_size"]
    hidden = vision["fpn_hidden_size"]
    sized: dict[str, Any] = {"image_size": side}
    return Sam3TrackerVideoConfig(
        vision_config=vision,
        **sized,
        prompt_encoder_config={"hidden_size": hidden, "image_size": side, "patch_size": patch},
        mask_decoder_config={
            "hidden_size": hidden,
            "mlp_dim": shape("mask_decoder.transformer.layers.0.mlp.proj_in.weight")[0],
            "num_hidden_layers": count("mask_decoder.transformer.layers", "layer_norm1.weight"),
            "num_multimask_outputs": shape("mask_decoder.mask_tokens.weight")[0] - 1,
            "iou_head_hidden_dim": shape("mask_decoder.iou_prediction_head.proj_in.weight")[0],
            "attention_downsample_rate": hidden
            // shape("mask_decoder.transformer.final_attn_token_to_image.q_proj.weight")[0],
        },
        num_maskmem=shape("memory_temporal_positional_encoding")[0],
        memory_attention_hidden_size=hidden,
        memory_attention_num_layers=count("memory_attention.layers", "layer_norm1.weight"),
        memory_attention_feed_forward_hidden_size=shape("memory_attention.layers.0.linear1.weight")[0],
        memory_attention_rope_feat_sizes=[side // patch, side // patch],
        memory_encoder_hidden_size=shape("memory_encoder.feature_projection.weight")[0],
        memory_encoder_output_channels=shape("memory_encoder.projection.weight")[0],
        mask_downsampler_embed_dim=shape("memory_encoder.mask_downsampler.final_conv.weight")[0],
        memory_fuser_embed_dim=shape("memory_encoder.memory_fuser.layers.0.depthwise_conv.weight")[0],
        memory_fuser_intermediate_dim=shape("memory_encoder.memory_fuser.layers.0.pointwise_conv1.weight")[0],
        memory_fuser_kernel_size=shape("memory_encoder.memory_fuser.layers.0.depthwise_conv.weight")[-1],
        memory_fuser_num_layers=count("memory_encoder.memory_fuser.layers", "scale"),
    )


def _renamed_key(key: str, names: Mapping[str, str]) -> str | None:
    """The other side's name of a module's weight, or of a parameter that belongs to none."""
    whole = renamed(key, names)
    if whole is not None:
        return whole
    module, _, leaf = key.rpartition(".")
    found = renamed(module, names)
    return None if found is None else f"{found}.{leaf}"


def _stacked(rows: list[LazyTensor]) -> LazyTensor:
    shape = (sum(row.shape[0] for row in rows), *rows[0].shape[1:])
    return LazyTensor(shape, rows[0].dtype, lambda: torch.cat([row.read() for row in rows]))


def _row(table: LazyTensor, row: int) -> LazyTensor:
    return LazyTensor((1, *table.shape[1:]), table.dtype, lambda: table.read()[row : row + 1])
