"""A whole SAM3 checkpoint as Meta and SAM3-LiteText's authors publish it, into transformers' names and config.

The file says nothing of its own shape, so the config is read off the tensors: widths and depths from the weights,
the image and window sizes from the rotary tables that the vision encoder keeps beside them. What image
segmentation never reads (the text tower, the tracker, the point encoder) is left where it is; every other key must
have a place here. The detector's keys begin with ``detector.`` or, as in its own state dict, with nothing; SAM 3.1 has
three necks and no fourth level; EfficientSAM3 has a student in the ViT's place, and where it was fine-tuned no geometry
encoder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import Sam3Config

from ..encoders.dtypes import torch_dtype
from ..encoders.tensorfile import LazyTensor
from ..errors import LitetextError
from .student_trunks import StudentTrunkConfig, architecture_of, published_names

if TYPE_CHECKING:
    from ..encoders.tensorfile import TensorFile

PREFIX = "detector."
"""Before the detector's names in a published file."""

_UNREAD = re.compile(
    r"backbone\.language_backbone\.|backbone\.vision_backbone\.(sam2|interactive|propagation)_convs\."
    r"|geometry_encoder\.(points|mask)_|transformer\.decoder\.instance_|tracker\.|inst_interactive_predictor\."
    r"|backbone\.vision_backbone\.trunk\.blocks\.\d+\.attn\.freqs_cis$"
)

_MADE_ANEW = re.compile(
    r"backbone\.language_backbone\.|backbone\.vision_backbone\.trunk\.blocks\.\d+\.attn\.freqs_cis$"
)
"""What is read apart, or computed."""

NECK_MODULES = {
    "0.dconv_2x2_0": "0.scale_layers.0",
    "0.dconv_2x2_1": "0.scale_layers.2",
    "1.dconv_2x2": "1.scale_layers.0",
    **{f"{level}.conv_1x1": f"{level}.proj1" for level in range(4)},
    **{f"{level}.conv_3x3": f"{level}.proj2" for level in range(4)},
}
"""A neck's modules, theirs -> transformers', by level."""

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
    ("backbone.vision_backbone.convs.", "vision_encoder.neck.fpn_layers."): NECK_MODULES,
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


_THEIRS = {ours: theirs for theirs, ours in _NAMES.items()}

TRUNK = "backbone.vision_backbone.trunk."
BACKBONE = "vision_encoder.backbone."
_FOURTH_LEVEL = ("proj1.weight", "proj1.bias", "proj2.weight", "proj2.bias")
POSITIONS = "backbone.vision_backbone.trunk.pos_embed", "vision_encoder.backbone.embeddings.position_embeddings"
"""The ViT's table of positions under Meta's name, which has a row more, and transformers'."""

PUBLISHED_ROTARY = {(1024, 32): {"heads": 16, "grid": 72, "window": 24, "global": [7, 15, 23, 31]}}
"""Width and depth of a published ViT -> what its rotary tables say, for files that leave them out."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file under Meta's names holds one of transformers' tensors.

    Attributes:
        key: below the detector's prefix; the level that SAM 3.1 does not have stands nowhere.
        part: 0, 1 or 2 where the tensor is the query's, key's or value's third of a joint one.
    """

    key: str | None
    part: int | None = None


