"""Out to transformers: a folder that ``AutoModel`` and ``AutoProcessor`` read, model and processor both.

transformers' processor pads every prompt to 32 tokens with EOT, under an attention mask, and truncates nothing. A
teacher is exact there, since it is causal. A student that hides padding from attention gets a table of 32 rows, its
trained rows first, and is exact for prompts up to its own context; RepMixer's convolutions read padding there, and
published students have read padding all along, so for those the export measures how far the features move and says so.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..encoders.card import model_card
from ..encoders.checkpoints import Checkpoint
from ..encoders.config import TRANSFORMERS, EncoderConfig
from ..encoders.dtypes import torch_dtype
from ..encoders.encoder_file import EncoderFile
from ..encoders.layouts import TRANSFORMERS_STUDENT, TRANSFORMERS_TEACHER, Layout
from ..encoders.parity import Parity, measure_parity
from ..encoders.safetensors_file import is_floating
from ..encoders.tensor_writer import write_safetensors
from ..encoders.tensorfile import LazyTensor, lazy, read_all
from ..errors import LitetextError, failures_named
from ..files import write_text
from ..outputs import atomic_folder
from ..progress import Progress, no_progress
from ..tokenizer import EOT, SOT, vocabulary_and_merges
from .checkpoint import UNPORTED, quiet_transformers
from .convention import KEY
from .whole_model import WholeModel, Written, check_width

PROCESSOR_LENGTH = 32  # hard-wired in transformers' Sam3Processor

_SECTIONS = ("geometry_encoder_config", "detr_encoder_config", "detr_decoder_config", "mask_decoder_config")


def write_transformers(
    model: WholeModel,
    text: EncoderFile,
    folder: str | os.PathLike[str],
    prompts: Sequence[str],
    *,
    overwrite: bool = False,
    allow_nan: bool = False,
    progress: Progress = no_progress,
) -> Parity | None:
    """Write a model and a text encoder as one transformers folder with its processor, tensor by tensor.

    It is a ``Sam3Model``, with a student a ``Sam3LiteTextModel``, and where the model has SAM3's tracker a
    ``Sam3VideoModel``.

    Args:
        model: everything but the text encoder.
        text: the text encoder.
        folder: where to write: a new folder, or with ``overwrite`` an earlier one of this function's.
        prompts: on those of these that fit the encoder's context, the effect of transformers' convention is measured.
        overwrite: replace an earlier transformers model.
        allow_nan: write weights that are NaN or infinite too.
        progress: told of bytes.

    Returns:
        The encoder under its own convention against the same encoder as transformers will run it; None of a teacher,
        which is the same there.

    Raises:
        LitetextError: an encoder of a pruned vocabulary or of another width than the detector reads; tensors that
            transformers' classes do not have, or lack.
    """
    _check_fit(model, text)
    exported = _as_exported(text)
    parity = None if text.config.causal else _measured(text, exported, prompts)
    state = dict(model.detector) | _text_state(exported)
    config = _model_config(exported.config, model, state)
    prefix = "" if model.video is None else "detector_model."
    tensors = {prefix + name: tensor for name, tensor in state.items()} | dict(model.tracker)
    seen = Written(model, text, tensors | dict(model.unported), allow_nan=allow_nan, progress=progress)
    with atomic_folder(folder, "transformers model", overwrite=overwrite) as temporary, quiet_transformers():
        config.save_pretrained(temporary)
        write_safetensors(temporary / "model.safetensors", tensors, {"format": "pt"}, seen)
        write_unported(model, temporary, seen)
        _processor(model).save_pretrained(temporary)
        write_text(temporary / "README.md", model_card(text.config, text.bytes, _notes(model, parity)))
    return parity


def write_unported(model: WholeModel, folder: Path, seen: Written) -> None:
    """Write what transformers has no place for beside the weights, if there is anything."""
    if model.unported:
        write_safetensors(folder / UNPORTED, model.unported, {"format": "meta"}, seen)


def parity_note(parity: Parity | None) -> str:
    """Return, in Markdown, how far transformers' convention moves the features."""
    if parity is None:
        return "In transformers the features of real tokens are the same: the text encoder is causal."
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


