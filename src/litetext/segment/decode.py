"""From an image and text features to queries, and from chosen queries to masks.

The same steps as transformers' ``Sam3Model.forward``, by its own modules, cut where the savings are: the image
is seen once (`see`), all prompts are decoded over that one sight (`find`), and the pixel decoder, which costs
more than the rest of a prompt together, runs only for prompts with something to show (`mask_logits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.models.sam3.modeling_sam3 import box_cxcywh_to_xyxy, inverse_sigmoid

if TYPE_CHECKING:
    from ..encoders.features import TextFeatures
    from .checkpoint import Detector


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """One image as the vision encoder sees it, at the pyramid levels that the detector reads, fine to coarse.

    Attributes:
        maps: per level [1, C, h, w].
        positions: per level [1, C, h, w], their position encoding.
    """

    maps: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]

    def expand(self, count: int) -> Sight:
        """The same sight for ``count`` prompts, without copying it."""
        return Sight(
            tuple(level.expand(count, -1, -1, -1) for level in self.maps),
            tuple(level.expand(count, -1, -1, -1) for level in self.positions),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the detector answers to P prompts with its Q queries each, before any pixel is decoded.

    Attributes:
        logits: [P, Q] how well each query fits the prompt.
        presence: [P] logit of the prompt being in the image at all.
        boxes: [P, Q, 4] x1, y1, x2, y2 as fractions of the image.
        states: [P, Q, C] the queries.
        seen: [P, h*w, C] the image as the detector's encoder saw it in the light of the prompt.
        prompt: [P, T, C] text tokens and box tokens.
        valid: [P, T] bool, True = a real token (transformers' sense of a mask).
    """

    logits: Tensor
    presence: Tensor
    boxes: Tensor
    states: Tensor
    seen: Tensor
    prompt: Tensor
    valid: Tensor

    @property
    def scores(self) -> Tensor:
        """[P, Q] float32: presence times query score, as SAM3 defines a detection's score."""
        return self.logits.float().sigmoid() * self.presence.float().sigmoid()[:, None]


def see(detector: Detector, pixels: Tensor) -> Sight:
    """Run the vision encoder on one image, ``pixels`` [1, 3, S, S]."""
    seen = detector.vision_encoder(pixels)
    # The last level of SAM3's pyramid is made but read by nobody.
    return Sight(tuple(seen.fpn_hidden_states[:-1]), tuple(seen.fpn_position_encoding[:-1]))


def find(
    detector: Detector, sight: Sight, text: TextFeatures, boxes: Tensor | None = None, labels: Tensor | None = None
) -> Found:
    """Decode P prompts over one sight.

    Args:
        detector: whose modules are run.
        sight: of one image.
        text: features of the P prompts, on the detector's device and of its dtype.
        boxes: [P, n, 4] example boxes of each prompt: centre x, centre y, width, height as fractions.
        labels: [P, n] int64: 1 for an example, 0 for a counterexample.
    """
    sight = sight.expand(text.tokens.shape[0])  # len() would nail an exported graph to the number it was traced with
    prompt, valid = text.tokens, ~text.mask
    if boxes is not None and labels is not None:
        examples = example_tokens(detector, sight, boxes, labels)
        prompt = torch.cat([prompt, examples], dim=1)
        valid = torch.cat([valid, valid.new_ones(examples.shape[:2])], dim=1)
    encoded, decoded = attend(detector, sight.maps[-1], sight.positions[-1], prompt, valid)
    states = decoded.intermediate_hidden_states[-1]
    offsets = detector.detr_decoder.box_head(states)
    boxes_found = (inverse_sigmoid(decoded.reference_boxes[-1]) + offsets).sigmoid()
    logits = detector.dot_product_scoring(decoder_hidden_states=states[None], text_features=prompt, text_mask=valid)
    return Found(
        logits=logits[0, :, :, 0],
        presence=decoded.presence_logits[-1, :, 0],
        boxes=box_cxcywh_to_xyxy(boxes_found),
        states=states,
        seen=encoded.last_hidden_state,
        prompt=prompt,
        valid=valid,
    )


def attend(detector: Detector, level: Tensor, positions: Tensor, prompt: Tensor, valid: Tensor) -> tuple[Any, Any]:
    """Run the detector's encoder and decoder on the coarsest maps of P sights, one for each prompt.

    Args:
        detector: whose modules are run.
        level, positions: [P, C, h, w].
        prompt: [P, T, C].
        valid: [P, T] bool, True = a real token.

    Returns:
        What transformers' modules return: the decoder's states, boxes and presence are those of all its layers.
    """
    encoded = detector.detr_encoder(
        vision_features=[level], text_features=prompt, vision_pos_embeds=[positions], text_mask=valid
    )
    decoded = detector.detr_decoder(
        vision_features=encoded.last_hidden_state,
        text_features=prompt,
        vision_pos_encoding=encoded.pos_embeds_flattened,
        text_mask=valid,
        spatial_shapes=encoded.spatial_shapes,
    )
    return encoded, decoded


def example_tokens(detector: Detector, sight: Sight, boxes: Tensor, labels: Tensor) -> Tensor:
    """Return the example boxes [P, n, 4] of P prompts as tokens [P, n + 1, C], all of them real (see `find`)."""
    examples: Tensor = detector.geometry_encoder(
        box_embeddings=boxes,
        box_mask=torch.ones_like(labels, dtype=torch.bool),
        box_labels=labels,
        img_feats=sight.maps,
        img_pos_embeds=sight.positions,
    ).last_hidden_state
    return examples


def mask_logits(detector: Detector, sight: Sight, found: Found, prompt: int, queries: Tensor) -> Tensor:
    """Return the mask logits [n, h, w] of the chosen ``queries`` [n] of one prompt (a row of ``found``).

    One prompt at a time: the pixel decoder's maps are the largest tensors of the whole model, and a batch of
    them is no faster.
    """
    row = slice(prompt, prompt + 1)
    states, seen, text, valid = found.states[row, queries], found.seen[row], found.prompt[row], found.valid[row]
    return drawn(detector, sight.maps, states, seen, text, valid)


def drawn(
    detector: Detector, maps: Sequence[Tensor], states: Tensor, seen: Tensor, prompt: Tensor, valid: Tensor
) -> Tensor:
    """Return the mask logits [n, h, w] of the ``states`` [1, n, C] of one prompt; the others as in `Found`."""
    decoded = detector.mask_decoder(
        decoder_queries=states,
        backbone_features=list(maps),
        encoder_hidden_states=seen,
        prompt_features=prompt,
        prompt_mask=valid,
    )
    return decoded.pred_masks[0]
