"""Out to transformers: a folder that ``AutoModel`` and ``AutoProcessor`` read, model and processor both.

transformers' processor pads every prompt to 32 tokens with EOT, under an attention mask, and truncates nothing. A
teacher is exact there (causal). A student that hides padding from attention gets a table of 32 rows, its trained rows
first, and is exact for prompts up to its own context; RepMixer's convolutions read padding there, and published
students have read padding all along, so for those the export measures how far the features move and says so.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..encoders.card import model_card
from ..encoders.checkpoints import Checkpoint
from ..encoders.config import TRANSFORMERS
from ..encoders.layouts import TRANSFORMERS_STUDENT, TRANSFORMERS_TEACHER, Layout
from ..encoders.parity import Parity, measure_parity
from ..encoders.tensorfile import TensorFile, open_tensors
from ..errors import LitetextError
from ..files import write_text
from ..json_files import read_json
from ..outputs import atomic_folder
from ..tokenizer import EOT, SOT, vocabulary_and_merges
from .convention import KEY

PROCESSOR_LENGTH = 32  # hard-wired in transformers' Sam3Processor


@dataclass(frozen=True)
class DetectorParts:
    """A SAM3 without its text encoder: transformers' config, weights without text, the image processor's settings."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    preprocessor: dict[str, Any]


def write_transformers(
    checkpoint: Checkpoint,
    detector: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    prompts: Sequence[str],
    *,
    overwrite: bool = False,
) -> Parity:
    """Write encoder and detector as one transformers model folder with its processor.

    Args:
        checkpoint: the encoder.
        detector: a folder of `Sam3Model`, `Sam3LiteTextModel` or `Sam3VideoModel`, or of a litetext segmenter;
            everything but its text encoder is taken from it.
        folder: where to write: a new folder, or with ``overwrite`` an earlier one of this function's.
        prompts: on those of these that fit the encoder's context, the effect of transformers' convention is measured.
        overwrite: replace an earlier transformers model.

    Returns:
        The encoder under its own convention against the same encoder as transformers will run it.
    """
    config = checkpoint.config
    if checkpoint.tokenizer.kept is not None:
        raise LitetextError(
            f"{checkpoint.source} has a pruned vocabulary of {config.vocab_size} rows, which transformers' tokenizer "
            "cannot express; convert the unpruned checkpoint, or use --to litetext"
        )
    parts = read_detector(Path(detector))
    hidden = parts.config["detr_encoder_config"].get("hidden_size", 256)
    if hidden != config.output_dim:
        raise LitetextError(
            f"{checkpoint.source} gives {config.output_dim} numbers a token, the detector in {detector} reads {hidden}"
        )
    exported = _as_exported(checkpoint)
    lengths = [len(ids) for ids in checkpoint.tokenizer.encode_batch(prompts)]
    fitting = [p for p, n in zip(prompts, lengths, strict=True) if n <= config.convention.context_length]
    parity = measure_parity(
        checkpoint.module(),
        checkpoint.tokenizer,
        fitting,
        config.convention,
        exported.config.convention,
        exported.module(),
    )
    layout = TRANSFORMERS_TEACHER if config.causal else TRANSFORMERS_STUDENT
    state = parts.tensors | layout.write(exported.state, exported.config)
    with atomic_folder(folder, "transformers model", overwrite=overwrite) as temporary:
        _model_config(exported, parts, state).save_pretrained(temporary)
        save_file(state, str(temporary / "model.safetensors"), metadata={"format": "pt"})
        _processor(parts).save_pretrained(temporary)
        write_text(temporary / "README.md", model_card(config, checkpoint.bytes(), parity_note(parity)))
    return parity


def parity_note(parity: Parity) -> str:
    """Return, in Markdown, how far transformers' convention moves the features."""
    if parity.max_abs <= 1e-4:
        return (
            f"In transformers the features of real tokens are the same (largest difference {parity.max_abs:.1e} over "
            f"{parity.prompts} prompts), for prompts of up to {parity.first.context_length} tokens."
        )
    return (
        f"**Not the same in transformers.** Its processor pads to {PROCESSOR_LENGTH} with EOT under an attention mask; "
        f"this encoder was made for another convention. Token cosine over {parity.prompts} prompts: mean "
        f"{parity.mean_cosine:.4f}, worst {parity.min_cosine:.4f}; worst prompt {parity.worst_prompt!r} "
        f"({parity.worst_prompt_cosine:.4f})."
    )


def read_detector(folder: Path) -> DetectorParts:
    """Read everything but the text encoder from a transformers SAM3 folder or a litetext segmenter's."""
    folder = folder / "segmenter" if (folder / "segmenter").is_dir() else folder
    if not (folder / "config.json").is_file():
        raise LitetextError(f"{folder}: no config.json; --model takes a SAM3 folder in transformers' layout")
    config = read_json(folder / "config.json")
    config = config.get("detector_config") or config
    missing = [key for key in ("vision_config", "detr_encoder_config", "mask_decoder_config") if key not in config]
    if missing:
        raise LitetextError(
            f"{folder}/config.json has no key {missing[0]!r}: no detector here; "
            "name the SAM3 whose detector goes with the encoder (--model FOLDER)"
        )
    tensors = _detector_tensors(open_tensors(folder))
    preprocessor = folder / "preprocessor_config.json"
    if not preprocessor.is_file():
        preprocessor = folder / "processor_config.json"
    settings = read_json(preprocessor) if preprocessor.is_file() else {}
    return DetectorParts(config, tensors, settings.get("image_processor", settings))