def _notes(model: WholeModel, parity: Parity | None) -> str:
    """What the model's card says of it."""
    notes = [parity_note(parity)]
    if (model.convention.cls_token, model.convention.mask_resampling) != ("with boxes", "probabilities"):
        notes.append(
            f"The detector was made to be run as `{model.convention.name}` says (`{KEY}` in `config.json`). litetext "
            "follows that; transformers has one way of its own, so boxes, scores and masks differ there."
        )
    if not model.convention.takes_boxes:
        notes.append(
            "There is no geometry encoder. transformers builds one of random weights, says so when it loads the model, "
            "and never runs it where no example boxes are given."
        )
    if model.config.vision_config.backbone_config.model_type.startswith("litetext"):
        notes.append(
            "Its image encoder is of litetext: `import litetext.segment.checkpoint` makes it known to `AutoModel`."
        )
    if model.unported:
        notes.append(
            f"`{UNPORTED}` keeps the tensors that transformers has no place for, under Meta's names, for the way back "
            "(`litetext convert`)."
        )
    return "\n\n".join(notes)


def _check_fit(model: WholeModel, text: EncoderFile) -> None:
    if text.tokenizer.kept is not None:
        raise LitetextError(
            f"{text.source} has a pruned vocabulary of {text.config.vocab_size} rows, which transformers' tokenizer "
            "cannot express; convert the unpruned checkpoint, or use --to litetext"
        )
    check_width(model, text)


def _as_exported(text: EncoderFile) -> EncoderFile:
    """The encoder as transformers runs it: another convention, and where that masks padding anew a table of 32 rows."""
    config = text.config
    if config.causal:
        if config.position_rows < PROCESSOR_LENGTH:
            raise LitetextError(
                f"{text.source}: transformers' processor needs {PROCESSOR_LENGTH} position rows, "
                f"this teacher has {config.position_rows}"
            )
        return replace(text, config=replace(config, convention=replace(TRANSFORMERS, positions="slice")))
    if config.convention.mask_padding == "none" or config.convention == TRANSFORMERS:
        return replace(text, config=replace(config, convention=TRANSFORMERS))
    trained = _read(text).module().positions(config.convention.context_length).detach()[:PROCESSOR_LENGTH]
    table = torch.cat([trained, trained[-1:].expand(PROCESSOR_LENGTH - len(trained), -1)]).contiguous()
    table = table.to(torch_dtype(text.state["position_embedding"].dtype))
    return replace(
        text,
        config=replace(config, position_rows=PROCESSOR_LENGTH, convention=TRANSFORMERS),
        state={**text.state, "position_embedding": lazy(table)},
    )


def _read(text: EncoderFile) -> Checkpoint:
    return Checkpoint(text.config, read_all(text.state), text.tokenizer, text.layout, text.source)


def _measured(text: EncoderFile, exported: EncoderFile, prompts: Sequence[str]) -> Parity:
    lengths = [len(ids) for ids in text.tokenizer.encode_batch(prompts)]
    context = text.config.convention.context_length
    fitting = [prompt for prompt, length in zip(prompts, lengths, strict=True) if length <= context]
    conventions = text.config.convention, exported.config.convention
    return measure_parity(_read(text).module(), text.tokenizer, fitting, *conventions, _read(exported).module())


def _text_state(text: EncoderFile) -> dict[str, LazyTensor]:
    layout: Layout = TRANSFORMERS_TEACHER if text.config.causal else TRANSFORMERS_STUDENT
    state = layout.write(text.state, text.config)
    if not text.config.unused_projection:
        # transformers' tower always has the matrix that nothing reads; an encoder trained here has none
        dtype = torch_dtype(text.state["projector.weight"].dtype)
        state[layout.top["unused_projection"]] = lazy(torch.zeros(text.config.width, text.config.width, dtype=dtype))
    return state


def _model_config(encoder: EncoderConfig, model: WholeModel, state: Mapping[str, LazyTensor]) -> Any:
    """Transformers' config, checked: its classes have exactly these tensors."""
    from transformers import Sam3Config, Sam3LiteTextConfig, Sam3LiteTextModel, Sam3Model

    own = model.config.to_dict()
    config_class: Any = Sam3Config if encoder.causal else Sam3LiteTextConfig
    model_class: Any = Sam3Model if encoder.causal else Sam3LiteTextModel
    sections = {name: _without_model_type(own[name]) for name in _SECTIONS}
    vision = copy.deepcopy(own["vision_config"])
    with quiet_transformers():
        config = config_class(vision_config=vision, text_config=_text_config(encoder), **sections)
        _check_keys(model_class, config, state, model)
        return whole_config(model, config, model_class.__name__)


