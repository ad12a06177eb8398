"""A whole SAM3 as Meta publishes it: config read off the tensors, every key placed, loading is strict."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from litetext import LitetextError, Segmenter
from litetext.segment import meta_layout
from litetext.segment.checkpoint import load_detector

from .conftest import PROMPTS, Reference
from .test_loading import Constant

# transformers' names -> the published ones, written down apart from the package's own table.
_PUBLISHED = [
    (
        r"^vision_encoder\.backbone\.embeddings\.patch_embeddings\.projection\.",
        "backbone.vision_backbone.trunk.patch_embed.proj.",
    ),
    (r"^vision_encoder\.backbone\.embeddings\.position_embeddings$", "backbone.vision_backbone.trunk.pos_embed"),
    (r"^vision_encoder\.backbone\.layer_norm\.", "backbone.vision_backbone.trunk.ln_pre."),
    (r"^vision_encoder\.backbone\.layers\.(\d+)\.", r"backbone.vision_backbone.trunk.blocks.\1."),
    (r"trunk\.blocks\.(\d+)\.layer_norm(\d)\.", r"trunk.blocks.\1.norm\2."),
    (r"trunk\.blocks\.(\d+)\.attention\.o_proj\.", r"trunk.blocks.\1.attn.proj."),
    (r"trunk\.blocks\.(\d+)\.attention\.qkv\.", r"trunk.blocks.\1.attn.qkv."),
    (r"^vision_encoder\.neck\.fpn_layers\.0\.scale_layers\.0\.", "backbone.vision_backbone.convs.0.dconv_2x2_0."),
    (r"^vision_encoder\.neck\.fpn_layers\.0\.scale_layers\.2\.", "backbone.vision_backbone.convs.0.dconv_2x2_1."),
    (r"^vision_encoder\.neck\.fpn_layers\.1\.scale_layers\.0\.", "backbone.vision_backbone.convs.1.dconv_2x2."),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d)\.proj1\.", r"backbone.vision_backbone.convs.\1.conv_1x1."),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d)\.proj2\.", r"backbone.vision_backbone.convs.\1.conv_3x3."),
    (r"^geometry_encoder\.vision_layer_norm\.", "geometry_encoder.img_pre_norm."),
    (r"^geometry_encoder\.prompt_layer_norm\.", "geometry_encoder.norm."),
    (r"^geometry_encoder\.output_layer_norm\.", "geometry_encoder.encode_norm."),
    (r"^geometry_encoder\.layers\.(\d+)\.", r"geometry_encoder.encode.\1."),
    (r"^detr_encoder\.layers\.(\d+)\.", r"transformer.encoder.layers.\1."),
    (r"(geometry_encoder\.encode|transformer\.encoder\.layers)\.(\d+)\.cross_attn\.", r"\1.\2.cross_attn_image."),
    (r"(geometry_encoder\.encode|transformer\.encoder\.layers)\.(\d+)\.layer_norm", r"\1.\2.norm"),
    (r"^detr_decoder\.layers\.(\d+)\.text_cross_attn\.", r"transformer.decoder.layers.\1.ca_text."),
    (r"^detr_decoder\.layers\.(\d+)\.vision_cross_attn\.", r"transformer.decoder.layers.\1.cross_attn."),
    (r"^detr_decoder\.layers\.(\d+)\.vision_cross_attn_layer_norm\.", r"transformer.decoder.layers.\1.norm1."),
    (r"^detr_decoder\.layers\.(\d+)\.text_cross_attn_layer_norm\.", r"transformer.decoder.layers.\1.catext_norm."),
    (r"^detr_decoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"transformer.decoder.layers.\1.norm2."),
    (r"^detr_decoder\.layers\.(\d+)\.mlp_layer_norm\.", r"transformer.decoder.layers.\1.norm3."),
    (r"^detr_decoder\.output_layer_norm\.", "transformer.decoder.norm."),
    (r"^detr_decoder\.presence_layer_norm\.", "transformer.decoder.presence_token_out_norm."),
    (r"^detr_decoder\.presence_head\.", "transformer.decoder.presence_token_head."),
    (r"^detr_decoder\.box_head\.", "transformer.decoder.bbox_embed."),
    (r"^detr_decoder\.box_rpb_embed_", "transformer.decoder.boxRPB_embed_"),
    (r"^detr_decoder\.", "transformer.decoder."),
    (r"^dot_product_scoring\.text_mlp_out_norm\.", "dot_prod_scoring.prompt_mlp.out_norm."),
    (r"^dot_product_scoring\.text_mlp\.", "dot_prod_scoring.prompt_mlp."),
    (r"^dot_product_scoring\.text_proj\.", "dot_prod_scoring.prompt_proj."),
    (r"^dot_product_scoring\.query_proj\.", "dot_prod_scoring.hs_proj."),
    (r"^mask_decoder\.mask_embedder\.", "segmentation_head.mask_predictor.mask_embed."),
    (r"^mask_decoder\.instance_projection\.", "segmentation_head.instance_seg_head."),
    (r"^mask_decoder\.semantic_projection\.", "segmentation_head.semantic_seg_head."),
    (r"^mask_decoder\.prompt_cross_attn\.", "segmentation_head.cross_attend_prompt."),
    (r"^mask_decoder\.prompt_cross_attn_norm\.", "segmentation_head.cross_attn_norm."),
    (r"^mask_decoder\.", "segmentation_head."),
    (r"^((?!.*trunk).*)\.mlp\.fc([12])\.", r"\1.linear\2."),
    (r"^((?!.*trunk).*)\.o_proj\.", r"\1.out_proj."),
    (r"\.layer1\.", ".layers.0."),
    (r"\.layer2\.", ".layers.1."),
    (r"\.layer3\.", ".layers.2."),
]


def meta_checkpoint(model: Any) -> dict[str, Tensor]:
    """The state of a transformers SAM3 in the published layout, with the parts that segmentation does not read."""
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("text_")}
    for key in [key for key in state if ".q_proj." in key]:
        joined = torch.cat([state.pop(key.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"])
        kind = ".qkv." if key.startswith("vision_encoder") else ".in_proj_"
        state[key.replace(".q_proj.", kind)] = joined
    published = {}
    for key, value in state.items():
        for pattern, name in _PUBLISHED:
            key = re.sub(pattern, name, key)
        if key.endswith("trunk.pos_embed"):
            value = torch.cat([torch.full_like(value[:, :1], 9.0), value], dim=1)
        published["detector." + key] = value
    vit = model.config.vision_config.backbone_config
    for index in range(vit.num_hidden_layers):
        side = vit.image_size // vit.patch_size if index in vit.global_attn_indexes else vit.window_size
        table = torch.ones(side * side, vit.hidden_size // vit.num_attention_heads // 2, dtype=torch.complex64)
        published[f"detector.backbone.vision_backbone.trunk.blocks.{index}.attn.freqs_cis"] = table
    for unread in (
        "detector.backbone.language_backbone.encoder.token_embedding.weight",
        "detector.backbone.vision_backbone.sam2_convs.0.conv_1x1.weight",
        "detector.geometry_encoder.points_direct_project.weight",
        "tracker.maskmem_tpos_enc",
    ):
        published[unread] = torch.ones(2, 2)
    return published


@pytest.fixture(scope="module")
def checkpoint(teacher: Reference) -> dict[str, Tensor]:
    return meta_checkpoint(teacher.model)


def test_the_names_are_the_published_ones(checkpoint: dict[str, Tensor]) -> None:
    for name in (
        "detector.backbone.vision_backbone.trunk.blocks.1.attn.qkv.weight",
        "detector.backbone.vision_backbone.convs.0.dconv_2x2_1.bias",
        "detector.geometry_encoder.encode.1.cross_attn_image.in_proj_weight",
        "detector.transformer.encoder.layers.1.linear2.weight",
        "detector.transformer.decoder.layers.2.ca_text.out_proj.bias",
        "detector.transformer.decoder.layers.0.catext_norm.weight",
        "detector.transformer.decoder.presence_token_head.layers.2.weight",
        "detector.transformer.decoder.boxRPB_embed_x.layers.1.bias",
        "detector.dot_prod_scoring.prompt_mlp.layers.0.weight",
        "detector.segmentation_head.mask_predictor.mask_embed.layers.2.weight",
        "detector.segmentation_head.cross_attend_prompt.in_proj_bias",
    ):
        assert name in checkpoint


def test_a_published_file_finds_what_the_transformers_folder_finds(
    teacher: Reference, checkpoint: dict[str, Tensor], photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    torch.save({"model": checkpoint}, tmp_path / "sam3.pt")
    encoder = Constant()
    found, wanted = (
        Segmenter.from_pretrained(source, text=encoder, device="cpu", convention="transformers").segment(
            photo, PROMPTS[:2], [None, [[5, 5, 60, 60]]], threshold=0.0
        )
        for source in (tmp_path / "sam3.pt", teacher.folder)
    )
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-4)
    assert (found.masks != wanted.masks).mean() < 1e-4


def _at_root(checkpoint: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("detector."): value for key, value in checkpoint.items()}


def _sam31(checkpoint: dict[str, Tensor]) -> dict[str, Tensor]:
    neck = "detector.backbone.vision_backbone."
    kept = {key: value for key, value in checkpoint.items() if "vision_backbone.convs.3" not in key}
    necks = {key.replace(".convs.", f".{name}_convs."): value for key, value in kept.items()
             for name in ("interactive", "propagation") if key.startswith(neck + "convs.")}  # fmt: skip
    return kept | necks | {"tracker.model.maskmem_tpos_enc": torch.ones(2, 2)}


def _training(checkpoint: dict[str, Tensor]) -> dict[str, Any]:
    return {"model": checkpoint, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}, "epoch": 3}


def _without_rotary(checkpoint: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.contiguous() for key, value in checkpoint.items() if not key.endswith("freqs_cis")}


def _save_pt(contents: Any, folder: Path) -> Path:
    torch.save(contents, folder / "sam3.pt")
    return folder / "sam3.pt"


def _save_safetensors(contents: dict[str, Tensor], folder: Path) -> Path:
    save_file(contents, folder / "sam3.safetensors")
    return folder / "sam3.safetensors"


def _save_shards(contents: dict[str, Tensor], folder: Path) -> Path:
    keys = sorted(contents)
    names = {key: f"model-0000{1 + (2 * row >= len(keys))}-of-00002.safetensors" for row, key in enumerate(keys)}
    for name in set(names.values()):
        save_file({key: contents[key] for key in keys if names[key] == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return folder


@pytest.mark.parametrize(
    ("contents", "save"),
    [
        pytest.param(lambda given: {"model": given}, _save_pt, id="as published"),
        pytest.param(lambda given: _training(_at_root(given)), _save_pt, id="training, root"),
        pytest.param(lambda given: {"state_dict": given, "step": 1}, _save_pt, id="state_dict"),
        pytest.param(lambda given: {"ema": given}, _save_pt, id="ema"),
        pytest.param(lambda given: {"model": _sam31(given)}, _save_pt, id="sam 3.1"),
        pytest.param(_without_rotary, _save_safetensors, id="safetensors without rotary tables"),
        pytest.param(lambda given: _at_root(_without_rotary(given)), _save_shards, id="shards"),
    ],
)
def test_a_published_file_finds_the_same_in_every_layout(
    teacher: Reference,
    checkpoint: dict[str, Tensor],
    photo: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Any,
    save: Any,
) -> None:
    vit = teacher.model.config.vision_config.backbone_config
    rotary = {
        "heads": vit.num_attention_heads,
        "grid": vit.image_size // vit.patch_size,
        "window": vit.window_size,
        "global": list(vit.global_attn_indexes),
    }
    monkeypatch.setitem(meta_layout.PUBLISHED_ROTARY, (vit.hidden_size, vit.num_hidden_layers), rotary)
    torch.save({"model": checkpoint}, tmp_path / "plain.pt")
    (tmp_path / "other").mkdir()
    path = save(contents(checkpoint), tmp_path / "other")
    encoder = Constant()
    found, wanted = (
        Segmenter.from_pretrained(source, text=encoder, device="cpu").segment(photo, PROMPTS[:2], threshold=0.0)
        for source in (path, tmp_path / "plain.pt")
    )
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_computed_in_float32_unless_asked(
    checkpoint: dict[str, Tensor], tmp_path: Path, dtype: torch.dtype
) -> None:
    half = {key: value if value.is_complex() else value.to(dtype) for key, value in checkpoint.items()}
    path = _save_pt({"model": half}, tmp_path)
    name = "detector.dot_prod_scoring.prompt_proj.weight"
    detector = load_detector(path, torch.device("cpu"), torch.float32)
    assert torch.equal(detector.dot_product_scoring.text_proj.weight, half[name].float())
    assert load_detector(path, torch.device("cpu"), dtype).dtype == dtype


def _drop(*names: str) -> Any:
    return lambda checkpoint: [checkpoint.pop(key) for key in list(checkpoint) if any(name in key for name in names)]


def _add(name: str, tensor: Tensor) -> Any:
    return lambda checkpoint: checkpoint.update({"detector." + name: tensor})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_drop("decoder.layers.1.norm2.weight"), "lacks the keys: detr_decoder.layers.1.self_attn_layer_norm.weight"),
        (_drop("decoder.query_embed.weight"), "lacks the key detector.transformer.decoder.query_embed.weight"),
        (_drop("freqs_cis"), "lacks the key detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis"),
        (_add("transformer.extra.weight", torch.ones(1)), "unexpected key: detector.transformer.extra.weight"),
        (_add("dot_prod_scoring.hs_proj.bias", torch.ones(3)), "another shape"),
        (_drop("transformer.decoder"), "no whole SAM3 under Meta's names"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(
    checkpoint: dict[str, Tensor], tmp_path: Path, edit: Any, message: str
) -> None:
    changed = dict(checkpoint)
    edit(changed)
    torch.save({"model": changed}, tmp_path / "sam3.pt")
    with pytest.raises(LitetextError, match=message):
        Segmenter.from_pretrained(tmp_path / "sam3.pt", text=Constant(), device="cpu")
