"""SAM3's memory tracker in a file under Meta's names, into transformers' names and config.

Meta's ``sam3.pt`` holds the tracker at ``tracker.`` and its neck as a second set of convolutions beside the detector's
(``sam2_convs``). Every tensor has a place in transformers' ``Sam3TrackerVideoModel`` and ``Sam3VisionNeck``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import Sam3TrackerVideoConfig

from ..errors import LitetextError
from .meta_layout import detector_config

if TYPE_CHECKING:
    from ..encoders.tensorfile import TensorFile

MODEL, NECK = "tracker_model.", "tracker_neck."
"""What transformers' ``Sam3VideoModel`` calls the tracker's two parts."""

_META_NECK = "detector.backbone.vision_backbone.sam2_convs."
_META_MODEL = "tracker."
_POINTS = "sam_prompt_encoder.point_embeddings."

_RENAMED: tuple[tuple[str, str], ...] = (
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^transformer\.encoder\.norm\.", "memory_attention.layer_norm."),
    (r"^transformer\.encoder\.", "memory_attention."),
    (r"^maskmem_backbone\.out_proj\.", "memory_encoder.projection."),
    (r"^maskmem_backbone\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^maskmem_backbone\.mask_downsampler\.encoder\.12\.", "memory_encoder.mask_downsampler.final_conv."),
    (r"^maskmem_backbone\.mask_downsampler\.encoder\.(\d+)\.", "memory_encoder.mask_downsampler.#"),
    (r"^maskmem_backbone\.fuser\.", "memory_encoder.memory_fuser."),
    (
        r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_image_embedding.positional_embedding",
    ),
    (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^sam_mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
)
"""How the beginnings of names change; the first that fits."""

_INNER: tuple[tuple[str, str], ...] = (
    (r"(\.(?:self_attn|cross_attn\w*|final_attn\w*))\.out_proj\.", r"\1.o_proj."),
    (r"\.norm([1-4])\.", r".layer_norm\1."),
    (r"\.mlp\.lin1\.", ".mlp.proj_in."),
    (r"\.mlp\.lin2\.", ".mlp.proj_out."),
    (r"((?:_mlps\.\d+|_head|^object_pointer_proj))\.layers\.0\.", r"\1.proj_in."),
    (r"((?:_mlps\.\d+|_head|^object_pointer_proj))\.layers\.1\.", r"\1.layers.0."),
    (r"((?:_mlps\.\d+|_head|^object_pointer_proj))\.layers\.2\.", r"\1.proj_out."),
    (r"(memory_fuser\.layers\.\d+)\.gamma$", r"\1.scale"),
    (r"(memory_fuser\.layers\.\d+)\.dwconv\.", r"\1.depthwise_conv."),
    (r"(memory_fuser\.layers\.\d+)\.norm\.", r"\1.layer_norm."),
    (r"(memory_fuser\.layers\.\d+)\.pwconv([12])\.", r"\1.pointwise_conv\2."),
)
"""How the rest changes; each that fits."""

_LEVELS: tuple[dict[str, str], ...] = (
    {"dconv_2x2_0": "scale_layers.0", "dconv_2x2_1": "scale_layers.2"},
    {"dconv_2x2": "scale_layers.0"},
    {},
    {},
)


def has_meta_tracker(file: TensorFile) -> bool:
    """Whether a file under Meta's names holds SAM3's memory tracker (not SAM 3.1's, which is another)."""
    return _META_MODEL + "maskmem_tpos_enc" in file


def transformers_names(key: str) -> list[str]:
    """Return transformers' names of one of Meta's tracker tensors; a point embedding is a row of one.

    Args:
        key: as in the file, ``tracker.…`` or the tracker's neck.
    """
    if key.startswith(_META_NECK):
        level, module, leaf = key.removeprefix(_META_NECK).split(".", 2)
        modules = _LEVELS[int(level)] | {"conv_1x1": "proj1", "conv_3x3": "proj2"}
        return [f"{NECK}fpn_layers.{level}.{modules[module]}.{leaf}"]
    inner = key.removeprefix(_META_MODEL)
    if inner.startswith(_POINTS):
        return [MODEL + "prompt_encoder.point_embed.weight"]
    for pattern, ours in _RENAMED:
        found = re.match(pattern, inner)
        if found:
            inner = _downsampler(found, inner) if ours.endswith("#") else ours + inner[found.end() :]
            break
    for pattern, ours in _INNER:
        inner = re.sub(pattern, ours, inner)
    names = [MODEL + inner]
    if inner == "shared_image_embedding.positional_embedding":
        names.append(MODEL + "prompt_encoder.shared_embedding.positional_embedding")
    return names


def _downsampler(found: re.Match[str], key: str) -> str:
    """The mask downsampler is convolution, norm, activation, over and over."""
    block, part = divmod(int(found[1]), 3)
    module = ("conv", "layer_norm")[part]
    return f"memory_encoder.mask_downsampler.layers.{block}.{module}.{key[found.end() :]}"


def tracker_tensors(file: TensorFile) -> dict[str, Tensor]:
    """Return the tracker of a file under Meta's names, under those of transformers' ``Sam3VideoModel``."""
    tensors: dict[str, Tensor] = {}
    points = sorted(key for key in file if key.startswith(_META_MODEL + _POINTS))
    for key in file:
        if not key.startswith((_META_MODEL, _META_NECK)) or key in points:
            continue
        tensors |= dict.fromkeys(transformers_names(key), file.get(key))
    if points:
        tensors[transformers_names(points[0])[0]] = torch.cat([file.get(key) for key in points])
    return tensors


def tracker_config(file: TensorFile) -> Sam3TrackerVideoConfig:
    """Return transformers' config of the tracker in a file under Meta's names, read off its tensors.

    Raises:
        LitetextError: a tensor that the config is read from is missing, by name.
    """
    detector: Any = detector_config(file)
    vision = detector.vision_config.to_dict()
    hidden = vision["fpn_hidden_size"]
    sizes = {"hidden_size": hidden}
    side = detector.image_size
    patch = vision["backbone_config"]["patch_size"]
    sized: dict[str, Any] = {"image_size": side}
    return Sam3TrackerVideoConfig(
        vision_config=vision,
        **sized,
        prompt_encoder_config=sizes | {"image_size": side, "patch_size": patch},
        mask_decoder_config=sizes
        | {
            "mlp_dim": _shape(file, "sam_mask_decoder.transformer.layers.0.mlp.lin1.weight")[0],
            "num_hidden_layers": _count(file, r"tracker\.sam_mask_decoder\.transformer\.layers\.\d+\.norm1\.weight"),
            "iou_head_hidden_dim": _shape(file, "sam_mask_decoder.iou_prediction_head.layers.0.weight")[0],
            "attention_downsample_rate": hidden
            // _shape(file, "sam_mask_decoder.transformer.final_attn_token_to_image.q_proj.weight")[0],
        },
        num_maskmem=_shape(file, "maskmem_tpos_enc")[0],
        memory_attention_hidden_size=hidden,
        memory_attention_num_layers=_count(file, r"tracker\.transformer\.encoder\.layers\.\d+\.norm1\.weight"),
        memory_attention_feed_forward_hidden_size=_shape(file, "transformer.encoder.layers.0.linear1.weight")[0],
        memory_attention_rope_feat_sizes=[side // patch, side // patch],
        memory_encoder_hidden_size=_shape(file, "maskmem_backbone.pix_feat_proj.weight")[0],
        memory_encoder_output_channels=_shape(file, "maskmem_backbone.out_proj.weight")[0],
        mask_downsampler_embed_dim=_shape(file, "maskmem_backbone.mask_downsampler.encoder.12.weight")[0],
        memory_fuser_embed_dim=_shape(file, "maskmem_backbone.pix_feat_proj.weight")[0],
        memory_fuser_intermediate_dim=_shape(file, "maskmem_backbone.fuser.layers.0.pwconv1.weight")[0],
        memory_fuser_num_layers=_count(file, r"tracker\.maskmem_backbone\.fuser\.layers\.\d+\.gamma"),
    )


def _shape(file: TensorFile, key: str) -> tuple[int, ...]:
    name = _META_MODEL + key
    if name not in file:
        raise LitetextError(f"{file.source} lacks the key {name}; use the file as its authors published it")
    return file.shape(name)


def _count(file: TensorFile, pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in file)
