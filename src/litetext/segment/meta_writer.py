"""A whole SAM3 as one file under Meta's names, as Meta and the authors of its students publish it.

A `.pt` holds ``{"model": {...}}``; a `.safetensors` the same tensors. Meta's and the authors' code ask for every tensor
that their classes have: what a model from transformers cannot give (the detector's point encoder, the row of a class
token that nothing reads) is zeros.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..encoders.checkpoints import authors_tensors
from ..encoders.dtypes import torch_dtype
from ..encoders.encoder_file import EncoderFile
from ..encoders.layouts import FULL_CHECKPOINT_PREFIX
from ..encoders.tensor_writer import write_safetensors, write_torch
from ..encoders.tensorfile import LazyTensor
from ..errors import LitetextError
from ..outputs import blank_seal, sealed_file
from ..progress import Progress, no_progress
from .meta_layout import POSITIONS, PREFIX, TRUNK, their_place, trunk_names
from .student_trunks import StudentTrunkConfig
from .tracker_layout import tracker_to_meta
from .whole_model import WholeModel, Written, check_width

_THETA = 10_000.0  # of the ViT's rotary positions
_FOURTH_LEVEL = "vision_encoder.neck.fpn_layers.3."
_OTHER_NECK = "backbone.vision_backbone.interactive_convs."  # of SAM 3.1
_POINTS = "geometry_encoder.points_"


def write_meta(
    model: WholeModel,
    text: EncoderFile,
    destination: str | os.PathLike[str],
    *,
    allow_nan: bool = False,
    progress: Progress = no_progress,
) -> list[str]:
    """Write a model and its text encoder as one file.

    Args:
        model: the detector and, if it has one, the tracker.
        text: the text encoder, under Meta's names if it is SAM3's own, else under the authors'.
        destination: a name ending in ``.pt`` or ``.safetensors``.
        allow_nan: write weights that are NaN or infinite too.
        progress: told of bytes.

    Returns:
        What was not in the model and is zeros in the file.

    Raises:
        LitetextError: another suffix; a model that Meta's layout has no names for; a text encoder with a pruned
            vocabulary.
    """
    suffix = Path(destination).suffix
    if suffix not in (".pt", ".safetensors"):
        raise LitetextError(f"{destination}: this layout is one file; give a name ending in .pt or .safetensors")
    tensors, made_up = meta_tensors(model, text)
    seen = Written(model, text, tensors, allow_nan=allow_nan, progress=progress)
    with sealed_file(destination, "whole model") as temporary:
        seal = blank_seal("whole model")
        if suffix == ".pt":
            write_torch(temporary, tensors, seal, seen)
        else:
            write_safetensors(temporary, tensors, {"origin": seal}, seen)
    return made_up


def meta_tensors(model: WholeModel, text: EncoderFile) -> tuple[dict[str, LazyTensor], list[str]]:
    """Return a model's tensors under Meta's names, to be read later, and the names of those that had to be made up."""
    check_width(model, text)
    below = _detector(model)
    unported = {key: tensor for key, tensor in model.unported.items() if key != POSITIONS[0]}
    points = _points(below) if model.convention.takes_boxes and not _has(unported, _POINTS) else {}
    language = authors_tensors(text)
    apart = {key: tensor for key, tensor in unported.items() if key.startswith("tracker.")}
    below |= points | {key: tensor for key, tensor in unported.items() if key not in apart}
    found = {PREFIX + key: tensor for key, tensor in below.items()}
    found |= {FULL_CHECKPOINT_PREFIX + key: tensor for key, tensor in language.items()}
    return found | tracker_to_meta(model.tracker) | apart, [PREFIX + key for key in points]


def _detector(model: WholeModel) -> dict[str, LazyTensor]:
    """The detector's tensors under Meta's names, ``detector.`` left out, with the ViT's rotary tables."""
    backbone = model.config.vision_config.backbone_config
    architecture = backbone.architecture if isinstance(backbone, StudentTrunkConfig) else None
    trunk, skipped = trunk_names(architecture), _FOURTH_LEVEL if _has(model.unported, _OTHER_NECK) else None
    parts: dict[str, dict[int, LazyTensor]] = {}
    for name, tensor in model.detector.items():
        place = their_place(name, trunk)
        if place is None or place.key is None:
            raise LitetextError(f"{model.source}: {name!r} has no name in Meta's layout; use --to litetext")
        if skipped is None or not name.startswith(skipped):
            parts.setdefault(place.key, {})[place.part or 0] = tensor
    found = {key: _joined([thirds[part] for part in sorted(thirds)]) for key, thirds in parts.items()}
    if architecture is not None:
        return found
    found[POSITIONS[0]] = _with_class_row(found[POSITIONS[0]], model.unported.get(POSITIONS[0]))
    return found | _rotary_tables(backbone)


def _has(tensors: Mapping[str, LazyTensor], beginning: str) -> bool:
    return any(key.startswith(beginning) for key in tensors)


def _joined(parts: list[LazyTensor]) -> LazyTensor:
    """One tensor of the query's, key's and value's."""
    if len(parts) == 1:
        return parts[0]
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return LazyTensor(shape, parts[0].dtype, lambda: torch.cat([part.read() for part in parts]))


def _with_class_row(table: LazyTensor, whole: LazyTensor | None) -> LazyTensor:
    """A table of positions [1, R, D] with the row of a class token before it, which nothing reads."""
    shape = (table.shape[0], table.shape[1] + 1, *table.shape[2:])

    def read() -> Tensor:
        rows = table.read()
        first = torch.zeros_like(rows[:, :1]) if whole is None else whole.read()[:, :1]
        return torch.cat([first, rows], dim=1)

    return LazyTensor(shape, table.dtype, read)


def _points(detector: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """The point encoder of the detector as zeros: transformers has none."""
    like = detector["geometry_encoder.label_embed.weight"]
    width = like.shape[1]
    shapes = {"direct_project": (width, 2), "pool_project": (width, width), "pos_enc_project": (width, width)}
    return {
        f"{_POINTS}{name}.{leaf}": LazyTensor(one, like.dtype, partial(torch.zeros, one, dtype=torch_dtype(like.dtype)))
        for name, shape in shapes.items()
        for leaf, one in (("weight", shape), ("bias", (width,)))
    }


def _rotary_tables(backbone: Any) -> dict[str, LazyTensor]:
    """The tables of rotary positions that Meta's blocks keep: complex64 [places, half a head's numbers]."""
    grid = backbone.image_size // backbone.patch_size
    numbers = backbone.hidden_size // backbone.num_attention_heads // 2
    tables = {}
    for block in range(backbone.num_hidden_layers):
        side = grid if block in backbone.global_attn_indexes else backbone.window_size
        read = partial(_rotary_table, side, backbone.window_size / side, numbers)
        tables[f"{TRUNK}blocks.{block}.attn.freqs_cis"] = LazyTensor((side * side, numbers), "C64", read)
    return tables


def _rotary_table(side: int, scale: float, numbers: int) -> Tensor:
    places = torch.arange(side * side)
    speeds = 1.0 / _THETA ** (torch.arange(0, 2 * numbers, 4)[: numbers // 2].float() / (2 * numbers))
    across = (places % side).float() * scale
    down = torch.div(places, side, rounding_mode="floor").float() * scale
    angles = torch.cat([torch.outer(across, speeds), torch.outer(down, speeds)], dim=1)
    return torch.polar(torch.ones_like(angles), angles)