def _detector_tensors(file: TensorFile) -> dict[str, Tensor]:
    prefix = "detector_model." if any(key.startswith("detector_model.") for key in file) else ""
    text = tuple(prefix + scope for scope in TRANSFORMERS_STUDENT.scope)
    keys = [key for key in file if key.startswith(prefix) and not key.startswith(text)]
    if prefix == "":
        keys = [key for key in keys if not key.startswith(("tracker_model.", "tracker_neck."))]
    return {key.removeprefix(prefix): file.get(key).contiguous() for key in keys}


def _as_exported(checkpoint: Checkpoint) -> Checkpoint:
    """The encoder as transformers runs it: another convention, and where that masks padding anew a table of 32 rows."""
    config = checkpoint.config
    if config.causal:
        if config.position_rows < PROCESSOR_LENGTH:
            raise LitetextError(
                f"{checkpoint.source}: transformers' processor needs {PROCESSOR_LENGTH} position rows, "
                f"this teacher has {config.position_rows}"
            )
        convention = replace(TRANSFORMERS, positions="slice")
        return replace(checkpoint, config=replace(config, convention=convention))
    if config.convention.mask_padding == "none" or config.convention == TRANSFORMERS:
        return replace(checkpoint, config=replace(config, convention=TRANSFORMERS))
    trained = checkpoint.module().positions(config.convention.context_length).detach()[:PROCESSOR_LENGTH]
    table = torch.cat([trained, trained[-1:].expand(PROCESSOR_LENGTH - len(trained), -1)]).contiguous()
    table = table.to(checkpoint.state["position_embedding"].dtype)
    return replace(
        checkpoint,
        config=replace(config, position_rows=PROCESSOR_LENGTH, convention=TRANSFORMERS),
        state={**checkpoint.state, "position_embedding": table},
    )


def _model_config(exported: Checkpoint, parts: DetectorParts, state: dict[str, Tensor]) -> Any:
    from transformers import Sam3Config, Sam3LiteTextConfig, Sam3LiteTextModel, Sam3Model

    encoder = exported.config
    text: dict[str, Any] = {
        "vocab_size": encoder.vocab_size,
        "hidden_size": encoder.width,
        "intermediate_size": encoder.ffn,
        "projection_dim": encoder.unused_projection or encoder.width,
        "num_hidden_layers": encoder.layers,
        "num_attention_heads": encoder.heads,
        "max_position_embeddings": encoder.position_rows,
        "hidden_act": "gelu",
    }
    config_class: Any
    model_class: Any
    if encoder.causal:
        config_class, model_class = Sam3Config, Sam3Model
        text["model_type"] = "clip_text_model"
    else:
        config_class, model_class = Sam3LiteTextConfig, Sam3LiteTextModel
        text |= {"use_repmixer_blocks": encoder.repmixer, "repmixer_kernel_size": encoder.repmixer_kernel}
    sections = ("geometry_encoder_config", "detr_encoder_config", "detr_decoder_config", "mask_decoder_config")
    values = {name: _without_model_type(parts.config[name]) for name in sections if name in parts.config}
    config = config_class(vision_config=copy.deepcopy(parts.config["vision_config"]), text_config=text, **values)
    config.architectures = [model_class.__name__]
    if KEY in parts.config:
        setattr(config, KEY, parts.config[KEY])
    if not encoder.unused_projection:
        # transformers' tower always has the matrix that nothing reads; an encoder trained here has none
        layout: Layout = TRANSFORMERS_TEACHER if encoder.causal else TRANSFORMERS_STUDENT
        state[layout.top["unused_projection"]] = torch.zeros(encoder.width, encoder.width)
    with torch.device("meta"):
        expected = model_class(config).state_dict()
    for key, tensor in expected.items():
        if key not in state:
            raise LitetextError(f"the detector lacks key {key!r}, which transformers' {model_class.__name__} needs")
        if state[key].shape != tensor.shape:
            raise LitetextError(f"key {key!r} has shape {tuple(state[key].shape)}, expected {tuple(tensor.shape)}")
    unexpected = sorted(set(state) - set(expected))
    if unexpected:
        raise LitetextError(f"the detector holds an unexpected key {unexpected[0]!r}")
    return config


def _without_model_type(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "model_type"}


def _processor(parts: DetectorParts) -> Any:
    from transformers import CLIPTokenizer, Sam3ImageProcessor, Sam3Processor

    # transformers spells the two special tokens its own way; the ids are the same
    vocabulary, merges = vocabulary_and_merges()
    spelling = {SOT: "<|startoftext|>", EOT: "<|endoftext|>"}
    spelled: Any = {spelling.get(token, token): i for token, i in vocabulary.items()}
    pairs: Any = merges  # transformers' annotation lacks the pairs its own files hold
    tokenizer = CLIPTokenizer(vocab=spelled, merges=pairs, model_max_length=PROCESSOR_LENGTH)
    settings = {k: v for k, v in parts.preprocessor.items() if k not in ("image_processor_type", "processor_class")}
    return Sam3Processor(image_processor=Sam3ImageProcessor(**settings), tokenizer=tokenizer)
