"""From a training run to what ships: fp16 weights in the layout that a segmenter loads, and what is known of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..encoders.checkpoints import read_checkpoint
from ..encoders.features import TextFeatures
from ..files import write_json, write_text
from ..mini.ship import preprocessor
from ..outputs import RECORD, atomic_folder
from .model import PhotoModel

FACTS = "photo.json"


@torch.no_grad()
def raise_scores(model: PhotoModel, text: TextFeatures, by: float) -> float:
    """Add ``by`` to the logits of all queries, so that a score of a half is where detections are worth most.

    SAM3's scoring is a product of query and text without a bias. But the text's side of it is much alike for all
    phrases, so a fixed addition to the query's side is almost a bias: it is fitted on ``text`` by least squares.

    Args:
        model: changed in place.
        text: features of many phrases.
        by: what is added.

    Returns:
        How far the addition is off for one phrase, as a standard deviation.
    """
    scoring = model.detector.dot_product_scoring
    features: Any = text.to_torch("cpu", torch.float32)
    tokens, real = features.tokens, ~features.mask
    read = scoring.text_mlp_out_norm(scoring.text_mlp(tokens) + tokens)
    weights = real.unsqueeze(-1).float()
    asked = scoring.text_proj((read * weights).sum(1) / weights.sum(1)) * scoring.scale
    damping = 1e-4 * torch.eye(asked.shape[1]) * asked.square().mean() * len(asked)
    addition = torch.linalg.solve(asked.T @ asked + damping, asked.T @ torch.full((len(asked),), by))
    scoring.query_proj.bias.add_(addition)
    return float((asked @ addition - by).std())


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