class MetaFile:
    """The SAM3 in a file under Meta's names, wherever its keys begin.

    Attributes:
        file: the file.
        prefix: what stands before the detector's keys: ``detector.``, or nothing.
        architecture: of an EfficientSAM3 trunk in the ViT's place, or None.
        has_geometry: whether it has a geometry encoder, which fine-tuned EfficientSAM3s do not.
    """

    def __init__(self, file: TensorFile) -> None:
        self.file = file
        self.prefix = PREFIX if any(key.startswith(PREFIX) for key in file) else ""
        below = {key.removeprefix(self.prefix): key for key in file if key.startswith(self.prefix)}
        trunk = {key.removeprefix(TRUNK): file.shape(whole) for key, whole in below.items() if key.startswith(TRUNK)}
        self.architecture = architecture_of(trunk) if any(key.startswith("model.") for key in trunk) else None
        self.has_geometry = has_geometry(below)
        self._keys = below

    def places(self) -> dict[str, Place]:
        """Return transformers' name -> its place, for everything that segmenting images reads.

        Raises:
            LitetextError: a key without a place, by name.
        """
        trunk = {TRUNK + theirs: BACKBONE + ours for ours, theirs in trunk_names(self.architecture).items()}
        found: dict[str, Place] = {}
        for key in self._keys:
            if _UNREAD.match(key):
                continue
            ours = [trunk[key]] if key in trunk else _our_names(key)
            if not ours:
                raise LitetextError(
                    f"{self.file.source} has an unexpected key: {self.prefix}{key}; use the file as its authors "
                    "published it, or the model's transformers version from the hub"
                )
            for part, name in enumerate(ours):
                found[name] = Place(key, part if len(ours) > 1 else None)
        if not any(key.startswith("backbone.vision_backbone.convs.3.") for key in self._keys):
            # SAM 3.1 has no fourth level; transformers builds one and reads it nowhere
            fourth = "vision_encoder.neck.fpn_layers.3."
            found |= {fourth + leaf: Place(None) for leaf in _FOURTH_LEVEL}
        return found

    def detector(self) -> dict[str, LazyTensor]:
        """Return the detector's tensors under transformers' names, to be read later, without text tower and tracker.

        Raises:
            LitetextError: a key without a place, by name.
        """
        return {name: self._tensor(name, place) for name, place in self.places().items()}

    def _tensor(self, name: str, place: Place) -> LazyTensor:
        if place.key is None:
            third = their_place(name.replace(".fpn_layers.3.", ".fpn_layers.2."), {})
            return zeros(self.lazy(str(third.key if third else name)))
        whole = self.lazy(place.key)
        if name == POSITIONS[1]:  # the first row is a class token's, which SAM3 does not have
            shape = (whole.shape[0], whole.shape[1] - 1, *whole.shape[2:])
            return LazyTensor(shape, whole.dtype, lambda: whole.read()[:, 1:])
        return whole if place.part is None else _third(whole, place.part)

    def lazy(self, key: str) -> LazyTensor:
        """Return a tensor by its name below the prefix; a missing one is an error that names it."""
        self.shape(key)
        return self.file.lazy(self._keys[key])

    def rest(self) -> dict[str, LazyTensor]:
        """Return what is neither detector nor text encoder nor rotary table, by the file's own names without prefix."""
        placed = {place.key for place in self.places().values()}
        below = {key: self.file.lazy(whole) for key, whole in self._keys.items() if key not in placed}
        below |= {key: self.file.lazy(key) for key in self.file if not key.startswith(self.prefix)}
        return {key: tensor for key, tensor in below.items() if not _MADE_ANEW.match(key)}

    def shape(self, key: str) -> tuple[int, ...]:
        """Return a shape by its name below the prefix; a missing one is an error that names it."""
        if key not in self._keys:
            raise LitetextError(
                f"{self.file.source} lacks the key {self.prefix}{key}; use the file as its authors published it, "
                "or the model's transformers version from the hub"
            )
        return self.file.shape(self._keys[key])

    def count(self, pattern: str) -> int:
        """Return how many names fit the pattern, in which ``#`` is an index; none is an error."""
        before, after = pattern.split("#")
        fits = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        return sum(fits.fullmatch(key) is not None for key in self._keys) or len(self.shape(pattern))

    def tracker_tensors(self) -> int:
        """Return how many tensors belong to video tracking, which segmenting images leaves unread."""
        tracker = re.compile(r"tracker\.|detector\.backbone\.vision_backbone\.(sam2|interactive|propagation)_convs\.")
        return sum(tracker.match(key) is not None for key in self.file)


def has_geometry(keys: Iterable[str]) -> bool:
    """Whether a detector's tensors, of either layout, have a geometry encoder among them."""
    return any(key.startswith("geometry_encoder.") for key in keys)


def detector_config(file: TensorFile) -> Sam3Config:
    """Return transformers' config of the SAM3 in ``file``, read off its tensors.

    Raises:
        LitetextError: a tensor that the config is read from is missing, by name.
    """
    meta = MetaFile(file)
    backbone = _vit_config(meta) if meta.architecture is None else _student_config(meta)
    grid = backbone["image_size"] // backbone["patch_size"]
    hidden = meta.shape("transformer.decoder.query_embed.weight")[1]
    block = {
        "hidden_size": hidden,
        "num_attention_heads": meta.shape("transformer.decoder.boxRPB_embed_x.layers.1.weight")[0],
    }
    ffn = {"intermediate_size": meta.shape("transformer.encoder.layers.0.linear1.weight")[0]}
    return Sam3Config(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": backbone,
            "fpn_hidden_size": hidden,
            "backbone_feature_sizes": [[scale * grid, scale * grid] for scale in (4, 2, 1)],
        },
        geometry_encoder_config=block | ffn | (_geometry_config(meta) if meta.has_geometry else {}),
        detr_encoder_config=block | ffn | {"num_layers": meta.count("transformer.encoder.layers.#.norm1.weight")},
        detr_decoder_config=block
        | ffn
        | {
            "num_layers": meta.count("transformer.decoder.layers.#.norm1.weight"),
            "num_queries": meta.shape("transformer.decoder.query_embed.weight")[0],
        },
        mask_decoder_config=block
        | {"num_upsampling_stages": meta.count("segmentation_head.pixel_decoder.conv_layers.#.weight")},
    )