def whole_config(model: WholeModel, detector: Any, name: str) -> Any:
    """Return the config to write for a model: the detector's, or where there is a tracker that of both.

    Args:
        model: whose convention and dtype it states.
        detector: transformers' config of the detector.
        name: transformers' class of the detector.

    Raises:
        LitetextError: a tracker that transformers' class does not fit.
    """
    from transformers import Sam3VideoConfig

    setattr(detector, KEY, model.convention.to_dict())
    detector.architectures = [name]
    config = detector
    if model.video is not None:
        config = Sam3VideoConfig(detector_config=detector.to_dict(), **model.video)
        _check_tracker(config, model)
        config.architectures = ["Sam3VideoModel"]
    dtypes = {tensor.dtype for tensor in model.detector.values() if is_floating(tensor.dtype)}
    if len(dtypes) == 1:
        config.dtype = torch_dtype(dtypes.pop())
    return config


def _text_config(encoder: EncoderConfig) -> dict[str, Any]:
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
    if encoder.causal:
        return text | {"model_type": "clip_text_model"}
    return text | {"use_repmixer_blocks": encoder.repmixer, "repmixer_kernel_size": encoder.repmixer_kernel}


def _check_keys(model_class: Any, config: Any, state: Mapping[str, LazyTensor], model: WholeModel) -> None:
    with torch.device("meta"):
        expected = model_class(config).state_dict()
    if not model.convention.takes_boxes:
        expected = {key: tensor for key, tensor in expected.items() if not key.startswith("geometry_encoder.")}
    _compare(expected, state, f"the detector in {model.source}", model_class.__name__)


def _check_tracker(config: Any, model: WholeModel) -> None:
    from transformers import Sam3VideoModel

    with torch.device("meta"):
        expected = Sam3VideoModel(config).state_dict()
    expected = {key: tensor for key, tensor in expected.items() if not key.startswith("detector_model.")}
    _compare(expected, model.tracker, f"the tracker in {model.source}", "Sam3VideoModel")


def _compare(expected: Mapping[str, Any], found: Mapping[str, LazyTensor], what: str, name: str) -> None:
    for key, tensor in expected.items():
        if key not in found:
            raise LitetextError(f"{what} lacks key {key!r}, which transformers' {name} needs")
        if found[key].shape != tuple(tensor.shape):
            raise LitetextError(f"{what}: key {key!r} has shape {found[key].shape}, expected {tuple(tensor.shape)}")
    unexpected = sorted(set(found) - set(expected))
    if unexpected:
        raise LitetextError(f"{what} holds an unexpected key {unexpected[0]!r}")


def _without_model_type(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "model_type"}


def _processor(model: WholeModel) -> Any:
    from transformers import CLIPTokenizer, Sam2VideoVideoProcessor, Sam3Processor, Sam3VideoProcessor

    # transformers spells the two special tokens its own way; the ids are the same
    vocabulary, merges = vocabulary_and_merges()
    spelling = {SOT: "<|startoftext|>", EOT: "<|endoftext|>"}
    spelled: Any = {spelling.get(token, token): i for token, i in vocabulary.items()}
    pairs: Any = merges  # transformers' annotation lacks the pairs its own files hold
    tokenizer = CLIPTokenizer(vocab=spelled, merges=pairs, model_max_length=PROCESSOR_LENGTH)
    images = image_processor(model)
    if model.video is None:
        return Sam3Processor(image_processor=images, tokenizer=tokenizer)
    frames = Sam2VideoVideoProcessor(image_mean=images.image_mean, image_std=images.image_std, size=dict(images.size))
    return Sam3VideoProcessor(image_processor=images, video_processor=frames, tokenizer=tokenizer)


def image_processor(model: WholeModel) -> Any:
    """Return transformers' image processor of a model."""
    from transformers import Sam3ImageProcessor

    settings = {k: v for k, v in model.preprocessor.items() if k not in ("image_processor_type", "processor_class")}
    with failures_named(model.source, "has settings that are no image processor's"):
        return Sam3ImageProcessor(**settings)
