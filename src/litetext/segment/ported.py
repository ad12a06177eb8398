"""transformers' own forward pass, recorded stage by stage: what a model is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, Sam3LiteTextModel, Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..encoders.features import TextEncoder, TextFeatures
from ..encoders.tensorfile import open_tensors
from ..results import Masks
from .checkpoint import Detector, Sam3Detector, load_detector, load_image_processor, quiet_transformers
from .stages import PhotoStages, Recording, StageInputs, best_queries, token_ids

_PROCESSOR_LENGTH = 32  # what transformers' processor pads prompts to


@dataclass(frozen=True, slots=True)
class _Text:
    """Prompts as transformers' model reads them: ids [P, L] if there are any, tokens [P, L, D], real [P, L] bool."""

    ids: NDArray[np.int64] | None
    tokens: Tensor
    real: Tensor


def has_text_tower(source: Path) -> bool:
    """Whether ``source`` is a transformers folder with its own text encoder and tokenizer."""
    if not source.is_dir() or not any((source / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return False
    return any(key.removeprefix("detector_model.").startswith("text_encoder.") for key in open_tensors(source))


@torch.inference_mode()
def record_transformers(
    source: Path, encoder: TextEncoder, questions: StageInputs, *, allow_nan: bool = False
) -> Recording:
    """Run ``transformers.Sam3Model`` (or ``Sam3LiteTextModel``) plainly, prompt by prompt, on the CPU.

    Args:
        source: what `load_detector` takes. If the folder has a text encoder and a tokenizer, they are run too, on
            prompts padded to 32 with EOT, as transformers' processor does.
        encoder: what makes the text features where ``source`` has none.
        questions: what is asked.
        allow_nan: load weights that are NaN or infinite too.
    """
    model: Any = load_detector(source, torch.device("cpu"), torch.float32, "transformers", allow_nan=allow_nan)
    processor: Any = load_image_processor(source, model.config.image_size)
    if has_text_tower(source):
        model = _whole_model(source, model)
        text = _own_text(model, source, questions.prompts)
    else:
        text = _given_text(encoder, questions.prompts)
    photos = [_photo_stages(model, processor, photo, text, questions) for photo in questions.photos]
    features = TextFeatures(text.tokens.numpy(), ~text.real.numpy())
    return Recording("transformers", questions, text.ids, features, tuple(photos))


def _given_text(encoder: TextEncoder, prompts: Sequence[str]) -> _Text:
    features = encoder.encode(prompts).to_torch()
    return _Text(token_ids(encoder, prompts), features.tokens, ~features.mask)


def _whole_model(source: Path, detector: Detector) -> Any:
    """Transformers' own model, text encoder and all."""
    model_class: Any = Sam3Model if isinstance(detector, Sam3Detector) else Sam3LiteTextModel
    with quiet_transformers():
        return model_class.from_pretrained(str(source), config=detector.config, dtype=torch.float32).eval()


def _own_text(model: Any, source: Path, prompts: Sequence[str]) -> _Text:
    tokenizer = AutoTokenizer.from_pretrained(str(source))
    inputs = tokenizer(
        list(prompts), padding="max_length", max_length=_PROCESSOR_LENGTH, truncation=True, return_tensors="pt"
    )
    tokens = model.get_text_features(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], return_dict=True
    )
    return _Text(inputs["input_ids"].numpy(), tokens.pooler_output, inputs["attention_mask"].bool())


def _photo_stages(
    model: Any, processor: Any, photo: NDArray[np.uint8], text: _Text, questions: StageInputs
) -> PhotoStages:
    vision = model.get_vision_features(processor(images=photo, return_tensors="pt")["pixel_values"])
    outputs = [
        model(
            vision_embeds=vision,
            text_embeds=BaseModelOutputWithPooling(pooler_output=tokens[None]),
            attention_mask=real[None].long(),
        )
        for tokens, real in zip(text.tokens, text.real, strict=True)
    ]
    logits, presence, boxes = (
        torch.cat([getattr(output, name) for output in outputs]).numpy()
        for name in ("pred_logits", "presence_logits", "pred_boxes")
    )
    scores = torch.cat([output.pred_logits.sigmoid() * output.presence_logits.sigmoid() for output in outputs])
    queries = best_queries(scores.numpy(), questions.masks)
    size = (photo.shape[0], photo.shape[1])
    found = [
        processor.post_process_instance_segmentation(output, threshold=questions.threshold, target_sizes=[size])[0]
        for output in outputs
    ]
    masks = [mask.bool().numpy() for one in found if len(one["scores"]) for mask in one["masks"]]
    return PhotoStages(
        features=tuple(level[0].numpy() for level in vision.fpn_hidden_states[:-1]),
        logits=logits,
        presence_logits=presence[:, 0],
        boxes=boxes,
        queries=queries,
        mask_logits=np.stack([one.pred_masks[0, rows].numpy() for one, rows in zip(outputs, queries, strict=True)]),
        scores=np.concatenate([one["scores"].numpy() for one in found]),
        detection_boxes=np.concatenate([one["boxes"].numpy() for one in found]),
        prompt_index=np.repeat(np.arange(len(found)), [len(one["scores"]) for one in found]),
        detection_masks=Masks.from_dense(masks, size=size),
    )