def _vit_config(meta: MetaFile) -> dict[str, Any]:
    blocks = meta.count(TRUNK + "blocks.#.norm1.weight")
    width, _, patch, _ = meta.shape(TRUNK + "patch_embed.proj.weight")
    rotary = _rotary(meta, width, blocks)
    return {
        "model_type": "sam3_vit_model",
        "hidden_size": width,
        "intermediate_size": meta.shape(TRUNK + "blocks.0.mlp.fc1.weight")[0],
        "num_hidden_layers": blocks,
        "num_attention_heads": rotary["heads"],
        "patch_size": patch,
        "image_size": rotary["grid"] * patch,
        "window_size": rotary["window"],
        "global_attn_indexes": rotary["global"],
        "pretrain_image_size": math.isqrt(meta.shape(TRUNK + "pos_embed")[1] - 1) * patch,
    }


def _rotary(meta: MetaFile, width: int, blocks: int) -> dict[str, Any]:
    """What the blocks' rotary tables say, or where there are none what the published ViT's say."""
    name = TRUNK + "blocks.{}.attn.freqs_cis"
    if not any(key.endswith(".freqs_cis") for key in meta.file) and (width, blocks) in PUBLISHED_ROTARY:
        return PUBLISHED_ROTARY[width, blocks]
    tables = [meta.shape(name.format(index)) for index in range(blocks)]
    grid, window = (math.isqrt(extreme(length for length, _ in tables)) for extreme in (max, min))
    return {
        "heads": width // (2 * tables[0][1]),
        "grid": grid,
        "window": window,
        "global": [index for index, (length, _) in enumerate(tables) if length == grid * grid],
    }


def _geometry_config(meta: MetaFile) -> dict[str, Any]:
    return {
        "num_layers": meta.count("geometry_encoder.encode.#.norm1.weight"),
        "roi_size": meta.shape("geometry_encoder.boxes_pool_project.weight")[-1],
    }


def _student_config(meta: MetaFile) -> dict[str, Any]:
    width = meta.shape(TRUNK + "model.head.0.weight")[0]
    return StudentTrunkConfig(str(meta.architecture), hidden_size=width).to_dict()


def zeros(like: LazyTensor) -> LazyTensor:
    """Return a tensor of zeros of the same shape and dtype."""
    return LazyTensor(like.shape, like.dtype, lambda: torch.zeros(like.shape, dtype=torch_dtype(like.dtype)))


def _third(whole: LazyTensor, part: int) -> LazyTensor:
    """The query's, key's or value's part of a joint tensor."""
    shape = (whole.shape[0] // 3, *whole.shape[1:])
    return LazyTensor(shape, whole.dtype, lambda: torch.chunk(whole.read(), 3)[part])


def _our_names(key: str) -> list[str]:
    """Transformers' name of one of their tensors; three of a joint one, none where it has no place."""
    if key == POSITIONS[0]:
        return [POSITIONS[1]]
    module, _, leaf = key.rpartition(".")
    joint = re.fullmatch(r"in_proj_(weight|bias)", leaf)
    ours = renamed(module.removesuffix(".out_proj"), _NAMES)
    if ours is None:
        return []
    if joint or module.endswith("attn.qkv"):
        kind = joint[1] if joint else leaf
        return [f"{ours}.{part}_proj.{kind}" for part in "qkv"]
    return [f"{ours}.o_proj.{leaf}" if module.endswith(".out_proj") else f"{ours}.{leaf}"]


def their_place(name: str, trunk: Mapping[str, str]) -> Place | None:
    """Return where a file under Meta's names holds one of transformers' tensors, or None for none of a detector's.

    Args:
        name: transformers' name.
        trunk: `trunk_names` of the model's EfficientSAM3 trunk; empty for the ViT.
    """
    if name == POSITIONS[1]:
        return Place(POSITIONS[0])
    if name.removeprefix(BACKBONE) in trunk:
        return Place(TRUNK + trunk[name.removeprefix(BACKBONE)])
    module, _, leaf = name.rpartition(".")
    attention, _, projection = module.rpartition(".")
    theirs = renamed(module, _THEIRS)
    if theirs is not None:
        return Place(f"{theirs}.{leaf}")
    theirs = renamed(attention, _THEIRS)
    if theirs is None or projection not in ("q_proj", "k_proj", "v_proj", "o_proj"):
        return None
    if projection == "o_proj":
        return Place(f"{theirs}.out_proj.{leaf}")
    joint = f"{theirs}.{leaf}" if theirs.endswith("attn.qkv") else f"{theirs}.in_proj_{leaf}"
    return Place(joint, "qkv".index(projection[0]))


def renamed(module: str, names: Mapping[str, str]) -> str | None:
    """Return a module's name on the other side, or None where it has none.

    Args:
        module: one name.
        names: the modules of one side and the other, in which ``#`` may stand for the first index.
    """
    if module in names:
        return names[module]
    indices = iter(re.findall(r"(?<=\.)\d+(?=\.|$)", module))
    pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", "#", module, count=1)
    return re.sub("#", lambda _: next(indices), names[pattern]) if pattern in names else None


def trunk_names(architecture: str | None) -> dict[str, str]:
    """Return the names of an EfficientSAM3 trunk's tensors (`published_names`); of the ViT none."""
    return {} if architecture is None else published_names(architecture)
