"""From a training run to what ships: fp16 weights in the layout that a segmenter loads, and what is known of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ..encoders.checkpoints import read_checkpoint
from ..files import write_json, write_text
from ..mini.ship import preprocessor
from ..outputs import RECORD, atomic_folder
from .model import PhotoModel

FACTS = "photo.json"


def write_photo(
    model: PhotoModel, student: Path, folder: Path, facts: dict[str, Any], *, overwrite: bool = False
) -> None:
    """Write ``segmenter/`` (a transformers SAM3 folder without text), ``text/student/`` and ``photo.json``.

    Args:
        model: trained.
        student: the folder of its text encoder.
        folder: to write.
        facts: what is known of the model; input size and parameters are added.
        overwrite: replace an earlier output.
    """
    vision = sum(parameter.numel() for parameter in model.detector.vision_encoder.parameters())
    detector = sum(parameter.numel() for parameter in model.detector.parameters())
    size = model.shape.image_size
    with atomic_folder(folder, "photo model", overwrite=overwrite) as staged:
        segmenter = staged / "segmenter"
        segmenter.mkdir()
        config = {**model.detector.config.to_dict(), "architectures": ["Sam3Model"], "dtype": "float16"}
        write_text(segmenter / "config.json", json.dumps(config, indent=1, sort_keys=True, default=str) + "\n")
        write_json(segmenter / "preprocessor_config.json", preprocessor(size, 127 / 255, 128 / 255))
        tensors = {name: tensor.half().contiguous() for name, tensor in model.detector.state_dict().items()}
        save_file(tensors, segmenter / "model.safetensors", metadata={"format": "pt"})
        shutil.copytree(student, staged / "text" / "student", ignore=shutil.ignore_patterns(RECORD))
        text = read_checkpoint(student).config.parameters()
        parameters = {"vision": vision, "detector": detector - vision, "student": text}
        write_json(staged / FACTS, {**facts, "image_size": size, "parameters": parameters})
