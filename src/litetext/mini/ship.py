"""From a training run to what ships: fp16 weights in the layout that a segmenter loads, a model card, samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ..encoders.checkpoints import save_encoder
from ..errors import LitetextError
from ..files import write_json, write_text
from ..outputs import atomic_folder
from ..tokenizer import Tokenizer
from .facts import FACTS
from .model import Mini, on_grid, parameters_of

MASK_FACTOR = 0.125
"""Masks are resized as probabilities; small logits make that the same as resizing logits, which training did."""


def write_mini(
    model: Mini, tokenizer: Tokenizer, folder: Path, facts: dict[str, Any], *, overwrite: bool = False
) -> None:
    """Write ``segmenter/``, ``text/teacher/``, ``mini.json`` (``facts``, input size, parameters) and a card.

    ``segmenter/`` is a transformers SAM3 folder without text: fp16 safetensors under ``Sam3Model``'s own key names.
    """
    with atomic_folder(folder, "mini model", overwrite=overwrite) as staged:
        segmenter = staged / "segmenter"
        segmenter.mkdir()
        config = {**model.detector.config.to_dict(), "architectures": ["Sam3Model"], "dtype": "float16"}
        write_text(segmenter / "config.json", json.dumps(config, indent=1, sort_keys=True, default=str) + "\n")
        write_json(segmenter / "preprocessor_config.json", preprocessor(model.shape.image_size))
        tensors = _with_mask_logits(model.detector.state_dict(), MASK_FACTOR)
        tensors = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
        save_file(tensors, segmenter / "model.safetensors", metadata={"format": "pt"})
        save_encoder(model.text.half(), tokenizer, staged / "text" / "teacher")
        model.text.float()
        facts = {**facts, "image_size": model.shape.image_size, "parameters": parameters_of(model)}
        write_json(staged / FACTS, facts)
        write_text(staged / "README.md", model_card(facts))


def load_weights(model: Mini, folder: Path) -> None:
    """Load a written mini's weights into ``model``, whose input may be of another size.

    The heads that only training uses stay as they are.

    Raises:
        LitetextError: the shapes differ; a larger model or vocabulary starts from nothing.
    """
    try:
        tensors = {
            name: tensor.float() for name, tensor in load_file(folder / "segmenter" / "model.safetensors").items()
        }
        model.detector.load_state_dict(on_grid(_with_mask_logits(tensors, 1 / MASK_FACTOR), model.shape))
        model.text.load_state_dict(load_file(folder / "text" / "teacher" / "model.safetensors"))
    except (RuntimeError, FileNotFoundError) as error:
        first = str(error).splitlines()[0]
        raise LitetextError(f"{folder} does not fit this recipe ({first}); give --init none") from None


def _with_mask_logits(tensors: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Scale the mask logits, in the layer that ends in them."""
    layer = "mask_decoder.mask_embedder.layers.2"
    return {**tensors, **{f"{layer}.{part}": tensors[f"{layer}.{part}"] * factor for part in ("weight", "bias")}}


def model_card(facts: dict[str, Any]) -> str:
    """Return the card of a mini in Markdown: what it is, what it knows, how well, and what it cannot do."""
    parameters = facts["parameters"]
    seen = parameters["vision"] + parameters["detector"]
    concepts = facts["known_concepts"]
    return f"""---
license: apache-2.0
tags: [image-segmentation, sam3, litetext]
---

# mini: a small SAM3 for a small world

A `transformers` SAM3 detector with {seen / 1e6:.2f} M parameters and a causal text encoder of SAM3's kind with
{parameters["text"] / 1e6:.2f} M, the teacher{_student(parameters)}, trained from nothing on scenes that
`litetext.mini.world` draws: emoji art on made-up backgrounds, with exact masks. It is what litetext runs when no real
SAM3 is at hand: real code paths, real metrics, a toy world.

## What it knows

{len(concepts)} concepts: {", ".join(concepts)}; their synonyms, eight colours, small and large, left, right, top and
bottom.

## How well
{_figures(facts.get("figures"))}
## What it cannot do

It is made for its drawn scenes, not photographs: results on photographs are meaningless. Words outside its vocabulary
are split into tokens that did not occur in training. Box prompts run through a geometry encoder that was not trained.
Objects smaller than about an eighth of the picture do not occur in its scenes; crowds have the most errors.

## Training

`litetext mini train --preset {facts["preset"]}` ({facts["steps"]} steps, seed {facts["seed"]}).
{facts.get("training", "")}

The art is Noto Emoji (Apache-2.0), Fluent Emoji (MIT), Twemoji (CC-BY 4.0); FxEmojis (Apache-2.0) is held out.
"""


def _student(parameters: dict[str, int]) -> str:
    if "student" not in parameters:
        return ""
    return f" (and a student of it with {parameters['student'] / 1e6:.2f} M, the default)"


def _figures(figures: list[dict[str, Any]] | None) -> str:
    if not figures:
        return "\nNot measured yet: run `litetext mini evaluate --model FOLDER`.\n"
    rows = "\n".join(
        f"| {row['what']} | {row['text']} | {row['pairs']} | {row['cgF1']:.1f} | {row['pmF1']:.1f} "
        f"| {row['IL_MCC']:.2f} | {row['permuted_IL_MCC']:.2f} |"
        for row in figures
    )
    return f"""
Measured with `litetext mini evaluate` on scenes that training never drew.

| scenes | text | pairs | cgF1 | pmF1 | IL_MCC | IL_MCC, phrases permuted |
|---|---|---|---|---|---|---|
{rows}

"""


def preprocessor(size: int, mean: float = 0.5, std: float = 0.5) -> dict[str, Any]:
    """The image processor's configuration: a square of ``size``, pixels in 0 to 1 less ``mean``, over ``std``."""
    return {
        "image_processor_type": "Sam3ImageProcessor",
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [mean] * 3,
        "image_std": [std] * 3,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": size, "width": size},
    }
