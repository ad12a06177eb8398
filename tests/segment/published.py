"""Names and shapes of the published checkpoints, and files of those names without their gigabytes."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litetext.encoders.tensorfile import LazyTensor, TensorFile, dtype_name

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[3] / "shared" / "golden" / "layouts"

TRUNK = "detector.backbone.vision_backbone."


def published_keys(name: str) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Return key -> shape and dtype of a published checkpoint."""
    listed: dict[str, Any] = json.loads(gzip.decompress((GOLDEN / f"{name}.json.gz").read_bytes()))
    return {key: (tuple(shape), getattr(torch, dtype.removeprefix("torch."))) for key, (shape, dtype) in listed.items()}


def published_students() -> dict[str, dict[str, tuple[int, ...]]]:
    """Return variant -> key below `TRUNK` -> shape, of the nine image students."""
    listed = json.loads(gzip.decompress((GOLDEN / "efficientsam3_vision_students.json.gz").read_bytes()))
    return {variant: {key: tuple(shape) for key, shape in keys.items()} for variant, keys in listed.items()}


def filled(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the weights that the golden numbers of the students were made with, drawn by their name."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    leaf = name.rpartition(".")[2]
    if leaf == "running_var":
        z = 1 + 0.2 * np.abs(z)
    elif len(shape) <= 1:
        z = 0.05 * z + (1 if leaf == "weight" else 0)
    else:
        z = 0.6 * z / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(z, dtype=np.float32))


def file_of(keys: dict[str, tuple[tuple[int, ...], torch.dtype]], name: str = "sam3.pt") -> TensorFile:
    """Return a checkpoint of these names and shapes, without its gigabytes."""

    def stored(shape: tuple[int, ...], dtype: torch.dtype) -> LazyTensor:
        return LazyTensor(shape, dtype_name(dtype), lambda: torch.empty(shape, dtype=dtype, device="meta"))

    return TensorFile(name, {key: stored(*value) for key, value in keys.items()})


Keys = dict[str, tuple[tuple[int, ...], torch.dtype]]


def efficient_sam3(variant: str) -> Keys:
    """Return the keys of a fine-tuned EfficientSAM3: students in both encoders' places, and no geometry encoder."""
    detector = _at_root(published_keys("meta_sam3_image"), ("geometry_encoder.", _TEXT, *_IMAGE))
    student = {f"backbone.vision_backbone.{key}": value for key, value in _image_student(variant).items()}
    return detector | _text_student() | student


def efficient_sam31(variant: str) -> Keys:
    """Return the keys of an EfficientSAM 3.1: students in both encoders' places, three necks, and a tracker."""
    keys = published_keys("authors_sam31_litetext_s0")
    kept = {key: value for key, value in keys.items() if ".vision_backbone.trunk." not in key}
    student = {f"{TRUNK}{key}": value for key, value in _image_student(variant).items() if key.startswith("trunk.")}
    return kept | student


_TEXT = "backbone.language_backbone."
_IMAGE = ("backbone.vision_backbone.trunk.", "backbone.vision_backbone.convs.")


def _at_root(keys: Keys, without: tuple[str, ...] = ()) -> Keys:
    found = {key.removeprefix("detector."): value for key, value in keys.items()}
    return {key: value for key, value in found.items() if not key.startswith(without)}


def _image_student(variant: str) -> Keys:
    return {key: (shape, torch.float32) for key, shape in published_students()[variant].items()}


def _text_student() -> Keys:
    found = _at_root(published_keys("authors_sam31_litetext_s0"))
    return {key: value for key, value in found.items() if key.startswith(_TEXT)}
