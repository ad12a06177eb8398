"""What `photo` learns from a batch, beside the losses that it shares with `mini`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..mini import losses as shared
from ..mini.model import Vision
from ..mini.objective import centres, dense_box_losses, detector_losses, phrase_loss
from .batches import PhotoBatch
from .model import PhotoModel

WEIGHTS = {
    **shared.WEIGHTS,
    "knowledge": 0.3,
    "anchor": 1.0,
    "semantic": 5.0,
    "presence": 3.0,
    "dense_box": 1.0,
    "center": 2.0,
    "published": 1.0,
}
PLACES = 800
"""Places of a map, at most, at which all phrases are judged."""

_KNOWN_PLACES = 48


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What ImageNet's classifier knows, for the model not to forget it.

    Attributes:
        weight: the classifier's [1000, 1280]. bias: [1000].
        labels: MiniLM's features of the labels [1000, 384].
        anchors: MiniLM's features of labels, synonyms and kinds [A, 384]. points: where they are [A, D].
    """

    weight: Tensor
    bias: Tensor
    labels: Tensor
    anchors: Tensor
    points: Tensor


def losses_of(
    model: PhotoModel, batch: PhotoBatch, knowledge: Knowledge, stage: int, mask_rows: int, class_copies: int
) -> dict[str, Tensor]:
    """Return the losses of one batch by name, unweighted.

    Args:
        model: what learns.
        batch: what it learns from.
        knowledge: what is not to be forgotten.
        stage: 0 maps alone, 1 with presence and the semantic map, 2 with instances.
        mask_rows: phrases, at most, whose masks are computed.
        class_copies: queries that learn to score one object.
    """
    vision = model.encode_image(batch.taps)
    tokens, real = model.teacher(batch.phrases.embedded, batch.phrases.lengths)
    losses = {
        "phrases": dense_phrases(model, vision, tokens, real, batch),
        "knowledge": knowledge_loss(model, vision, vision.hidden.detach(), knowledge),
        "anchor": (1 - F.cosine_similarity(model.teacher.meanings(knowledge.anchors), knowledge.points)).mean(),
    }
    losses |= dense_box_losses(model, vision, batch)  # type: ignore[arg-type]
    if stage > 0:
        losses |= detector_losses(model, batch, vision, tokens, real, stage == 2, mask_rows, class_copies)  # type: ignore[arg-type]
    return losses


def dense_phrases(model: PhotoModel, vision: Vision, tokens: Tensor, real: Tensor, batch: PhotoBatch) -> Tensor:
    """Every place says which phrase is true there: of those asked of any image, and of one word for each concept."""
    words, words_real = model.teacher(batch.vocabulary.embedded, batch.vocabulary.lengths)
    longest = max(tokens.shape[1], words.shape[1])
    tokens = torch.cat([F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in (tokens, words)])
    real = torch.cat([F.pad(part, (0, longest - part.shape[1])) for part in (real, words_real)])
    images = torch.arange(len(batch.instances), device=tokens.device)[:, None]
    parts = []
    for level in vision.maps:
        things = centres(batch.instances, level.shape[-1]).flatten(1)
        count = things.shape[1]
        drawn = torch.randperm(count, device=tokens.device)[:PLACES] if count > PLACES else torch.arange(count)
        seen = level.flatten(2)[:, :, drawn].unsqueeze(2)
        logits = model.dense_logits(seen, tokens, real)[:, 0]
        parts.append(phrase_loss(logits, batch.truth[images, things[:, drawn]]))
    return torch.stack(parts).sum()


def knowledge_loss(model: PhotoModel, vision: Vision, seen_before: Tensor, knowledge: Knowledge) -> Tensor:
    """At some places of the coarse map the labels are to be ranked as the classifier ranks them.

    Args:
        model: what learns.
        vision: the images, encoded.
        seen_before: [B, h * w, 1280], what the classifier reads of the network as published.
        knowledge: the classifier.
    """
    count = vision.hidden.shape[1]
    drawn = torch.randint(count, (_KNOWN_PLACES,), device=vision.hidden.device)
    target = (seen_before[:, drawn] @ knowledge.weight.T + knowledge.bias).softmax(-1)
    seen = F.normalize(model.dense_vision(vision.maps[-1].flatten(2)[:, :, drawn].transpose(1, 2)), dim=-1)
    asked = F.normalize(model.dense_text(model.teacher.meanings(knowledge.labels)), dim=-1)
    guess = (model.dense_scale.exp() * (seen @ asked.T)).log_softmax(-1)
    return -(target * guess).sum(-1).mean()
